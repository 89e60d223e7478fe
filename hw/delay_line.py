"""A line of words that all move on at once: what goes in comes out after a fixed number of steps."""

from __future__ import annotations

from itertools import pairwise

from amaranth.hdl import Module, Signal
from amaranth.lib import wiring
from amaranth.lib.memory import Memory
from amaranth.lib.wiring import In, Out

from golden.spec.config import clog2


class DelayLine(wiring.Component):
    """The last ``length`` words that were put in; the newest and the oldest are registers.

    Long lines keep the words between in a memory, in lookup tables where the chip has such: an ECP5 keeps 16 bits in a table's
    place, where registers take 16. No reset reaches them.

    Parameters
    ----------
    width, length : int
        Bits of a word, and the words; at least one.
    number : int
        Of this line among those that step together: their pointers, which are alike, stay apart, see `hw.near`.

    Ports
    -----
    step : Signal(), in
        ``data`` goes in.
    data : Signal(width), in
    newest, oldest : Signal(width), out
    """

    REGISTERS = 4  #: the longest line without a memory

    def __init__(self, width: int, length: int, number: int = 0) -> None:
        self.width, self.length, self.number = width, length, number
        super().__init__({"step": In(1), "data": In(width), "newest": Out(width), "oldest": Out(width)})

    def elaborate(self, platform: object) -> Module:
        m = Module()
        line = [Signal(self.width, name=f"word{i}", reset_less=True)
                for i in range(self.length if self.length <= self.REGISTERS else 2)]
        m.d.comb += [self.newest.eq(line[0]), self.oldest.eq(line[-1])]
        with m.If(self.step):
            m.d.sync += [line[0].eq(self.data), *(later.eq(earlier) for earlier, later in pairwise(line))]
        if self.length > self.REGISTERS:
            between = self.length - 2
            m.submodules.memory = memory = Memory(shape=self.width, depth=1 << clog2(between + 1), init=[])
            write, read = memory.write_port(), memory.read_port(domain="comb")
            put = Signal(clog2(between + 1), init=between, name=f"put_near{self.number}", reset_less=True)
            get = Signal.like(put, init=0, name=f"get_near{self.number}")
            m.d.comb += [write.addr.eq(put), write.data.eq(line[0]), write.en.eq(self.step), read.addr.eq(get)]
            with m.If(self.step):
                # the oldest follows the memory, not the newest
                m.d.sync += [line[1].eq(read.data), put.eq(put + 1), get.eq(get + 1)]
        return m
