"""Write half of the AXI4 master."""

from __future__ import annotations

from amaranth.hdl import Module, Mux, Signal
from amaranth.lib import stream, wiring
from amaranth.lib.wiring import In, Out

from golden.spec.config import Config, clog2
from hw.axi import MAX_BURST, OKAY, AxiWrite
from hw.dma import burst_beats, job_stream


class WriteDma(wiring.Component):
    """Turns jobs and a stream of beats into write bursts; the job is done when its last response has come.

    During ``flush`` no burst is begun and the one that was begun is filled up with zeros; ``idle`` tells when every
    response has come.

    Ports
    -----
    jobs : stream of job_layout, in
    data : stream of axi_bits, in
    axi : AxiWrite, out
    flush : Signal(), in
        Hold until ``idle``.
    idle : Signal(), out
        No job, no burst and no response outstanding.
    error : Signal(), out
        A response was an error.
    beat : Signal(), out
        A beat was written.
    """

    def __init__(self, config: Config) -> None:
        self.config = config
        super().__init__({
            "jobs": In(job_stream()), "data": In(stream.Signature(config.axi_bits)), "axi": Out(AxiWrite(config.axi_bits)),
            "flush": In(1), "idle": Out(1), "error": Out(1), "beat": Out(1),
        })

    def elaborate(self, platform: object) -> Module:
        m = Module()
        c = self.config
        addr, left = Signal(32), Signal(24)
        burst = Signal(range(MAX_BURST + 1))  # beats of the current burst still to write
        responses = Signal(16)  # outstanding
        length = Signal(range(MAX_BURST + 1))
        begin, beat = Signal(), Signal()
        m.d.comb += [
            length.eq(burst_beats(c, addr, left)),
            begin.eq((left != 0) & (burst == 0) & ~self.axi.awvalid & ~self.flush),
            self.jobs.ready.eq((left == 0) & (burst == 0) & ~self.axi.awvalid & ~self.flush),
            self.axi.wvalid.eq((burst != 0) & (self.data.valid | self.flush)),
            self.axi.wdata.eq(Mux(self.flush, 0, self.data.payload)),
            self.axi.wlast.eq(burst == 1),
            beat.eq(self.axi.wvalid & self.axi.wready),
            self.data.ready.eq((burst != 0) & self.axi.wready & ~self.flush),
            self.axi.bready.eq(1),
            self.beat.eq(beat),
            self.error.eq(self.axi.bvalid & (self.axi.bresp != OKAY)),
            self.idle.eq((left == 0) & (burst == 0) & ~self.axi.awvalid & (responses == 0)),
        ]
        with m.If(self.axi.awready):
            m.d.sync += self.axi.awvalid.eq(0)
        with m.If(beat):
            m.d.sync += burst.eq(burst - 1)
        with m.If(begin):
            m.d.sync += [
                self.axi.awvalid.eq(1), self.axi.awaddr.eq(addr), self.axi.awlen.eq(length - 1), burst.eq(length),
                left.eq(left - length), addr.eq(addr + (length << clog2(c.axi_bytes))),
            ]
        with m.If(self.jobs.valid & self.jobs.ready):
            m.d.sync += [addr.eq(self.jobs.p.addr), left.eq(self.jobs.p.beats)]
        m.d.sync += responses.eq(responses + begin - self.axi.bvalid)
        with m.If(self.flush):
            m.d.sync += left.eq(0)
        return m
