"""One unit's run of a descriptor: from its start to its record."""

from __future__ import annotations

from amaranth.hdl import Module, Signal
from amaranth.lib import stream, wiring
from amaranth.lib.wiring import In, Out

from golden.spec.config import Config
from golden.spec.registers import SLOT_STATES, STATISTICS
from hw.bus import Unit, counts_layout, descriptor_layout
from hw.recorder import record_layout


class Tracker(wiring.Component):
    """Keeps what a unit works on, starts it, waits for ``done``, and hands out the record.

    The unit starts a cycle after ``take``; 3 cycles after ``done`` at the earliest, when the record is taken, it is free again.

    Parameters
    ----------
    config : Config
        Sizes.
    counting : bool
        The unit is the one whose events ``counts`` are; the records of others have 0 there.

    Ports
    -----
    offer : Signal(descriptor_layout()), in
        The next descriptor, whosever it is.
    take : Signal(), in
        It is this unit's, from now on. Only while not ``busy``.
    number : Signal(16), in
        Its number.
    wait : Signal(32), in
        What its record says of that; looked at two cycles after ``take``.
    unit : Unit, out
    counts : Signal(counts_layout), in
        Increments of the statistics: ``adds`` and ``results`` are counted until the cycle after ``done``, the states of slots
        while the unit runs, so that they make as many slot cycles.
    busy : Signal(), out
        The unit runs, or its record waits.
    begins : Signal(), out
        The unit starts.
    running : Signal(), out
        From its start to ``done``.
    layer : Signal(16), out
        Number of the descriptor.
    record : stream of record_layout, out
    """

    def __init__(self, config: Config, counting: bool) -> None:
        self.counting = counting
        super().__init__({
            "offer": In(descriptor_layout()), "take": In(1), "number": In(16), "wait": In(32), "unit": Out(Unit()),
            "counts": In(counts_layout(config)), "busy": Out(1), "begins": Out(1), "running": Out(1), "layer": Out(16),
            "record": Out(stream.Signature(record_layout())),
        })

    def elaborate(self, platform: object) -> Module:
        m = Module()
        counted = [name for name, _ in self.counts.shape()] if self.counting else []
        counters = {name: Signal(32, name=f"count_{name}", reset_less=True) for name in ("cycles", *counted)}
        descriptor, layer, wait = (Signal(shape, reset_less=True) for shape in (descriptor_layout(), 16, 32))
        begun, ends, last, ran, rested = Signal(), Signal(), Signal(), Signal(), Signal()
        says = {"layer": self.layer, "wait": wait, **counters}
        for i, name in enumerate(STATISTICS):
            m.d.comb += self.record.payload[i].eq(says.get(name, 0))
        # A state is a register each, since they go far; cycles, which are counted far away, a cycle later still.
        m.d.comb += [
            self.unit.start.eq(self.begins), self.unit.descriptor.eq(descriptor), self.layer.eq(layer),
            ends.eq(self.running & ~self.begins & self.unit.done),
        ]
        m.d.sync += [
            self.begins.eq(self.take), begun.eq(self.begins), last.eq(ends), ran.eq(self.running), rested.eq(~self.busy),
        ]
        with m.If(self.take):
            m.d.sync += [self.busy.eq(1), self.running.eq(1)]
        with m.If(ends):
            m.d.sync += self.running.eq(0)
        with m.If(last):
            m.d.sync += self.record.valid.eq(1)
        with m.If(self.record.valid & self.record.ready):
            m.d.sync += [self.record.valid.eq(0), self.busy.eq(0)]
        with m.If(~self.busy):
            m.d.sync += [descriptor.eq(self.offer), layer.eq(self.number)]
        with m.If(begun):
            m.d.sync += wait.eq(self.wait)
        cycles = counters.pop("cycles")
        with m.If(rested):
            m.d.sync += cycles.eq(0)
        with m.Elif(ran):
            m.d.sync += cycles.eq(cycles + 1)
        for name, counter in counters.items():
            with m.If(~self.busy):
                m.d.sync += counter.eq(0)
            with m.Elif(self.running if name in SLOT_STATES else self.running | last):
                m.d.sync += counter.eq(counter + getattr(self.counts, name))
        return m
