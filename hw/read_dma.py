"""Reads memory over AXI4."""

from __future__ import annotations

from collections.abc import Iterable, Mapping

from amaranth.hdl import Cat, Module, Mux, ResetInserter, Signal
from amaranth.lib import wiring
from amaranth.lib.fifo import SyncFIFOBuffered
from amaranth.lib.wiring import In, Out, connect, flipped

from golden.spec.config import Config
from hw.axi import MAX_BURST, OKAY, AxiRead
from hw.bursts import Bursts, burst_layout
from hw.jobs import MAX_OUTSTANDING, beats, jobs


class ReadDma(wiring.Component):
    """Turns the jobs of two users into streams of beats, those of each in order, with up to `MAX_OUTSTANDING` bursts on the way.

    Bursts of user 1 go first, so that it waits for a few bursts of user 0 and not for a whole job. A burst is only asked for
    when the FIFO has room for the whole of it, so ``rready`` is always high and a slow consumer never blocks the bus; but beats
    leave in the order of their bursts, so users must go on to take theirs whatever the other does, else both stand still.
    Latency: 3 cycles from a job to ``arvalid``, 3 from a beat to ``data``; one beat per cycle. A beat with an error response
    flows on like the others. Beats that nobody asked for (an answer that comes after a reset) are dropped.

    Ports
    -----
    jobs0, jobs1 : stream of job_layout, in
    data0, data1 : stream of beat_layout, out
    axi : AxiRead, out
    error : Signal(), out
        Pulses in the cycle after a beat with an error response.
    error_user : Signal(), out
        Whose beat that was.
    stop : Signal(), in
        While high: no further burst is asked for, whatever arrives is dropped, jobs are forgotten.
    idle : Signal(), out
        Nothing is on the way and nothing is kept. After ``stop`` and ``idle`` in one cycle the engine is as after reset.
    """

    def __init__(self, config: Config) -> None:
        self.config = config
        super().__init__({
            "jobs0": In(jobs()), "jobs1": In(jobs()), "data0": Out(beats(config.axi_bits)), "data1": Out(beats(config.axi_bits)),
            "axi": Out(AxiRead(config.axi_bits)), "error": Out(1), "error_user": Out(1), "stop": In(1), "idle": Out(1),
        })

    def elaborate(self, platform: object) -> Module:
        m = Module()
        bits = self.config.axi_bits
        depth = MAX_OUTSTANDING * MAX_BURST
        axi, bursts = self.axi, []
        for i, theirs in enumerate((self.jobs0, self.jobs1)):
            bursts.append(each := Bursts(self.config))
            m.submodules[f"bursts{i}"] = ResetInserter(self.stop)(each)
            connect(m, flipped(theirs), each.jobs)
        m.submodules.fifo = fifo = SyncFIFOBuffered(width=bits + 2, depth=depth)

        # Room promised to bursts; which of the bursts on the way end their job, and whose they are (oldest in bit 0).
        promised = Signal(range(depth + 1))
        count = Signal(range(MAX_OUTSTANDING + 1))
        enders, users = Signal(MAX_OUTSTANDING), Signal(MAX_OUTSTANDING)
        free, take, burst_over, pop, user = Signal(), Signal(), Signal(), Signal(), Signal()
        burst = Signal(burst_layout())
        m.d.comb += [
            free.eq(~axi.arvalid & (promised <= depth - MAX_BURST) & (count != MAX_OUTSTANDING) & ~self.stop),
            user.eq(bursts[1].bursts.valid), burst.eq(Mux(user, bursts[1].bursts.payload, bursts[0].bursts.payload)),
            bursts[0].bursts.ready.eq(free & ~user), bursts[1].bursts.ready.eq(free),
            take.eq(free & (user | bursts[0].bursts.valid)), axi.rready.eq(1),
        ]
        with m.If(axi.arready):
            m.d.sync += axi.arvalid.eq(0)
        with m.If(take):
            m.d.sync += [axi.arvalid.eq(1), axi.araddr.eq(burst.addr), axi.arlen.eq(burst.len)]

        wanted = Signal()
        m.d.comb += [wanted.eq(axi.rvalid & (count != 0)), burst_over.eq(wanted & axi.rlast)]
        m.d.sync += [self.error.eq(wanted & (axi.rresp != OKAY)), self.error_user.eq(users[0])]
        older, older_users = Signal(MAX_OUTSTANDING), Signal(MAX_OUTSTANDING)
        older_count = Signal.like(count)
        m.d.comb += [older.eq(enders >> burst_over), older_users.eq(users >> burst_over), older_count.eq(count - burst_over)]
        m.d.sync += [enders.eq(older), users.eq(older_users), count.eq(older_count + take)]
        for i in range(MAX_OUTSTANDING):
            with m.If(take & (older_count == i)):
                m.d.sync += [enders[i].eq(burst.last), users[i].eq(user)]

        # A block RAM is slow, so what it shows waits in a register.
        here, load, beat = Signal(), Signal(), Signal(bits + 2, reset_less=True)
        m.d.comb += [
            fifo.w_data.eq(Cat(axi.rdata, axi.rlast & enders[0], users[0])), fifo.w_en.eq(wanted & ~self.stop),
            load.eq(~here | Mux(beat[-1], self.data1.ready, self.data0.ready)),
            fifo.r_en.eq(load | self.stop), pop.eq(fifo.r_rdy & load),
        ]
        with m.If(load):
            m.d.sync += [here.eq(fifo.r_rdy), beat.eq(fifo.r_data)]
        for i, theirs in enumerate((self.data0, self.data1)):
            m.d.comb += [
                theirs.payload.data.eq(beat[:bits]), theirs.payload.last.eq(beat[bits]),
                theirs.valid.eq(here & ~self.stop & (beat[-1] == i)),
            ]
        with m.If(self.stop):
            m.d.sync += [promised.eq(0), here.eq(0)]
        with m.Elif(take):
            m.d.sync += promised.eq(promised + burst.len + 1 - pop)
        with m.Else():
            m.d.sync += promised.eq(promised - pop)
        m.d.comb += self.idle.eq((count == 0) & ~axi.arvalid & (fifo.level == 0) & ~here)
        return m

    @staticmethod
    def model(config: Config, jobs: Iterable[Mapping[str, int]], memory: Mapping[int, int]) -> list[tuple[int, int]]:
        """Twin: data and ``last`` of every beat of one user's jobs, from memory by beat number (address / beat bytes)."""
        return [(memory[job["addr"] // config.axi_bytes + i], int(i == job["beats"] - 1))
                for job in jobs for i in range(job["beats"])]
