"""Shares the read engine."""

from __future__ import annotations

from collections.abc import Iterable

from amaranth.hdl import Module, Signal
from amaranth.lib import wiring
from amaranth.lib.wiring import In, Out

from golden.spec.config import Config
from hw.jobs import beats, jobs


class JobArbiter(wiring.Component):
    """Grants the read engine to one of two for a whole job, until its last beat is taken.

    A job waits one cycle for its grant. Requester 0 wins when both ask; it cannot starve 1 as long as it pauses one
    cycle between jobs. Whoever has asked must go on to take its beats whatever the other does, else both stand still.

    Ports
    -----
    jobs0, jobs1 : stream of job_layout, in
    data0, data1 : stream of beat_layout, out
    jobs : stream of job_layout, out
    data : stream of beat_layout, in
    owner : Signal(), out
        Who has the engine, or had it last.
    """

    def __init__(self, config: Config) -> None:
        bits = config.axi_bits
        super().__init__({
            "jobs0": In(jobs()), "jobs1": In(jobs()), "data0": Out(beats(bits)), "data1": Out(beats(bits)),
            "jobs": Out(jobs()), "data": In(beats(bits)), "owner": Out(1),
        })

    def elaborate(self, platform: object) -> Module:
        m = Module()
        m.d.comb += [x.payload.eq(self.data.payload) for x in (self.data0, self.data1)]
        m.d.comb += self.jobs.payload.eq(self.jobs0.payload)
        with m.If(self.owner):
            m.d.comb += self.jobs.payload.eq(self.jobs1.payload)
        asking, routing = Signal(), Signal()
        with m.If(~asking & ~routing):
            m.d.sync += [self.owner.eq(~self.jobs0.valid), asking.eq(self.jobs0.valid | self.jobs1.valid)]
        for owner, (job, beat) in enumerate(((self.jobs0, self.data0), (self.jobs1, self.data1))):
            with m.If(self.owner == owner):
                m.d.comb += [
                    self.jobs.valid.eq(asking), job.ready.eq(asking & self.jobs.ready),
                    beat.valid.eq(self.data.valid & routing), self.data.ready.eq(beat.ready & routing),
                ]
        with m.If(asking & self.jobs.ready):
            m.d.sync += [asking.eq(0), routing.eq(1)]
        with m.If(self.data.valid & self.data.ready & self.data.payload.last):
            m.d.sync += routing.eq(0)
        return m

    @staticmethod
    def model(turns: Iterable[int], data: Iterable[tuple[int, int]]) -> list[list[tuple[int, int]]]:
        """Twin: the beats (data, ``last``) of each requester, from the owners of the jobs in order and the engine's beats."""
        sides: list[list[tuple[int, int]]] = [[], []]
        beats = iter(data)
        for owner in turns:
            for beat in beats:
                sides[owner].append(beat)
                if beat[1]:
                    break
        return sides
