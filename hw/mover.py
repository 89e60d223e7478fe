"""Executes LOAD and STORE: tensors between memory and scratchpad."""

from __future__ import annotations

from amaranth.hdl import Array, Module, Mux, Signal
from amaranth.lib import data, stream, wiring
from amaranth.lib.fifo import SyncFIFOBuffered
from amaranth.lib.wiring import In, Out

from golden.spec.config import Config, clog2
from golden.spec.descriptor import Opcode
from hw.bus import SpikeRead, SpikeWrite, Unit, descriptor_layout, u_read, u_write
from hw.dma import job_stream
from hw.gearbox import Narrow, Widen
from hw.read_dma import beat_layout


class Mover(wiring.Component):
    """Moves ``count`` spike words or residual beats at the rate of the AXI bus.

    Spike words go round the banks: ``step_stride`` words of bank 0, as many of bank 1, and so on. A LOAD is done when its
    last word is in the scratchpad, a STORE when every write response has come.

    Ports
    -----
    unit : Unit, in
    descriptor : Signal(descriptor_layout()), in
    segments : Signal(ArrayLayout(32, 4)), in
    read_jobs, read_data : streams to (out) and from (in) the read DMA
    write_jobs, write_data : streams to the write DMA, out
    write_idle : Signal(), in
        Every response of the write DMA has come.
    spike_read, spike_write, u_read, u_write : out
        Ports of the scratchpad.
    """

    AHEAD = 4  #: words read from the scratchpad and not yet cut in beats

    def __init__(self, config: Config) -> None:
        self.config = config
        super().__init__({
            "unit": In(Unit()), "descriptor": In(descriptor_layout()), "segments": In(data.ArrayLayout(32, 4)),
            "read_jobs": Out(job_stream()), "read_data": In(stream.Signature(beat_layout(config))),
            "write_jobs": Out(job_stream()), "write_data": Out(stream.Signature(config.axi_bits)), "write_idle": In(1),
            "spike_read": Out(SpikeRead(config)), "spike_write": Out(SpikeWrite(config)), "u_read": Out(u_read(config)),
            "u_write": Out(u_write(config)),
        })

    def elaborate(self, platform: object) -> Module:
        m = Module()
        c = self.config
        d = self.descriptor
        words, beats = c.word // c.axi_bits, c.u_beat_bits // c.axi_bits
        address, length = Signal(32), Signal(24)
        m.d.sync += [
            address.eq(Array(self.segments[i] for i in range(4))[d.segment] + d.offset),
            length.eq(Mux(d.space, d.count << clog2(beats), d.count << clog2(words))),
        ]
        for jobs in (self.read_jobs, self.write_jobs):
            m.d.comb += [jobs.p.addr.eq(address), jobs.p.beats.eq(length)]

        # Where the next word lies: bank, start of its run, place in the run (residual: only ``run + place``).
        left = Signal(24)
        bank, run, place = Signal(range(max(c.cores, 2))), Signal(24), Signal(24)
        step = Signal()
        with m.If(step):
            m.d.sync += [left.eq(left - 1), place.eq(place + 1)]
            with m.If(~d.space & (place == d.step_stride - 1)):
                m.d.sync += [place.eq(0), bank.eq(bank + 1)]
                with m.If(bank == c.cores - 1):
                    m.d.sync += [bank.eq(0), run.eq(run + d.step_stride)]
        here = Signal(24)
        m.d.comb += here.eq(run + place)

        # LOAD.
        m.submodules.word = word = Widen(c.axi_bits, c.word)
        m.submodules.beat = beat = Widen(c.axi_bits, c.u_beat_bits)
        loading = Signal()
        m.d.comb += [
            word.i.payload.eq(self.read_data.p.data), beat.i.payload.eq(self.read_data.p.data),
            word.i.valid.eq(self.read_data.valid & loading & ~d.space), beat.i.valid.eq(self.read_data.valid & loading & d.space),
            self.read_data.ready.eq(loading & Mux(d.space, beat.i.ready, word.i.ready)), word.o.ready.eq(1), beat.o.ready.eq(1),
            self.spike_write.bank.eq(bank), self.spike_write.addr.eq(here), self.spike_write.data.eq(word.o.payload),
            self.spike_write.mask.eq((loading & word.o.valid).replicate(len(self.spike_write.mask))),
            self.u_write.addr.eq(here), self.u_write.data.eq(beat.o.payload), self.u_write.en.eq(loading & beat.o.valid),
        ]

        # STORE: a word is read only where the FIFO has a place for it.
        storing, arrived, arrived_bank = Signal(), Signal(), Signal.like(bank)
        width = max(c.word, c.u_beat_bits)
        m.submodules.fifo = fifo = SyncFIFOBuffered(width=width, depth=self.AHEAD)
        m.submodules.cut_word = cut_word = Narrow(c.word, c.axi_bits)
        m.submodules.cut_beat = cut_beat = Narrow(c.u_beat_bits, c.axi_bits)
        fetch = Signal()
        m.d.comb += [
            fetch.eq(storing & (left != 0) & (fifo.level + arrived < self.AHEAD - 1)),
            self.spike_read.en.eq(fetch & ~d.space), self.spike_read.addr.eq(here), self.u_read.en.eq(fetch & d.space),
            self.u_read.addr.eq(here), fifo.w_en.eq(arrived),
            fifo.w_data.eq(Mux(d.space, self.u_read.data, Array(self.spike_read.data[i] for i in range(c.cores))[arrived_bank])),
            cut_word.i.payload.eq(fifo.r_data), cut_beat.i.payload.eq(fifo.r_data),
            cut_word.i.valid.eq(fifo.r_rdy & ~d.space), cut_beat.i.valid.eq(fifo.r_rdy & d.space),
            fifo.r_en.eq(Mux(d.space, cut_beat.i.ready, cut_word.i.ready)),
            self.write_data.valid.eq(Mux(d.space, cut_beat.o.valid, cut_word.o.valid)),
            self.write_data.payload.eq(Mux(d.space, cut_beat.o.payload, cut_word.o.payload)),
            cut_beat.o.ready.eq(self.write_data.ready & d.space), cut_word.o.ready.eq(self.write_data.ready & ~d.space),
        ]
        m.d.sync += [arrived.eq(fetch), arrived_bank.eq(bank)]
        m.d.comb += [
            step.eq(fetch | (loading & (word.o.valid | beat.o.valid))),
            self.unit.progress.eq(step | (self.write_data.valid & self.write_data.ready)),
        ]

        with m.FSM():
            with m.State("IDLE"):
                m.d.sync += [left.eq(d.count), bank.eq(0), run.eq(d.base), place.eq(0)]
                with m.If(self.unit.start):
                    m.next = "ADDRESS"
            with m.State("ADDRESS"):  # address and length are computed
                m.next = "ASK-READ"
                with m.If(d.opcode == int(Opcode.STORE)):
                    m.next = "ASK-WRITE"
            with m.State("ASK-READ"):
                m.d.comb += self.read_jobs.valid.eq(1)
                with m.If(self.read_jobs.ready):
                    m.next = "LOAD"
            with m.State("LOAD"):
                m.d.comb += loading.eq(1)
                with m.If(left == 0):
                    m.d.comb += self.unit.done.eq(1)
                    m.next = "IDLE"
            with m.State("ASK-WRITE"):
                m.d.comb += self.write_jobs.valid.eq(1)
                with m.If(self.write_jobs.ready):
                    m.next = "STORE"
            with m.State("STORE"):
                m.d.comb += storing.eq(1)
                with m.If((left == 0) & ~arrived & self.write_idle):
                    m.d.comb += self.unit.done.eq(1)
                    m.next = "IDLE"
        return m
