"""Passes a stream on from registers."""

from __future__ import annotations

from amaranth.hdl import Module, ShapeLike, Signal
from amaranth.lib import stream, wiring
from amaranth.lib.wiring import In, Out


class Relay(wiring.Component):
    """Two items of a stream on their way: one a cycle, a cycle later, and no path through it, neither to the sink nor back.

    Parameters
    ----------
    shape : ShapeLike
        Of an item.

    Ports
    -----
    before : stream of shape, in
    after : stream of shape, out
    """

    def __init__(self, shape: ShapeLike) -> None:
        super().__init__({"before": In(stream.Signature(shape)), "after": Out(stream.Signature(shape))})

    def elaborate(self, platform: object) -> Module:
        m = Module()
        before, after = self.before, self.after
        first, spare = (Signal(before.payload.shape(), name=name, reset_less=True) for name in ("first", "spare"))
        full, load = Signal(), Signal()
        m.d.comb += [after.payload.eq(first), before.ready.eq(~full), load.eq(~after.valid | after.ready)]
        with m.If(before.ready):
            m.d.sync += spare.eq(before.payload)
        with m.If(load):
            m.d.sync += [after.valid.eq(full | before.valid), full.eq(0)]
            with m.If(full):
                m.d.sync += first.eq(spare)
            with m.Else():
                m.d.sync += first.eq(before.payload)
        with m.Elif(before.valid):
            m.d.sync += full.eq(1)
        return m
