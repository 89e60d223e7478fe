"""Where the taps lie that lanewise fetches read together."""

from __future__ import annotations

from collections.abc import Mapping
from functools import reduce
from operator import or_

from amaranth.hdl import Module, Mux, Signal, signed, unsigned
from amaranth.lib import data, wiring
from amaranth.lib.wiring import In, Out

from golden.spec.config import Config, clog2
from golden.spec.descriptor import taps_at_once
from hw.bus import descriptor_layout


def place_layout(config: Config) -> data.StructLayout:
    """What one memory of a spike bank reads: the word of tap ``nth`` of the fetch, or nothing that counts (not ``inside``)."""
    return data.StructLayout({
        "inside": 1, "nth": unsigned(clog2(config.taps)), "addr": unsigned(clog2(config.spike_words // config.taps)),
    })


class Taps(wiring.Component):
    """Goes through the taps of a pass, ``taps`` of them a fetch, in the order of the kernel's rows.

    A fetch goes on in the next row where one ends: 3x3 takes 3 fetches of four taps, 5x5 takes 7, 7x7 takes 13. Each of its
    taps has its own place, and all of them move on by as many taps at once; where that is beyond the end of the row, a row
    further down and back. Addresses that follow each other modulo ``taps`` lie in different memories, so which of them a
    memory reads is known from its lowest bits.

    Ports
    -----
    descriptor : Signal(descriptor_layout()), in
        Stable from two cycles before the first ``begin``.
    ix0, iy0 : Signal(signed(14)), in
        Place of the first tap in the input; they change two cycles before ``advance`` at the latest.
    begin : Signal(), in
        The next fetch is a pass's first.
    at : Signal(ArrayLayout(bank address, taps)), in
        Addresses of its taps, with ``begin``.
    advance : Signal(), in
        The next fetch is the one after this one.
    several : Signal(), out
        This descriptor's taps are fetched so; the rest of the outputs is valid only then.
    offsets : Signal(ArrayLayout(bank address, taps)), out
        Ways from a pass's first tap to each of its first fetch; a cycle behind the descriptor.
    last : Signal(), out
        This fetch is the pass's last.
    places : Signal(ArrayLayout(place_layout, taps)), out
        By memory.
    """

    def __init__(self, config: Config) -> None:
        self.config = config
        addresses = data.ArrayLayout(clog2(config.spike_words), config.taps)
        super().__init__({
            "descriptor": In(descriptor_layout()), "ix0": In(signed(14)), "iy0": In(signed(14)), "begin": In(1),
            "at": In(addresses), "advance": In(1), "several": Out(1), "offsets": Out(addresses), "last": Out(1),
            "places": Out(data.ArrayLayout(place_layout(config), config.taps)),
        })

    def elaborate(self, platform: object) -> Module:
        m = Module()
        c, d = self.config, self.descriptor
        low, final = clog2(c.taps), c.taps - 1

        # What a move on is. A kernel's row that is one tap shorter than a fetch makes it a row further down and one tap on;
        # shorter ones are not fetched so. From its end on a row moves further down and back by the row's width.
        short, next_row = Signal(), Signal()
        step, back, end, jump, width, jump_back = (Signal(shape, name=name, reset_less=True) for name, shape in (
            ("step", range(c.taps + 1)), ("back", signed(10)), ("end", signed(14)), ("jump", clog2(c.spike_words)),
            ("width", clog2(c.spike_words)), ("jump_back", clog2(c.spike_words))))
        m.d.comb += [short.eq(d.kernel_w == final), next_row.eq((d.y_stride - d.kernel_w[:low] * d.x_stride[:low])[:low] == 0)]
        m.d.sync += [
            self.several.eq(d.lanewise & ~d.shared_taps & ~d.kernel_w[4:].any() & d.x_stride[0]
                            & ((d.kernel_h == 1) | ((d.kernel_w >= final) & next_row))),
            *(offset.eq(d.x_stride * i) for i, offset in enumerate(self.offsets)),
            width.eq(sum(Mux(d.kernel_w[i], d.x_stride << i, 0) for i in range(4))),
            jump.eq(Mux(short, d.x_stride + d.y_stride, d.x_stride << low)), jump_back.eq(jump + d.y_stride - width),
            step.eq(Mux(short, 1, c.taps)), back.eq(Mux(short, 1, c.taps) - d.kernel_w),
            end.eq(self.ix0 + d.kernel_w - step),
        ]

        with m.If(short):
            m.d.sync += self.offsets[final].eq(d.y_stride)
        left = Signal(12, reset_less=True)  # taps of the pass that have not been fetched
        with m.If(self.advance):
            m.d.sync += [left.eq(left - c.taps), self.last.eq(left <= 2 * c.taps)]
        with m.If(self.begin):
            m.d.sync += [left.eq(d.slice_words), self.last.eq(d.slice_words <= c.taps)]
        reads = []
        for i in range(c.taps):
            ix, iy = (Signal(signed(14), name=f"{name}{i}", reset_less=True) for name in ("ix", "iy"))
            at, over = Signal.like(jump, name=f"at{i}"), Signal(name=f"over{i}")
            m.d.comb += over.eq(ix >= end)
            moves = [(ix, back, step), (at, jump_back, jump)]
            with m.If(self.advance):  # a sum takes as long as to know which one
                m.d.sync += iy.eq(iy + (step == 1) + over)
                m.d.sync += [x.eq(Mux(over, x + far, x + on) if c.far else x + Mux(over, far, on)) for x, far, on in moves]
            with m.If(self.begin):
                wraps = (step == 1) & (i == final)
                m.d.sync += [ix.eq(self.ix0 + Mux(wraps, 0, i)), iy.eq(self.iy0 + wraps), at.eq(self.at[i])]
            live, inside = Signal(name=f"live{i}"), Signal(name=f"inside{i}")
            m.d.comb += [live.eq(left > i), inside.eq((iy.as_unsigned() < d.in_h) & (ix.as_unsigned() < d.in_w))]
            reads.append((live, inside, at))
        for memory, place in enumerate(self.places):
            mine = [live & (at[:low] == memory) for live, _, at in reads]
            m.d.comb += [
                place.inside.eq(reduce(or_, (own & inside for own, (_, inside, _) in zip(mine, reads, strict=True)))),
                place.nth.eq(reduce(or_, (Mux(own, i, 0) for i, own in enumerate(mine)))),
                place.addr.eq(reduce(or_, (Mux(own, at >> low, 0) for own, (_, _, at) in zip(mine, reads, strict=True)))),
            ]
        return m

    @staticmethod
    def model(config: Config, d: Mapping[str, int]) -> list[range]:
        """Twin: the taps of each fetch of a pass, by number; one a fetch where they cannot be read together."""
        count = d["kernel_h"] * d["kernel_w"]
        return [range(n, min(n + taps_at_once(d, config), count)) for n in range(0, count, taps_at_once(d, config))]
