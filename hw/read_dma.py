"""Read half of the AXI4 master."""

from __future__ import annotations

from amaranth.hdl import Module, ResetInserter, Signal
from amaranth.lib import data, stream, wiring
from amaranth.lib.fifo import SyncFIFOBuffered
from amaranth.lib.wiring import In, Out

from golden.spec.config import Config, clog2
from hw.axi import MAX_BURST, OKAY, AxiRead
from hw.dma import burst_beats, job_stream


def beat_layout(config: Config) -> data.StructLayout:
    """One beat of a job."""
    return data.StructLayout({"data": config.axi_bits, "last": 1})


class ReadDma(wiring.Component):
    """Turns jobs into bursts and gives their beats in order, the last one of each job marked.

    Up to ``OUTSTANDING`` bursts are asked for ahead; a FIFO has room for all of them, so ``rready`` is always high and the
    bus never waits for us. A job is taken when every beat of the one before has arrived. During ``flush`` no burst is
    begun, what arrives is dropped, and ``idle`` tells when nothing is on its way any more.

    Ports
    -----
    jobs : stream of job_layout, in
    data : stream of {data, last}, out
    axi : AxiRead, out
    flush : Signal(), in
        Hold until ``idle``.
    idle : Signal(), out
    error : Signal(), out
        A beat came with an error response.
    beat : Signal(), out
        A beat came.
    """

    OUTSTANDING = 4

    def __init__(self, config: Config) -> None:
        self.config = config
        super().__init__({
            "jobs": In(job_stream()), "data": Out(stream.Signature(beat_layout(config))), "axi": Out(AxiRead(config.axi_bits)),
            "flush": In(1), "idle": Out(1), "error": Out(1), "beat": Out(1),
        })

    def elaborate(self, platform: object) -> Module:
        m = Module()
        c = self.config
        depth = self.OUTSTANDING * MAX_BURST
        shape = beat_layout(c)
        fifo = SyncFIFOBuffered(width=shape.size, depth=depth)
        m.submodules.fifo = ResetInserter(self.flush)(fifo)

        addr, left = Signal(32), Signal(24)  # of the job, not asked for yet
        flying = Signal(range(depth + 1))  # beats asked for and not here yet
        claimed = Signal(range(depth + 1))  # places of the FIFO that are asked for or full
        length = Signal(range(MAX_BURST + 1))
        ask = Signal()
        m.d.comb += [
            length.eq(burst_beats(c, addr, left)),
            ask.eq((left != 0) & ~self.flush & (claimed <= depth - MAX_BURST) & (~self.axi.arvalid | self.axi.arready)),
            self.jobs.ready.eq((left == 0) & (flying == 0) & ~self.axi.arvalid & ~self.flush),
            self.axi.rready.eq(1),
            self.beat.eq(self.axi.rvalid),
            self.error.eq(self.axi.rvalid & (self.axi.rresp != OKAY)),
            self.idle.eq((flying == 0) & ~self.axi.arvalid & (left == 0) & ~fifo.r_rdy),
        ]
        with m.If(self.axi.arready):
            m.d.sync += self.axi.arvalid.eq(0)
        with m.If(ask):
            m.d.sync += [
                self.axi.arvalid.eq(1), self.axi.araddr.eq(addr), self.axi.arlen.eq(length - 1), left.eq(left - length),
                addr.eq(addr + (length << clog2(c.axi_bytes))),
            ]
        with m.If(self.jobs.valid & self.jobs.ready):
            m.d.sync += [addr.eq(self.jobs.p.addr), left.eq(self.jobs.p.beats)]

        payload = Signal(shape)
        taken = Signal()
        m.d.comb += [
            payload.data.eq(self.axi.rdata), payload.last.eq((left == 0) & (flying == 1)), fifo.w_data.eq(payload),
            fifo.w_en.eq(self.axi.rvalid), self.data.payload.eq(fifo.r_data), self.data.valid.eq(fifo.r_rdy),
            fifo.r_en.eq(self.data.ready), taken.eq(self.data.valid & self.data.ready),
        ]
        asked = Signal.like(length)
        with m.If(ask):
            m.d.comb += asked.eq(length)
        m.d.sync += [flying.eq(flying + asked - self.axi.rvalid), claimed.eq(claimed + asked - taken)]
        with m.If(self.flush):
            m.d.sync += [left.eq(0), claimed.eq(flying - self.axi.rvalid)]
        return m
