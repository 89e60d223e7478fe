"""Contracts as Amaranth modules: what is proven about a component, with inputs free but for what is assumed."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass
from itertools import pairwise

from amaranth.hdl import Assert, Assume, Cat, Module, Mux, Signal, Value
from amaranth.lib import wiring
from amaranth.lib.fifo import FIFOInterface
from amaranth.lib.wiring import In, Out

from hw.queue import Queue


@dataclass(frozen=True)
class Channel:
    """One stream, or one AXI channel: its handshake and everything that goes with it."""

    name: str
    valid: Value
    ready: Value
    payload: Value
    sends: bool  #: the component sends it


def channels(component: wiring.Component) -> Iterator[Channel]:
    """Every stream and AXI channel among a component's ports."""
    for name, member in component.signature.members.items():
        if not member.is_signature:
            continue
        port, members = getattr(component, name), member.signature.members
        for prefix in ("", "ar", "r", "aw", "w", "b"):
            if f"{prefix}valid" in members and f"{prefix}ready" in members:
                handshake = (f"{prefix}valid", f"{prefix}ready")
                payload = [getattr(port, x) for x in members if x.startswith(prefix) and x not in handshake]
                yield Channel(f"{name}_{prefix}", getattr(port, handshake[0]), getattr(port, handshake[1]),
                              Cat(Value.cast(x) for x in payload), members[handshake[0]].flow == Out)


def free_inputs(m: Module, component: wiring.Component, name: str) -> dict[str, Signal]:
    """Drive every input of a component from a free signal; returns them by path."""
    free = {}
    for path, member, value in component.signature.flatten(component):
        if member.flow == In:
            value = Value.cast(value)
            signal = Signal(len(value), name=f"{name}_{'_'.join(map(str, path))}")
            m.d.comb += value.eq(signal)
            free["_".join(map(str, path))] = signal
    return free


def hold(m: Module, channel: Channel, check: Callable[[Value], object]) -> None:
    """A payload that was offered stays on offer, unchanged, until it is taken."""
    waits, was = Signal(name=f"{channel.name}_waits"), Signal(len(channel.payload), name=f"{channel.name}_was")
    m.d.sync += [waits.eq(channel.valid & ~channel.ready), was.eq(channel.payload)]
    with m.If(waits):
        m.d.comb += check(channel.valid & (channel.payload == was))


class StreamContract(wiring.Component):
    """A component keeps the stream rules where its environment does.

    - A payload on offer stays, unchanged, until it is taken.
    - ``valid`` never waits for ``ready``: a second copy of the component sees the same inputs, but for other ``ready``
      signals in one cycle; in that cycle it must offer the same.

    Parameters
    ----------
    make : callable
        Makes the component.
    constant : tuple of str
        Inputs that do not change.
    low : tuple of str
        Inputs that stay 0.
    """

    def __init__(self, make: Callable[[], wiring.Component], constant: tuple[str, ...] = (), low: tuple[str, ...] = ()) -> None:
        self.make, self.constant, self.low = make, constant, low
        super().__init__({})
        self.ports: list[Signal] = []

    def elaborate(self, platform: object) -> Module:
        m = Module()
        m.submodules.dut = dut = self.make()
        m.submodules.copy = copy = self.make()
        free = free_inputs(m, dut, "in")
        self.ports += free.values()
        for name in self.constant:
            first, kept = Signal(init=1, name=f"{name}_first"), Signal(len(free[name]), name=f"{name}_kept")
            m.d.sync += [first.eq(0), kept.eq(free[name])]
            m.d.comb += Assume(first | (free[name] == kept))
        for name in self.low:
            m.d.comb += Assume(free[name] == 0)

        differ, different, over = Signal(name="in_differ"), Signal(name="different"), Signal()
        self.ports.append(differ)
        m.d.comb += different.eq(differ & ~over)
        with m.If(differ):
            m.d.sync += over.eq(1)
        twins = {x.name: x for x in channels(copy)}
        other_ready = []  # inputs of the copy that may differ
        for channel in channels(dut):
            hold(m, channel, Assert if channel.sends else Assume)
            if channel.sends:
                twin, other = twins[channel.name], Signal(name=f"in_other_{channel.name}")
                self.ports.append(other)
                other_ready.append(twin.ready)
                m.d.comb += twin.ready.eq(Mux(different, other, channel.ready))
                with m.If(~over):
                    m.d.comb += Assert(twin.valid == channel.valid)
        for path, member, value in copy.signature.flatten(copy):
            if member.flow == In and not any(value is x for x in other_ready):
                m.d.comb += Value.cast(value).eq(free["_".join(map(str, path))])
        return m


class QueueContract(wiring.Component):
    """A queue gives what it was given, in order, and its level is the number of words inside, as a shift register says."""

    def __init__(self, make: Callable[[], FIFOInterface | Queue], depth: int) -> None:
        self.make, self.depth = make, depth
        super().__init__({})
        self.ports: list[Signal] = []

    def elaborate(self, platform: object) -> Module:
        m = Module()
        m.submodules.dut = dut = self.make()
        w_en, w_data, r_en = Signal(name="in_w_en"), Signal(len(dut.w_data), name="in_w_data"), Signal(name="in_r_en")
        self.ports += [w_en, w_data, r_en]
        put, got = Signal(), Signal()
        m.d.comb += [
            put.eq(w_en & (dut.level != self.depth)), got.eq(r_en & dut.r_rdy),
            dut.w_en.eq(put), dut.w_data.eq(w_data), dut.r_en.eq(r_en),
        ]
        words = [Signal(len(dut.w_data), name=f"model{i}") for i in range(self.depth + 1)]
        level = Signal(range(self.depth + 2))
        after = Signal.like(level)
        m.d.comb += after.eq(level - got)
        with m.If(got):
            m.d.sync += [a.eq(b) for a, b in pairwise(words)]
        with m.If(put):
            for i, word in enumerate(words):
                with m.If(after == i):
                    m.d.sync += word.eq(dut.w_data)
        m.d.sync += level.eq(after + put)
        m.d.comb += [Assert(level <= self.depth), Assert(dut.level == level)]
        with m.If(dut.r_rdy):
            m.d.comb += [Assert(level != 0), Assert(dut.r_data == words[0])]
        return m
