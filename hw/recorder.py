"""Writes statistics records while the next descriptor already runs."""

from __future__ import annotations

from amaranth.hdl import Module, Signal
from amaranth.lib import data, stream, wiring
from amaranth.lib.wiring import In, Out

from golden.spec.config import Config, clog2
from golden.spec.registers import STATISTICS, STATISTICS_BYTES
from hw.jobs import jobs


def record_layout() -> data.ArrayLayout:
    """The 32-bit words of a record in the order of `golden.spec.registers.STATISTICS`; the first is its index."""
    return data.ArrayLayout(32, len(STATISTICS))


class Recorder(wiring.Component):
    """Copies a record and writes it to ``segment`` + 64 * its index, padded with zeros.

    It is ready for the next one when the write response has come: about ``64 / axi_bytes + 8`` cycles and a memory latency.

    Ports
    -----
    segment : Signal(32), in
    records : stream of record_layout, in
    jobs : stream of job_layout, out
    data : stream of axi_bits, out
    written : Signal(), in
        The job's last response has come.
    """

    def __init__(self, config: Config) -> None:
        self.config = config
        super().__init__({
            "segment": In(32), "records": In(stream.Signature(record_layout())), "jobs": Out(jobs()),
            "data": Out(stream.Signature(config.axi_bits)), "written": In(1),
        })

    def elaborate(self, platform: object) -> Module:
        m = Module()
        bits = self.config.axi_bits
        beats = STATISTICS_BYTES * 8 // bits
        words, addr = Signal(len(self.records.payload.as_value()), reset_less=True), Signal(32, reset_less=True)
        left = Signal(range(beats + 1))
        m.d.comb += [
            self.jobs.payload.addr.eq(addr), self.jobs.payload.beats.eq(beats),
            self.data.payload.eq(words[:bits]), self.data.valid.eq(left != 0),
        ]
        with m.If(self.jobs.ready):
            m.d.sync += self.jobs.valid.eq(0)
        with m.If(self.data.valid & self.data.ready):
            m.d.sync += [words.eq(words >> bits), left.eq(left - 1)]
        with m.FSM():
            with m.State("IDLE"):
                m.d.comb += self.records.ready.eq(1)
                m.d.sync += [
                    words.eq(self.records.payload),
                    addr.eq(self.segment + (self.records.payload[0] << clog2(STATISTICS_BYTES))),
                ]
                with m.If(self.records.valid):
                    m.d.sync += [self.jobs.valid.eq(1), left.eq(beats)]
                    m.next = "WRITE"
            with m.State("WRITE"):
                with m.If(self.written):
                    m.next = "IDLE"
        return m
