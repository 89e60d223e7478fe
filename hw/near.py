"""Copies of a register, each for what lies near it."""

from __future__ import annotations

from amaranth.hdl import Module, Signal, Value

LANES = 8  #: that one copy serves where lanes are many


def near(m: Module, value: Value, lanes: int, name: str) -> list[Signal]:
    """Registers that all hold what ``value`` was a cycle before, one for each of ``lanes``; `LANES` of them share one.

    A register that steers hundreds of cells lies far from most of them, and half a cycle passes on the way. Synthesis would
    make one register of several that are alike; `hw.flow` keeps those whose names end in ``near`` and a number. No reset
    reaches these: what they follow is reset.
    """
    copies = [Signal(value.shape(), name=f"{name}_near{i}", reset_less=True) for i in range(-(-lanes // LANES))]
    m.d.sync += [copy.eq(value) for copy in copies]
    return [copies[lane // LANES] for lane in range(lanes)]
