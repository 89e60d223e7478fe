"""Contracts as Amaranth modules: what is proven about a component, with inputs free but for what is assumed."""

from __future__ import annotations

from collections.abc import Callable, Iterator

from amaranth.hdl import Assert, Assume, Cat, Module, Mux, Signal, Value
from amaranth.lib import wiring
from amaranth.lib.wiring import In, Out

PureStream = wiring.PureInterface


def streams(component: wiring.Component) -> Iterator[tuple[str, PureStream, bool]]:
    """Every stream among a component's ports: its name, itself, and whether the component sends it."""
    for name, member in component.signature.members.items():
        if member.is_signature and {"payload", "valid", "ready"} <= set(member.signature.members):
            yield name, getattr(component, name), member.flow == Out


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


def hold(m: Module, port: PureStream, check: Callable[[Value], object], name: str) -> None:
    """A payload that was offered stays on offer, unchanged, until it is taken."""
    valid, payload = Signal(name=f"{name}_waits"), Signal(len(Value.cast(port.payload)), name=f"{name}_was")
    m.d.sync += [valid.eq(port.valid & ~port.ready), payload.eq(Value.cast(port.payload))]
    with m.If(valid):
        m.d.comb += check(port.valid & (Value.cast(port.payload) == payload))


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
        ready_of_outputs = set()
        for name, port, sends in streams(dut):
            if sends:
                ready_of_outputs.add(f"{name}_ready")
                hold(m, port, Assert, name)
                twin = getattr(copy, name)
                other = Signal(name=f"in_other_{name}")
                self.ports.append(other)
                m.d.comb += twin.ready.eq(Mux(different, other, port.ready))
                with m.If(~over):
                    m.d.comb += Assert(twin.valid == port.valid)
            else:
                hold(m, port, Assume, name)
        for path, member, value in copy.signature.flatten(copy):
            key = "_".join(map(str, path))
            if member.flow == In and key not in ready_of_outputs:
                m.d.comb += Value.cast(value).eq(free[key])
        return m


class QueueContract(wiring.Component):
    """A queue gives what it was given, in order, and its level is the number of words inside.

    Two symbolic words, written one after the other, must come out one after the other.
    """

    def __init__(self, make: Callable[[], wiring.Component], depth: int) -> None:
        self.make, self.depth = make, depth
        super().__init__({})
        self.ports: list[Signal] = []

    def elaborate(self, platform: object) -> Module:
        m = Module()
        m.submodules.dut = dut = self.make()
        free = free_inputs(m, dut, "in")
        self.ports += free.values()
        put, got = Signal(), Signal()
        m.d.comb += [put.eq(dut.w_en & dut.w_rdy), got.eq(dut.r_en & dut.r_rdy)]
        words = [Signal(len(dut.w_data), name=f"model{i}") for i in range(self.depth + 1)]
        level = Signal(range(self.depth + 2))
        after = Signal.like(level)
        m.d.comb += after.eq(level - got)
        with m.If(got):
            m.d.sync += [a.eq(b) for a, b in zip(words, words[1:], strict=False)]
        with m.If(put):
            for i, word in enumerate(words):
                with m.If(after == i):
                    m.d.sync += word.eq(dut.w_data)
        m.d.sync += level.eq(after + put)
        m.d.comb += [Assert(level <= self.depth), Assert(dut.level == level)]
        with m.If(dut.r_rdy):
            m.d.comb += [Assert(level != 0), Assert(dut.r_data == words[0])]
        return m


class ArbiterContract(wiring.Component):
    """Whole jobs, one at a time, and each beat to the user whose job it belongs to.

    The model knows only the handshakes: a job taken from a user opens its turn, the last beat closes it.

    Parameters
    ----------
    make : callable
        Makes a component with streams ``jobs0``, ``jobs1`` in, ``jobs`` out, ``data`` in, ``data0``, ``data1`` out.
    """

    def __init__(self, make: Callable[[], wiring.Component]) -> None:
        self.make = make
        super().__init__({})
        self.ports: list[Signal] = []

    def elaborate(self, platform: object) -> Module:
        m = Module()
        m.submodules.dut = dut = self.make()
        free = free_inputs(m, dut, "in")
        self.ports += free.values()
        for name, port, sends in streams(dut):
            hold(m, port, Assert if sends else Assume, name)
        taken = [dut.jobs0.valid & dut.jobs0.ready, dut.jobs1.valid & dut.jobs1.ready]
        turn, owner = Signal(), Signal()
        with m.If(taken[0] | taken[1]):
            m.d.sync += [turn.eq(1), owner.eq(taken[1])]
        with m.If(turn & dut.data.valid & dut.data.ready & dut.data.p.last):
            m.d.sync += turn.eq(0)
        m.d.comb += [
            Assume(turn | ~dut.data.valid),  # no beat without a job
            Assert(~(taken[0] & taken[1])), Assert(~(turn & (taken[0] | taken[1]))),
            Assert((taken[0] | taken[1]) == (dut.jobs.valid & dut.jobs.ready)),
            Assert(~taken[0] | (Value.cast(dut.jobs.payload) == Value.cast(dut.jobs0.payload))),
            Assert(~taken[1] | (Value.cast(dut.jobs.payload) == Value.cast(dut.jobs1.payload))),
        ]
        for i, beats in enumerate((dut.data0, dut.data1)):
            m.d.comb += [
                Assert(~beats.valid | (turn & (owner == i) & dut.data.valid)),
                Assert(~beats.valid | (Value.cast(beats.payload) == Value.cast(dut.data.payload))),
            ]
        got = Cat(dut.data0.valid & dut.data0.ready, dut.data1.valid & dut.data1.ready)
        m.d.comb += Assert(got.any() == (dut.data.valid & dut.data.ready))
        return m
