"""Shares the write engine."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from itertools import islice

from amaranth.hdl import Module, Signal
from amaranth.lib import stream, wiring
from amaranth.lib.wiring import In, Out

from golden.spec.config import Config
from hw.jobs import jobs


class WriteShare(wiring.Component):
    """Grants the write engine to one of two for a whole job, until its last response has come.

    A job waits one cycle for its grant. Requester 0 wins when both ask. A requester offers the words of its next job after
    ``written``.

    Ports
    -----
    jobs0, jobs1 : stream of job_layout, in
    data0, data1 : stream of axi_bits, in
    written0, written1 : Signal(), out
        Pulse at the end of the requester's job.
    jobs : stream of job_layout, out
    data : stream of axi_bits, out
    written : Signal(), in
    """

    def __init__(self, config: Config) -> None:
        words = stream.Signature(config.axi_bits)
        super().__init__({
            "jobs0": In(jobs()), "jobs1": In(jobs()), "data0": In(words), "data1": In(words), "written0": Out(1),
            "written1": Out(1), "jobs": Out(jobs()), "data": Out(words), "written": In(1),
        })

    def elaborate(self, platform: object) -> Module:
        m = Module()
        owner, asking, routing = Signal(), Signal(), Signal()
        with m.If(~asking & ~routing):
            m.d.sync += [owner.eq(~self.jobs0.valid), asking.eq(self.jobs0.valid | self.jobs1.valid)]
        requesters = (self.jobs0, self.data0, self.written0), (self.jobs1, self.data1, self.written1)
        for number, (job, words, written) in enumerate(requesters):
            with m.If(owner == number):
                m.d.comb += [
                    self.jobs.payload.eq(job.payload), self.jobs.valid.eq(asking), job.ready.eq(asking & self.jobs.ready),
                    self.data.payload.eq(words.payload), self.data.valid.eq(words.valid & routing),
                    words.ready.eq(self.data.ready & routing), written.eq(self.written),
                ]
        with m.If(asking & self.jobs.ready):
            m.d.sync += [asking.eq(0), routing.eq(1)]
        with m.If(self.written):
            m.d.sync += routing.eq(0)
        return m

    @staticmethod
    def model(turns: Iterable[tuple[int, int]], words: Sequence[Iterable[int]]) -> list[int]:
        """Twin: the engine's words, from owner and beats of each job in order and the words of each requester."""
        left = [iter(x) for x in words]
        return [word for owner, beats in turns for word in islice(left[owner], beats)]
