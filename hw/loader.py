"""Front half of the sequencer: descriptors, weights and parameters come on chip ahead of their layer."""

from __future__ import annotations

from amaranth.hdl import Cat, Module, Signal
from amaranth.lib import stream, wiring
from amaranth.lib.wiring import In, Out

from golden.spec.config import Config, clog2
from golden.spec.descriptor import BYTES, FIELDS, LIMITS, MAGIC, WORDS, Opcode
from hw.bus import WeightWrite, descriptor_layout, param_write
from hw.dma import job_stream
from hw.gearbox import Widen
from hw.read_dma import beat_layout


class Loader(wiring.Component):
    """Reads descriptor after descriptor, checks it, loads its weights and parameters, and offers it.

    It is never more than one descriptor ahead: the next one is read when the one before was accepted. A descriptor without
    ``prefetch`` waits before its weights until ``executing`` is low.

    Ports
    -----
    start : Signal(), in
        Begin at ``program`` (byte address).
    program, segment : Signal(32), in
        First descriptor; start of segment 0.
    executing : Signal(), in
        A descriptor is being executed.
    jobs, data : streams of read DMA jobs (out) and beats (in)
    weights : WeightWrite, out
    params : MemoryWrite, out
    descriptors : stream of descriptor_layout, out
    illegal : Signal(), out
        The descriptor is illegal; the loader stops.
    """

    def __init__(self, config: Config) -> None:
        self.config = config
        super().__init__({
            "start": In(1), "program": In(32), "segment": In(32), "executing": In(1),
            "jobs": Out(job_stream()), "data": In(stream.Signature(beat_layout(config))),
            "weights": Out(WeightWrite(config)), "params": Out(param_write(config)),
            "descriptors": Out(stream.Signature(descriptor_layout())), "illegal": Out(1),
        })

    def elaborate(self, platform: object) -> Module:
        m = Module()
        c = self.config
        words = Signal(32 * WORDS)
        checksum = Signal(32)
        d = self.descriptors.payload
        m.d.comb += [d[f.name].eq(words[32 * f.word + f.lsb:32 * f.word + f.lsb + f.bits]) for f in FIELDS.values()]
        m.submodules.row = row = Widen(c.axi_bits, c.row_bits)
        m.submodules.beat = beat = Widen(c.axi_bits, c.param_beat_bits)
        m.d.comb += [
            row.i.payload.eq(self.data.p.data), beat.i.payload.eq(self.data.p.data), row.o.ready.eq(1), beat.o.ready.eq(1),
        ]

        legal, known = Signal(), Signal()
        with m.Switch(d.opcode):
            for opcode, limits in LIMITS.items():
                with m.Case(int(opcode)):
                    ok = Cat((d[name] >= low) & (d[name] <= high) for name, (low, high) in limits.items()).all()
                    if opcode == Opcode.HAMMING:
                        ok = ok & (d.width[:clog2(c.lanes)] == 0) & (d.width <= c.head_max)
                    m.d.comb += known.eq(ok)
        m.d.sync += legal.eq(known & (d.magic == MAGIC) & (checksum == 0))

        addr = Signal(32)  # of the next descriptor
        bank, bank_row, left = Signal(range(max(c.issue, 2))), Signal(len(self.weights.row)), Signal(20)
        param = Signal(len(self.params.addr))
        m.d.comb += [
            self.weights.en.eq(row.o.valid), self.weights.bank.eq(bank), self.weights.row.eq(bank_row),
            self.weights.data.eq(row.o.payload), self.params.en.eq(beat.o.valid), self.params.addr.eq(param),
            self.params.data.eq(beat.o.payload),
        ]
        with m.If(row.o.valid):
            m.d.sync += [bank.eq(bank + 1), left.eq(left - 1)]
            with m.If(bank == c.issue - 1):
                m.d.sync += [bank.eq(0), bank_row.eq(bank_row + 1)]
        with m.If(beat.o.valid):
            m.d.sync += [param.eq(param + 1), left.eq(left - 1)]

        row_beats, param_beats = c.row_bits // c.axi_bits, c.param_beat_bits // c.axi_bits
        with m.FSM():
            with m.State("IDLE"):
                m.d.sync += addr.eq(self.program)
                with m.If(self.start):
                    m.next = "ASK"
            with m.State("ASK"):
                m.d.comb += [self.jobs.valid.eq(1), self.jobs.p.addr.eq(addr), self.jobs.p.beats.eq(BYTES // c.axi_bytes)]
                m.d.sync += checksum.eq(0)
                with m.If(self.jobs.ready):
                    m.d.sync += addr.eq(addr + BYTES)
                    m.next = "READ"
            with m.State("READ"):
                m.d.comb += self.data.ready.eq(1)
                with m.If(self.data.valid):
                    m.d.sync += [
                        words.eq(Cat(words, self.data.p.data)[c.axi_bits:]),
                        checksum.eq(checksum + sum(self.data.p.data.word_select(i, 32) for i in range(c.axi_bits // 32))),
                    ]
                    with m.If(self.data.p.last):
                        m.next = "SETTLE"
            with m.State("SETTLE"):  # ``legal`` is computed
                m.next = "CHECK"
            with m.State("CHECK"):
                m.d.sync += [bank.eq(0), bank_row.eq(d.weight_base), left.eq(d.weight_rows)]
                with m.If(~legal):
                    m.d.comb += self.illegal.eq(1)
                    m.next = "IDLE"
                with m.Elif(d.prefetch | ~self.executing):
                    m.next = "ASK-WEIGHTS"
            with m.State("ASK-WEIGHTS"):
                m.d.comb += [self.jobs.p.addr.eq(self.segment + d.weight_addr),
                             self.jobs.p.beats.eq(d.weight_rows << clog2(row_beats)), self.jobs.valid.eq(d.weight_rows != 0)]
                with m.If(d.weight_rows == 0):
                    m.next = "ASK-PARAMS"
                with m.Elif(self.jobs.ready):
                    m.next = "WEIGHTS"
            with m.State("WEIGHTS"):
                m.d.comb += [row.i.valid.eq(self.data.valid), self.data.ready.eq(row.i.ready)]
                with m.If(left == 0):
                    m.next = "ASK-PARAMS"
            with m.State("ASK-PARAMS"):
                m.d.comb += [self.jobs.p.addr.eq(self.segment + d.param_addr),
                             self.jobs.p.beats.eq(d.param_beats << clog2(param_beats)), self.jobs.valid.eq(d.param_beats != 0)]
                m.d.sync += [param.eq(d.param_base), left.eq(d.param_beats)]
                with m.If(d.param_beats == 0):
                    m.next = "OFFER"
                with m.Elif(self.jobs.ready):
                    m.next = "PARAMS"
            with m.State("PARAMS"):
                m.d.comb += [beat.i.valid.eq(self.data.valid), self.data.ready.eq(beat.i.ready)]
                with m.If(left == 0):
                    m.next = "OFFER"
            with m.State("OFFER"):
                m.d.comb += self.descriptors.valid.eq(1)
                with m.If(self.descriptors.ready):
                    m.next = "ASK"
                    with m.If(d.opcode == int(Opcode.END)):
                        m.next = "IDLE"
        return m


