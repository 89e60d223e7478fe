"""Cuts DMA jobs in AXI bursts."""

from __future__ import annotations

from collections.abc import Mapping
from itertools import pairwise

from amaranth.hdl import Module, Mux, Signal
from amaranth.lib import data, stream, wiring
from amaranth.lib.wiring import In, Out

from golden.spec.config import Config, clog2
from hw.axi import MAX_BURST
from hw.jobs import jobs


def burst_layout() -> data.StructLayout:
    """A burst: AXI address and length - 1; ``last`` marks the job's last one."""
    return data.StructLayout({"addr": 32, "len": clog2(MAX_BURST), "last": 1})


class Bursts(wiring.Component):
    """Bursts of at most `MAX_BURST` beats that cross no multiple of as many beats, in order of address.

    The first burst comes two cycles after its job, the following ones every second cycle. The next job is taken once the
    last burst of the one before is.

    Ports
    -----
    jobs : stream of job_layout, in
    bursts : stream of burst_layout, out
    """

    def __init__(self, config: Config) -> None:
        self.config = config
        super().__init__({"jobs": In(jobs()), "bursts": Out(stream.Signature(burst_layout()))})

    def elaborate(self, platform: object) -> Module:
        m = Module()
        low = clog2(self.config.axi_bytes)
        burst_bits = clog2(MAX_BURST)
        position = Signal(32 - low)  # next beat of the address space
        left = Signal(24)
        room, length = Signal(range(MAX_BURST + 1)), Signal(range(MAX_BURST + 1))
        m.d.comb += room.eq(MAX_BURST - position[:burst_bits])
        ends = Signal()  # the job ends before the next boundary
        m.d.comb += ends.eq(~left[burst_bits + 1:].any() & (left[:burst_bits + 1] <= room))
        with m.FSM():
            with m.State("IDLE"):
                m.d.comb += self.jobs.ready.eq(1)
                m.d.sync += [position.eq(self.jobs.payload.addr >> low), left.eq(self.jobs.payload.beats)]
                with m.If(self.jobs.valid):
                    m.next = "CUT"
            with m.State("CUT"):
                m.d.comb += length.eq(Mux(ends, left[:burst_bits + 1], room))
                m.d.sync += [
                    self.bursts.payload.addr.eq(position << low),
                    self.bursts.payload.len.eq(length - 1), self.bursts.payload.last.eq(ends), self.bursts.valid.eq(1),
                    left.eq(left - room), position[burst_bits:].eq(position[burst_bits:] + 1), position[:burst_bits].eq(0),
                ]
                m.next = "OFFER"
            with m.State("OFFER"):
                with m.If(self.bursts.ready):
                    m.d.sync += self.bursts.valid.eq(0)
                    m.next = "CUT"
                    with m.If(self.bursts.payload.last):
                        m.next = "IDLE"
        return m

    @staticmethod
    def model(config: Config, job: Mapping[str, int]) -> list[dict[str, int]]:
        """Twin: the bursts of a job, as fields of burst_layout."""
        first, end = job["addr"] // config.axi_bytes, job["addr"] // config.axi_bytes + job["beats"]
        bounds = [first, *range((first // MAX_BURST + 1) * MAX_BURST, end, MAX_BURST), end]
        return [{"addr": low * config.axi_bytes, "len": high - low - 1, "last": int(high == end)}
                for low, high in pairwise(bounds)]
