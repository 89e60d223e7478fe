"""A short queue in lookup-table memory, or in a block RAM."""

from __future__ import annotations

from amaranth.hdl import Module, Signal
from amaranth.lib import wiring
from amaranth.lib.memory import Memory
from amaranth.lib.wiring import In, Out

from golden.spec.config import clog2


class Queue(wiring.Component):
    """First in, first out; what is written in one cycle can be read from the next on; of a block RAM one cycle later.

    Amaranth's buffered queue counts its entries in the cycle in which one leaves, and who takes entries here finds out late
    in the cycle that it does. This one only steps a pointer then.

    Parameters
    ----------
    width, depth : int
        Bits of an entry, and their number, a power of two.
    block : bool
        In block RAM, for chips whose lookup tables are no memory.

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

    def __init__(self, width: int, depth: int, block: bool = False) -> None:
        self.width, self.depth, self.block = width, depth, block
        super().__init__({
            "w_data": In(width), "w_en": In(1), "r_data": Out(width), "r_rdy": Out(1), "r_en": In(1),
            "level": Out(range(depth + 1)),
        })

    def elaborate(self, platform: object) -> Module:
        m = Module()
        m.submodules.storage = storage = Memory(shape=self.width, depth=self.depth, init=[])
        write, read = storage.write_port(), storage.read_port(domain="sync" if self.block else "comb")
        produce, consume, next_consume = (Signal(clog2(self.depth) + 1, name=x) for x in ("produce", "consume", "next_consume"))
        written = produce
        if self.block:  # what it shows was asked for a cycle ago, and had been written then
            written = Signal.like(produce, name="written")
            m.d.sync += written.eq(produce)
        m.d.comb += [
            write.addr.eq(produce), write.data.eq(self.w_data), write.en.eq(self.w_en), next_consume.eq(consume),
            read.addr.eq(next_consume if self.block else consume), self.r_data.eq(read.data), self.r_rdy.eq(written != consume),
            self.level.eq((produce - consume)[:len(self.level)]),
        ]
        with m.If(self.w_en):
            m.d.sync += produce.eq(produce + 1)
        with m.If(self.r_rdy & self.r_en):
            m.d.comb += next_consume.eq(consume + 1)
        m.d.sync += consume.eq(next_consume)
        return m
