"""Reads and writes memory over AXI4, for a lean machine."""

from __future__ import annotations

from collections.abc import Iterable, Mapping

from amaranth.hdl import Module, Mux, Signal
from amaranth.lib import stream, wiring
from amaranth.lib.wiring import In, Out

from golden.spec.config import Config, clog2
from hw.axi import OKAY, AxiRead, AxiWrite
from hw.jobs import beats, jobs
from hw.read_dma import ReadDma
from hw.write_dma import WriteDma


class BeatDma(wiring.Component):
    """Carries out one job at a time, in bursts of one beat: `ReadDma`, `WriteDma` and what is between them, for users that never
    ask at the same time.

    Nothing is kept but an address and a count, and the word that is being written, so it needs no FIFO: a beat waits on the bus
    until its user takes it. A beat takes two cycles and the memory's latency, a written one three.

    Ports
    -----
    jobs0, jobs1 : stream of job_layout, in
        What is to be read, for two users.
    write_jobs : stream of job_layout, in
    data0, data1 : stream of beat_layout, out
    write_data : stream of axi_bits, in
    axi_read, axi_write : AxiRead, AxiWrite, out
    written : Signal(), out
        Pulses in the cycle after the last write response of a job.
    read_error, write_error : Signal(), out
        Pulse in the cycle after an error response.
    error_user : Signal(), out
        Whose beat that was.
    stop : Signal(), in
        While high: the beat on the way ends and is dropped, jobs are forgotten.
    idle : Signal(), out
        Nothing is on the way. After ``stop`` and ``idle`` in one cycle the engine is as after reset.
    """

    def __init__(self, config: Config) -> None:
        self.config = config
        bits = config.axi_bits
        super().__init__({
            "jobs0": In(jobs()), "jobs1": In(jobs()), "write_jobs": In(jobs()), "data0": Out(beats(bits)),
            "data1": Out(beats(bits)), "write_data": In(stream.Signature(bits)), "axi_read": Out(AxiRead(bits)),
            "axi_write": Out(AxiWrite(bits)), "written": Out(1), "read_error": Out(1), "write_error": Out(1),
            "error_user": Out(1), "stop": In(1), "idle": Out(1),
        })

    def elaborate(self, platform: object) -> Module:
        m = Module()
        low = clog2(self.config.axi_bytes)
        read, write = self.axi_read, self.axi_write
        place = Signal(self.config.address_bits - low)  # of the beat, in beats
        left = Signal(len(place) + 1)  # beats that have not come; no job has more than memory
        user, asked, given, over = Signal(), Signal(), Signal(), Signal()
        wanted = (self.jobs1, self.jobs0, self.write_jobs)
        job = Mux(self.jobs1.valid, self.jobs1.payload.as_value(),
                  Mux(self.jobs0.valid, self.jobs0.payload.as_value(), self.write_jobs.payload.as_value()))
        chosen = Signal(self.jobs0.payload.shape())
        ready = Mux(user, self.data1.ready, self.data0.ready)
        m.d.comb += [
            chosen.eq(job), read.araddr.eq(place << low), write.awaddr.eq(place << low), write.wlast.eq(1),
            self.data0.payload.data.eq(read.rdata), self.data1.payload.data.eq(read.rdata),
            self.data0.payload.last.eq(left == 1), self.data1.payload.last.eq(left == 1), self.error_user.eq(user),
        ]
        m.d.sync += [self.written.eq(0), self.read_error.eq(0), self.write_error.eq(0)]
        with m.If(over):
            m.d.sync += [place.eq(place + 1), left.eq(left - 1), asked.eq(0), given.eq(0)]
        with m.FSM():
            with m.State("IDLE"):
                m.d.comb += [self.idle.eq(1), *(x.ready.eq(~self.stop) for x in wanted)]
                m.d.sync += [place.eq(chosen.addr >> low), left.eq(chosen.beats), user.eq(self.jobs1.valid)]
                with m.If(~self.stop):
                    with m.If(self.jobs0.valid | self.jobs1.valid):
                        m.next = "READ"
                    with m.Elif(self.write_jobs.valid):
                        m.next = "TAKE"
            with m.State("READ"):
                m.d.comb += [
                    read.arvalid.eq(~asked), read.rready.eq(asked & (ready | self.stop)),
                    self.data0.valid.eq(read.rvalid & asked & ~user & ~self.stop),
                    self.data1.valid.eq(read.rvalid & asked & user & ~self.stop), over.eq(read.rvalid & read.rready),
                ]
                with m.If(read.arvalid & read.arready):
                    m.d.sync += asked.eq(1)
                with m.If(over):
                    m.d.sync += self.read_error.eq(read.rresp != OKAY)
                    with m.If((left == 1) | self.stop):
                        m.next = "IDLE"
            with m.State("TAKE"):
                m.d.comb += self.write_data.ready.eq(~self.stop)
                m.d.sync += write.wdata.eq(self.write_data.payload)
                with m.If(self.stop):
                    m.next = "IDLE"
                with m.Elif(self.write_data.valid):
                    m.next = "WRITE"
            with m.State("WRITE"):
                m.d.comb += [
                    write.awvalid.eq(~asked), write.wvalid.eq(~given), write.bready.eq(asked & given),
                    over.eq(write.bvalid & write.bready),
                ]
                with m.If(write.awvalid & write.awready):
                    m.d.sync += asked.eq(1)
                with m.If(write.wvalid & write.wready):
                    m.d.sync += given.eq(1)
                with m.If(over):
                    m.d.sync += self.write_error.eq(write.bresp != OKAY)
                    m.next = "TAKE"
                    with m.If((left == 1) | self.stop):
                        m.d.sync += self.written.eq(1)
                        m.next = "IDLE"
        return m

    @staticmethod
    def model(config: Config, job: Mapping[str, int], memory: dict[int, int],
              words: Iterable[int] | None = None) -> list[tuple[int, int]]:
        """Twin: data and ``last`` of every beat of a job that reads, or none, and ``words`` are in ``memory`` by beat number."""
        if words is None:
            return ReadDma.model(config, [job], memory)
        memory.update(WriteDma.model(config, [job], words))
        return []
