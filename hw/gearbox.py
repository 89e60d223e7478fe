"""Stream width converters, little-endian: the first narrow word is the low part of the wide one."""

from __future__ import annotations

from amaranth.hdl import Cat, Module, Signal
from amaranth.lib import stream, wiring
from amaranth.lib.wiring import In, Out


class Widen(wiring.Component):
    """Collects ``wide // narrow`` words into one. Takes a word a cycle; a wide word waits in a register.

    Ports
    -----
    i : stream of narrow bits, in
    o : stream of wide bits, out
    """

    def __init__(self, narrow: int, wide: int) -> None:
        self.ratio = wide // narrow
        assert self.ratio * narrow == wide
        super().__init__({"i": In(stream.Signature(narrow)), "o": Out(stream.Signature(wide))})

    def elaborate(self, platform: object) -> Module:
        m = Module()
        count = Signal(range(max(self.ratio, 2)))
        m.d.comb += self.i.ready.eq(~self.o.valid | self.o.ready)
        with m.If(self.o.ready):
            m.d.sync += self.o.valid.eq(0)
        with m.If(self.i.valid & self.i.ready):
            m.d.sync += [self.o.payload.eq(Cat(self.o.payload, self.i.payload)[len(self.i.payload):]), count.eq(count + 1)]
            with m.If(count == self.ratio - 1):
                m.d.sync += [count.eq(0), self.o.valid.eq(1)]
        return m


class Narrow(wiring.Component):
    """Cuts a word into ``wide // narrow``. Gives a word a cycle; takes the next wide word with the last part of one.

    Ports
    -----
    i : stream of wide bits, in
    o : stream of narrow bits, out
    """

    def __init__(self, wide: int, narrow: int) -> None:
        self.ratio = wide // narrow
        assert self.ratio * narrow == wide
        super().__init__({"i": In(stream.Signature(wide)), "o": Out(stream.Signature(narrow))})

    def elaborate(self, platform: object) -> Module:
        m = Module()
        word = Signal(len(self.i.payload))
        left = Signal(range(self.ratio + 1))
        m.d.comb += [
            self.o.payload.eq(word), self.o.valid.eq(left != 0),
            self.i.ready.eq((left == 0) | ((left == 1) & self.o.ready)),
        ]
        with m.If(self.o.valid & self.o.ready):
            m.d.sync += [word.eq(word >> len(self.o.payload)), left.eq(left - 1)]
        with m.If(self.i.valid & self.i.ready):
            m.d.sync += [word.eq(self.i.payload), left.eq(self.ratio)]
        return m
