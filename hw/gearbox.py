"""Stream width converters, little-endian: the first narrow item lies in the lowest bits of the wide one."""

from __future__ import annotations

from collections.abc import Iterable, Sequence

from amaranth.hdl import Module, Mux, Signal
from amaranth.lib import stream, wiring
from amaranth.lib.wiring import In, Out


class Widen(wiring.Component):
    """Collects narrow items until a wide one is full: one narrow item per cycle, latency 1 cycle (ratio 1: wires).

    With ``short_bits``, a second, smaller width can be chosen while nothing is half full, and shares the register.

    Parameters
    ----------
    narrow_bits, wide_bits, short_bits : int
        Widths; each of the wide ones a multiple of the narrow one.

    Ports
    -----
    narrow : stream, in
    wide : stream, out
        Where ``short``, the upper bits are without meaning.
    short : Signal(), in
        Items of ``short_bits`` are wanted.
    """

    def __init__(self, narrow_bits: int, wide_bits: int, short_bits: int | None = None) -> None:
        self.bits = narrow_bits, wide_bits, short_bits or wide_bits
        super().__init__({
            "narrow": In(stream.Signature(narrow_bits)), "wide": Out(stream.Signature(wide_bits)), "short": In(1),
        })

    def elaborate(self, platform: object) -> Module:
        m = Module()
        narrow, wide, short = self.bits
        if narrow == wide == short:
            m.d.comb += [
                self.wide.payload.eq(self.narrow.payload), self.wide.valid.eq(self.narrow.valid),
                self.narrow.ready.eq(self.wide.ready),
            ]
            return m
        items = Signal(wide, reset_less=True)
        count = Signal(range(max(wide // narrow, 2)))
        full, take = Signal(), Signal()
        last = Signal.like(count)
        m.d.comb += [
            last.eq(Mux(self.short, short // narrow - 1, wide // narrow - 1)),
            self.wide.payload.eq(items), self.wide.valid.eq(full),
            self.narrow.ready.eq(~full | self.wide.ready), take.eq(self.narrow.valid & self.narrow.ready),
        ]
        with m.If(self.wide.ready):
            m.d.sync += full.eq(0)
        with m.If(take):
            m.d.sync += [items.word_select(count, narrow).eq(self.narrow.payload), count.eq(count + 1)]
            with m.If(count == last):
                m.d.sync += [full.eq(1), count.eq(0)]
        return m

    @staticmethod
    def model(items: Sequence[int], narrow: int, wide: int) -> list[int]:
        """Twin: the full items of ``wide`` bits, be that the full width or the short one."""
        ratio = wide // narrow
        return [sum(item << (i * narrow) for i, item in enumerate(items[first:first + ratio]))
                for first in range(0, len(items) - ratio + 1, ratio)]


class Narrow(wiring.Component):
    """Cuts wide items in narrow ones, one a cycle; combinational, as who sends a wide item holds it until all of it is taken.

    With ``short_bits``, items whose upper bits do not count can be sent.

    Parameters
    ----------
    wide_bits, narrow_bits, short_bits : int
        Widths; each of the wide ones a multiple of the narrow one.

    Ports
    -----
    wide : stream, in
    short : Signal(), in
        The item on ``wide`` has only ``short_bits``.
    narrow : stream, out
    """

    def __init__(self, wide_bits: int, narrow_bits: int, short_bits: int | None = None) -> None:
        self.bits = wide_bits, narrow_bits, short_bits or wide_bits
        super().__init__({
            "wide": In(stream.Signature(wide_bits)), "short": In(1), "narrow": Out(stream.Signature(narrow_bits)),
        })

    def elaborate(self, platform: object) -> Module:
        m = Module()
        wide, narrow, short = self.bits
        if wide == narrow == short:
            m.d.comb += [
                self.narrow.payload.eq(self.wide.payload), self.narrow.valid.eq(self.wide.valid),
                self.wide.ready.eq(self.narrow.ready),
            ]
            return m
        count = Signal(range(max(wide // narrow, 2)))
        last = Signal()
        m.d.comb += [
            last.eq(count == Mux(self.short, short // narrow - 1, wide // narrow - 1)),
            self.narrow.payload.eq(self.wide.payload.word_select(count, narrow)), self.narrow.valid.eq(self.wide.valid),
            self.wide.ready.eq(self.narrow.ready & last),
        ]
        with m.If(self.narrow.valid & self.narrow.ready):
            m.d.sync += count.eq(Mux(last, 0, count + 1))
        return m

    @staticmethod
    def model(items: Iterable[int], wide: int, narrow: int) -> list[int]:
        """Twin: the narrow items of those of ``wide`` bits, be that the full width or the short one."""
        return [item >> i & ((1 << narrow) - 1) for item in items for i in range(0, wide, narrow)]
