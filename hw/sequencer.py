"""Back half of the sequencer: runs one descriptor after the other on its unit and keeps the record of it."""

from __future__ import annotations

from amaranth.hdl import Array, Cat, Const, Module, Mux, Signal
from amaranth.lib import stream, wiring
from amaranth.lib.wiring import In, Out

from golden.spec.config import Config, clog2
from golden.spec.descriptor import Opcode
from golden.spec.registers import STATISTICS, STATISTICS_BYTES, ErrorCode
from hw.bus import Unit, descriptor_layout
from hw.dma import job_stream


class Sequencer(wiring.Component):
    """Takes descriptors, starts their unit, waits, writes the statistics record, and ends the program, well or not.

    A record is handed to the write DMA in about ``64 / axi_bytes + 4`` cycles before the next descriptor starts; its
    response is not waited for before the program's end. After an error ``flush`` is high until both DMA engines are idle;
    a start that comes meanwhile is kept.

    Ports
    -----
    start, abort : Signal(), in
    watchdog : Signal(32), in
        Cycles without ``progress`` that are one too many; 0 for any number.
    statistics : Signal(32), in
        Address of the first record.
    descriptors : stream of descriptor_layout, in
    descriptor : Signal(descriptor_layout()), out
    linear, hamming, mover : Unit, out
    write_jobs, write_data : streams to the write DMA, out
    dma_idle, write_idle, progress, read_error, write_error, illegal : Signal(), in
    adds, results, counting, starved, blocked : Signal(), in
        What the record's counters add in this cycle (``counting`` is the statistic ``busy``).
    busy, executing, begin, finished, failed, flush : Signal(), out
        A program runs; a descriptor is executed; the loader begins; the program ended; it failed with ``code`` at ``layer``;
        everything but registers and DMA engines is to be reset.
    code, layer : Signal(), out
    """

    def __init__(self, config: Config) -> None:
        self.config = config
        super().__init__({
            "start": In(1), "abort": In(1), "watchdog": In(32), "statistics": In(32),
            "descriptors": In(stream.Signature(descriptor_layout())), "descriptor": Out(descriptor_layout()),
            "linear": Out(Unit()), "hamming": Out(Unit()), "mover": Out(Unit()),
            "write_jobs": Out(job_stream()), "write_data": Out(stream.Signature(config.axi_bits)),
            "dma_idle": In(1), "write_idle": In(1), "progress": In(1), "read_error": In(1), "write_error": In(1),
            "illegal": In(1),
            "adds": In(range(config.cores * config.issue * config.lanes + 1)), "results": In(1), "counting": In(1),
            "starved": In(1), "blocked": In(1),
            "busy": Out(1), "executing": Out(1), "begin": Out(1), "finished": Out(1), "failed": Out(1), "flush": Out(1),
            "code": Out(8), "layer": Out(16),
        })

    def elaborate(self, platform: object) -> Module:
        m = Module()
        c = self.config
        d = self.descriptor
        units = {Opcode.LINEAR: self.linear, Opcode.HAMMING: self.hamming, Opcode.LOAD: self.mover, Opcode.STORE: self.mover}
        done, progress = Signal(), Signal()
        m.d.comb += [
            done.eq(self.linear.done | self.hamming.done | self.mover.done),
            progress.eq(self.progress | self.linear.progress | self.hamming.progress | self.mover.progress),
        ]

        record = {name: Signal(32, name=f"stat_{name}") for name in STATISTICS}
        index = Signal(16)
        m.d.comb += [record["layer"].eq(index), self.layer.eq(index)]
        with m.If(self.executing):
            m.d.sync += [
                record["cycles"].eq(record["cycles"] + 1), record["adds"].eq(record["adds"] + self.adds),
                record["results"].eq(record["results"] + self.results), record["busy"].eq(record["busy"] + self.counting),
                record["starved"].eq(record["starved"] + self.starved), record["blocked"].eq(record["blocked"] + self.blocked),
            ]
        place = Signal(range(STATISTICS_BYTES // c.axi_bytes))
        entries = Array([*record.values()] + [Const(0, 32)] * (STATISTICS_BYTES // 4 - len(record)))
        per_beat = c.axi_bits // 32
        m.d.comb += [
            self.write_data.payload.eq(Cat(entries[(place << clog2(per_beat)) + i] for i in range(per_beat))),
            self.write_jobs.p.addr.eq(self.statistics + (index << clog2(STATISTICS_BYTES))),
            self.write_jobs.p.beats.eq(STATISTICS_BYTES // c.axi_bytes),
        ]

        waited = Signal(32)
        m.d.sync += waited.eq(Mux(progress | ~self.busy, 0, waited + 1))
        timeout, wanted = Signal(), Signal()
        m.d.sync += timeout.eq((self.watchdog != 0) & (waited == self.watchdog))
        code = Signal(8)
        m.d.comb += code.eq(Mux(self.illegal, ErrorCode.DESCRIPTOR, Mux(self.read_error, ErrorCode.READ, Mux(
            self.write_error, ErrorCode.WRITE, Mux(timeout, ErrorCode.WATCHDOG, ErrorCode.NONE)))))
        m.d.comb += self.code.eq(code)
        with m.If(self.start):
            m.d.sync += wanted.eq(1)

        # Whatever the state, an error or an abort ends the program: each busy state ends with this.
        stop = Signal()
        m.d.comb += [
            stop.eq(self.abort | (self.busy & (code != ErrorCode.NONE))), self.failed.eq(stop & ~self.abort),
        ]

        def stoppable() -> None:
            with m.If(stop):
                m.next = "FLUSH"

        with m.FSM():
            with m.State("IDLE"):
                m.d.comb += self.flush.eq(~self.dma_idle)
                m.d.sync += [index.eq(0), record["wait"].eq(0)]
                with m.If(wanted):
                    m.d.comb += self.busy.eq(1)
                    with m.If(self.dma_idle):
                        m.d.comb += self.begin.eq(1)
                        m.d.sync += wanted.eq(0)
                        m.next = "WAIT"
                stoppable()
            with m.State("WAIT"):
                m.d.comb += [self.busy.eq(1), self.descriptors.ready.eq(1)]
                m.d.sync += record["wait"].eq(record["wait"] + 1)
                m.d.sync += [record[name].eq(0) for name in ("cycles", "adds", "results", "busy", "starved", "blocked")]
                with m.If(self.descriptors.valid):
                    m.d.sync += d.eq(self.descriptors.payload)
                    m.next = "START"
                stoppable()
            with m.State("START"):
                m.d.comb += [self.busy.eq(1), self.executing.eq(1)]
                m.next = "RUN"
                with m.Switch(d.opcode):
                    for opcode, unit in units.items():
                        with m.Case(int(opcode)):
                            m.d.comb += unit.start.eq(1)
                    with m.Default():
                        m.next = "END"
                stoppable()
            with m.State("RUN"):
                m.d.comb += [self.busy.eq(1), self.executing.eq(1)]
                with m.If(done):
                    m.next = "LAST"
                stoppable()
            with m.State("LAST"):  # the counters' last cycle
                m.d.comb += [self.busy.eq(1), self.executing.eq(1)]
                m.d.sync += place.eq(0)
                m.next = "RECORD"
                stoppable()
            with m.State("RECORD"):
                m.d.comb += [self.busy.eq(1), self.write_jobs.valid.eq(1)]
                with m.If(self.write_jobs.ready):
                    m.next = "WRITE"
                stoppable()
            with m.State("WRITE"):
                m.d.comb += [self.busy.eq(1), self.write_data.valid.eq(1)]
                with m.If(self.write_data.ready):
                    m.d.sync += place.eq(place + 1)
                    with m.If(place == STATISTICS_BYTES // c.axi_bytes - 1):
                        m.d.sync += [index.eq(index + 1), record["wait"].eq(0)]
                        m.next = "WAIT"
                stoppable()
            with m.State("END"):
                m.d.comb += self.busy.eq(1)
                with m.If(self.write_idle):
                    m.d.comb += self.finished.eq(1)
                    m.next = "IDLE"
                stoppable()
            with m.State("FLUSH"):  # every unit is reset; the DMA engines see to what they began
                m.d.comb += self.flush.eq(1)
                m.next = "IDLE"
        with m.If(self.abort | self.failed):
            m.d.sync += wanted.eq(0)
        return m
