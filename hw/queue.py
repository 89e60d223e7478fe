"""A short queue in lookup-table memory."""

from __future__ import annotations

from amaranth.hdl import Module, Signal
from amaranth.lib import wiring
from amaranth.lib.memory import Memory
from amaranth.lib.wiring import In, Out

from golden.spec.config import clog2


class Queue(wiring.Component):
    """First in, first out; what is written in one cycle can be read from the next on.

    Amaranth's buffered queue counts its entries in the cycle in which one leaves, and who takes entries here finds out late
    in the cycle that it does. This one only steps a pointer then.

    Parameters
    ----------
    width, depth : int
        Bits of an entry, and their number, a power of two.

    Ports
    -----
    w_data : Signal(width), in
    w_en : Signal(), in
        Write; never while the queue is full.
    r_data : Signal(width), out
    r_rdy : Signal(), out
        There is an entry.
    r_en : Signal(), in
        Take it, where there is one.
    level : Signal(), out
        Number of entries.
    """

    def __init__(self, width: int, depth: int) -> None:
        self.width, self.depth = width, depth
        super().__init__({
            "w_data": In(width), "w_en": In(1), "r_data": Out(width), "r_rdy": Out(1), "r_en": In(1),
            "level": Out(range(depth + 1)),
        })

    def elaborate(self, platform: object) -> Module:
        m = Module()
        m.submodules.storage = storage = Memory(shape=self.width, depth=self.depth, init=[])
        write, read = storage.write_port(), storage.read_port(domain="comb")
        produce, consume = Signal(clog2(self.depth) + 1), Signal(clog2(self.depth) + 1)
        m.d.comb += [
            write.addr.eq(produce), write.data.eq(self.w_data), write.en.eq(self.w_en),
            read.addr.eq(consume), self.r_data.eq(read.data), self.r_rdy.eq(produce != consume),
            self.level.eq((produce - consume)[:len(self.level)]),
        ]
        with m.If(self.w_en):
            m.d.sync += produce.eq(produce + 1)
        with m.If(self.r_rdy & self.r_en):
            m.d.sync += consume.eq(consume + 1)
        return m
