"""Back half of the sequencer: runs descriptors and keeps their statistics."""

from __future__ import annotations

from amaranth.hdl import Module, Signal
from amaranth.lib import stream, wiring
from amaranth.lib.wiring import In, Out

from golden.spec.config import Config
from golden.spec.descriptor import Opcode
from golden.spec.registers import SLOT_STATES, STATISTICS
from hw.bus import Unit, counts_layout, descriptor_layout
from hw.recorder import record_layout


class Sequencer(wiring.Component):
    """Takes a descriptor, starts its unit, waits for ``done``, hands out the record, takes the next.

    A descriptor that is there starts 4 cycles after the ``done`` of the one before, as long as the recorder is done with
    the record before that. END has no record; it ends the program when the last record is written.

    Ports
    -----
    descriptors : stream of descriptor_layout, in
    descriptor : Signal(descriptor_layout()), out
        Stable from ``start`` to ``done``.
    linear, hamming, mover : Unit, out
    records : stream of record_layout, out
        Ready again means: the last one is in memory.
    counts : Signal(counts_layout), in
        Increments of the statistics: ``adds`` and ``results`` are counted until the cycle after ``done``, the states of slots
        while the descriptor runs, so that they make as many slot cycles.
    idle : Signal(), out
        No descriptor is being executed.
    settled : Signal(), out
        Moreover, the last record is in memory.
    locked : Signal(), out
        HAMMING runs: weights and parameters are its own.
    layer : Signal(16), out
        Number of the descriptor that runs, or runs next.
    finished : Signal(), out
        Pulses at the end of the program.
    progress : Signal(), out
        The unit that runs moves on.
    """

    def __init__(self, config: Config) -> None:
        super().__init__({
            "descriptors": In(stream.Signature(descriptor_layout())), "descriptor": Out(descriptor_layout()),
            "linear": Out(Unit()), "hamming": Out(Unit()), "mover": Out(Unit()),
            "records": Out(stream.Signature(record_layout())),
            "counts": In(counts_layout(config)), "idle": Out(1), "settled": Out(1), "locked": Out(1),
            "layer": Out(16), "finished": Out(1), "progress": Out(1),
        })

    def elaborate(self, platform: object) -> Module:
        m = Module()
        d = self.descriptor
        units = {Opcode.LINEAR: self.linear, Opcode.HAMMING: self.hamming, Opcode.LOAD: self.mover, Opcode.STORE: self.mover}
        done, executing, counting = Signal(), Signal(), Signal()
        m.d.comb += [
            done.eq(self.linear.done | self.hamming.done | self.mover.done),
            self.progress.eq(self.linear.progress | self.hamming.progress | self.mover.progress),
            self.locked.eq(executing & (d.opcode == int(Opcode.HAMMING))),
        ]

        counters = {name: Signal(32, name=f"count_{name}") for name in STATISTICS if name != "layer"}
        with m.If(executing):
            m.d.sync += counters["cycles"].eq(counters["cycles"] + 1)
        for name, _ in self.counts.shape():
            with m.If(executing if name in SLOT_STATES else counting):
                m.d.sync += counters[name].eq(counters[name] + getattr(self.counts, name))
        for i, name in enumerate(STATISTICS):
            m.d.comb += self.records.payload[i].eq(self.layer if name == "layer" else counters[name])

        with m.FSM():
            with m.State("WAIT"):
                m.d.comb += [self.descriptors.ready.eq(1), self.idle.eq(1), self.settled.eq(self.records.ready)]
                m.d.sync += [d.eq(self.descriptors.payload), counters["wait"].eq(counters["wait"] + 1)]
                with m.If(self.descriptors.valid):
                    m.next = "START"
            with m.State("START"):
                m.d.comb += [executing.eq(1), counting.eq(1)]
                m.next = "RUN"
                with m.Switch(d.opcode):
                    for opcode, unit in units.items():
                        with m.Case(int(opcode)):
                            m.d.comb += unit.start.eq(1)
                    with m.Default():
                        m.next = "END"
            with m.State("RUN"):
                m.d.comb += [executing.eq(1), counting.eq(1)]
                with m.If(done):
                    m.next = "LAST"
            with m.State("LAST"):
                m.d.comb += counting.eq(1)
                m.next = "RECORD"
            with m.State("RECORD"):
                m.d.comb += self.records.valid.eq(1)
                with m.If(self.records.ready):
                    m.d.sync += [counter.eq(0) for counter in counters.values()]
                    m.d.sync += [counters["wait"].eq(2), self.layer.eq(self.layer + 1)]
                    m.next = "WAIT"
            with m.State("END"):
                with m.If(self.records.ready):
                    m.d.comb += self.finished.eq(1)
                    m.next = "HALT"
            with m.State("HALT"):
                pass
        return m
