"""Reads memory over AXI4."""

from __future__ import annotations

from collections.abc import Iterable, Mapping

from amaranth.hdl import Cat, Module, ResetInserter, Signal
from amaranth.lib import wiring
from amaranth.lib.fifo import SyncFIFOBuffered
from amaranth.lib.wiring import In, Out, connect, flipped

from golden.spec.config import Config
from hw.axi import MAX_BURST, OKAY, AxiRead
from hw.bursts import Bursts
from hw.jobs import MAX_OUTSTANDING, beats, jobs


class ReadDma(wiring.Component):
    """Turns jobs into a stream of beats, in order, with up to `MAX_OUTSTANDING` bursts on the way.

    A burst is only asked for when the FIFO has room for the whole of it, so ``rready`` is always high and a slow
    consumer never blocks the bus. Latency: 3 cycles from a job to ``arvalid``, 2 from a beat to ``data``; one beat per
    cycle. A beat with an error response flows on like the others. Beats that nobody asked for (an answer that comes
    after a reset) are dropped.

    Ports
    -----
    jobs : stream of job_layout, in
    data : stream of beat_layout, out
    axi : AxiRead, out
    error : Signal(), out
        Pulses in the cycle after a beat with an error response.
    stop : Signal(), in
        While high: no further burst is asked for, whatever arrives is dropped, jobs are forgotten.
    idle : Signal(), out
        Nothing is on the way and nothing is kept. After ``stop`` and ``idle`` in one cycle the engine is as after reset.
    """

    def __init__(self, config: Config) -> None:
        self.config = config
        super().__init__({
            "jobs": In(jobs()), "data": Out(beats(config.axi_bits)), "axi": Out(AxiRead(config.axi_bits)), "error": Out(1),
            "stop": In(1), "idle": Out(1),
        })

    def elaborate(self, platform: object) -> Module:
        m = Module()
        bits = self.config.axi_bits
        depth = MAX_OUTSTANDING * MAX_BURST
        bursts = Bursts(self.config)
        m.submodules.bursts = ResetInserter(self.stop)(bursts)
        m.submodules.fifo = fifo = SyncFIFOBuffered(width=bits + 1, depth=depth)
        connect(m, flipped(self.jobs), bursts.jobs)
        burst, axi = bursts.bursts, self.axi

        # Room promised to bursts, and which of the bursts on the way end their job (oldest in bit 0).
        promised = Signal(range(depth + 1))
        count = Signal(range(MAX_OUTSTANDING + 1))
        enders = Signal(MAX_OUTSTANDING)
        free, take, burst_over, pop = Signal(), Signal(), Signal(), Signal()
        m.d.comb += [
            free.eq(~axi.arvalid & (promised <= depth - MAX_BURST) & (count != MAX_OUTSTANDING) & ~self.stop),
            burst.ready.eq(free), take.eq(free & burst.valid), axi.rready.eq(1),
        ]
        with m.If(axi.arready):
            m.d.sync += axi.arvalid.eq(0)
        with m.If(take):
            m.d.sync += [axi.arvalid.eq(1), axi.araddr.eq(burst.payload.addr), axi.arlen.eq(burst.payload.len)]

        wanted = Signal()
        m.d.comb += [wanted.eq(axi.rvalid & (count != 0)), burst_over.eq(wanted & axi.rlast)]
        m.d.sync += self.error.eq(wanted & (axi.rresp != OKAY))
        older = Signal(MAX_OUTSTANDING)
        older_count = Signal.like(count)
        m.d.comb += [older.eq(enders >> burst_over), older_count.eq(count - burst_over)]
        m.d.sync += [enders.eq(older), count.eq(older_count + take)]
        for i in range(MAX_OUTSTANDING):
            with m.If(take & (older_count == i)):
                m.d.sync += enders[i].eq(burst.payload.last)

        m.d.comb += [
            fifo.w_data.eq(Cat(axi.rdata, axi.rlast & enders[0])), fifo.w_en.eq(wanted & ~self.stop),
            self.data.payload.data.eq(fifo.r_data[:bits]), self.data.payload.last.eq(fifo.r_data[bits]),
            self.data.valid.eq(fifo.r_rdy & ~self.stop),
            fifo.r_en.eq(self.data.ready | self.stop), pop.eq(fifo.r_rdy & self.data.ready),
        ]
        with m.If(self.stop):
            m.d.sync += promised.eq(0)
        with m.Elif(take):
            m.d.sync += promised.eq(promised + burst.payload.len + 1 - pop)
        with m.Else():
            m.d.sync += promised.eq(promised - pop)
        m.d.comb += self.idle.eq((count == 0) & ~axi.arvalid & (fifo.level == 0))
        return m

    @staticmethod
    def model(config: Config, jobs: Iterable[Mapping[str, int]], memory: Mapping[int, int]) -> list[tuple[int, int]]:
        """Twin: data and ``last`` of every beat, from memory by beat number (address / beat bytes)."""
        return [(memory[job["addr"] // config.axi_bytes + i], int(i == job["beats"] - 1))
                for job in jobs for i in range(job["beats"])]
