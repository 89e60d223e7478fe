"""Shares the read DMA between its two users."""

from __future__ import annotations

from amaranth.hdl import Module, Signal
from amaranth.lib import stream, wiring
from amaranth.lib.wiring import In, Out

from golden.spec.config import Config
from hw.dma import job_stream
from hw.read_dma import beat_layout


class JobArbiter(wiring.Component):
    """Grants one job at a time, in turn where both ask, and leads its beats to the user that asked for them.

    A user keeps a job on offer until it is taken. The next job is granted after the last beat of the one before was taken.

    Ports
    -----
    user_jobs : Array of streams of jobs, in
    user_data : Array of streams of beats, out
    jobs : stream of jobs, out
    data : stream of beats, in
    """

    def __init__(self, config: Config) -> None:
        self.config = config
        beats = stream.Signature(beat_layout(config))
        super().__init__({
            "user_jobs": In(job_stream()).array(2), "user_data": Out(beats).array(2),
            "jobs": Out(job_stream()), "data": In(beats),
        })

    def elaborate(self, platform: object) -> Module:
        m = Module()
        owner, granted, running = Signal(), Signal(), Signal()
        with m.If(~granted & ~running):
            with m.If(self.user_jobs[0].valid | self.user_jobs[1].valid):
                m.d.sync += granted.eq(1)
                # in turn: the other one first, if it asks
                with m.Switch(owner):
                    with m.Case(0):
                        m.d.sync += owner.eq(self.user_jobs[1].valid)
                    with m.Case(1):
                        m.d.sync += owner.eq(~self.user_jobs[0].valid)
        with m.If(granted & self.jobs.valid & self.jobs.ready):
            m.d.sync += [granted.eq(0), running.eq(1)]
        with m.If(running & self.data.valid & self.data.ready & self.data.p.last):
            m.d.sync += running.eq(0)
        with m.Switch(owner):
            for i in range(2):
                with m.Case(i):
                    m.d.comb += [
                        self.jobs.valid.eq(granted & self.user_jobs[i].valid), self.jobs.payload.eq(self.user_jobs[i].payload),
                        self.user_jobs[i].ready.eq(granted & self.jobs.ready),
                        self.user_data[i].valid.eq(running & self.data.valid),
                        self.data.ready.eq(running & self.user_data[i].ready),
                    ]
        for i in range(2):
            m.d.comb += self.user_data[i].payload.eq(self.data.payload)
        return m
