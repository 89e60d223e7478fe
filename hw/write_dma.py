"""Writes memory over AXI4."""

from __future__ import annotations

from collections.abc import Iterable, Mapping

from amaranth.hdl import Module, ResetInserter, Signal
from amaranth.lib import stream, wiring
from amaranth.lib.wiring import In, Out

from golden.spec.config import Config
from hw.axi import MAX_BURST, OKAY, AxiWrite
from hw.bursts import Bursts
from hw.jobs import MAX_OUTSTANDING, jobs


class WriteDma(wiring.Component):
    """Writes a stream of beats where jobs say, one job after the other.

    ``awvalid`` and ``wvalid`` do not wait for each other, and a burst's address is sent while the beats of the one before still
    come. Latency: 3 cycles from a job to ``awvalid``, 1 from a beat to ``wvalid``; one beat per cycle, also from burst to
    burst. The next job is taken after ``done``.

    Ports
    -----
    jobs : stream of job_layout, in
    data : stream of axi_bits, in
    axi : AxiWrite, out
    done : Signal(), out
        Pulses in the cycle after the job's last write response.
    error : Signal(), out
        Pulses in the cycle after an error response, with ``done`` at the latest.
    stop : Signal(), in
        While high: no further burst is started, a started one is filled up with anything, jobs are forgotten.
    idle : Signal(), out
        Nothing is on the way. After ``stop`` and ``idle`` in one cycle the engine is as after reset.
    """

    def __init__(self, config: Config) -> None:
        self.config = config
        super().__init__({
            "jobs": In(jobs()), "data": In(stream.Signature(config.axi_bits)), "axi": Out(AxiWrite(config.axi_bits)),
            "done": Out(1), "error": Out(1), "stop": In(1), "idle": Out(1),
        })

    def elaborate(self, platform: object) -> Module:
        m = Module()
        bursts = Bursts(self.config)
        m.submodules.bursts = ResetInserter(self.stop)(bursts)
        burst, axi = bursts.bursts, self.axi
        running, all_started, finished = Signal(), Signal(), Signal()  # a job is running; its last burst has been started
        m.d.comb += [
            bursts.jobs.payload.eq(self.jobs.payload), bursts.jobs.valid.eq(self.jobs.valid & ~running),
            self.jobs.ready.eq(bursts.jobs.ready & ~running & ~self.stop),
        ]

        left, some = Signal(range(MAX_BURST + 1)), Signal()  # beats of the burst that have not come to the output register; not 0
        ending = Signal()  # this cycle's beat is the burst's last
        follows, length = Signal(), Signal.like(left)  # a burst whose beats come after these, and its length
        room, move, take = Signal(), Signal(), Signal()
        count = Signal(range(MAX_OUTSTANDING + 1))  # bursts without response
        answer = Signal()
        m.d.comb += [
            room.eq(some & (~axi.wvalid | axi.wready)),
            self.data.ready.eq(room & ~self.stop), move.eq(room & (self.data.valid | self.stop)), ending.eq(left == 1),
            burst.ready.eq(~follows & ~axi.awvalid & (count != MAX_OUTSTANDING) & ~self.stop),
            take.eq(burst.ready & burst.valid),
            axi.bready.eq(1), answer.eq(axi.bvalid & (count != 0)),
        ]
        with m.If(axi.awready):
            m.d.sync += axi.awvalid.eq(0)
        with m.If(axi.wready):
            m.d.sync += axi.wvalid.eq(0)
        with m.If(move):
            m.d.sync += [
                axi.wvalid.eq(1), axi.wdata.eq(self.data.payload), axi.wlast.eq(ending), left.eq(left - 1),
            ]
        with m.If(~some | (move & ending)):
            m.d.sync += [left.eq(length), some.eq(follows), follows.eq(0)]
        with m.If(take):
            m.d.sync += [
                axi.awvalid.eq(1), axi.awaddr.eq(burst.payload.addr), axi.awlen.eq(burst.payload.len),
                follows.eq(1), length.eq(burst.payload.len + 1), all_started.eq(burst.payload.last),
            ]
        m.d.sync += [count.eq(count + take - answer), self.error.eq(answer & (axi.bresp != OKAY)), self.done.eq(finished)]
        m.d.comb += [
            finished.eq(running & all_started & answer & (count == 1)),
            self.idle.eq((count == 0) & ~axi.awvalid & ~axi.wvalid & ~some & ~follows),
        ]
        with m.If(self.stop | finished):
            m.d.sync += [running.eq(0), all_started.eq(0)]
        with m.Elif(self.jobs.valid & self.jobs.ready):
            m.d.sync += running.eq(1)
        return m

    @staticmethod
    def model(config: Config, jobs: Iterable[Mapping[str, int]], words: Iterable[int]) -> list[tuple[int, int]]:
        """Twin: what is written, in order, as beat number (address / beat bytes) and word."""
        beats = [job["addr"] // config.axi_bytes + i for job in jobs for i in range(job["beats"])]
        return list(zip(beats, words, strict=True))
