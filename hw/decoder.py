"""One issue slot's decoder: from queue entries to one weight row a cycle."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import NamedTuple

from amaranth.hdl import Cat, Const, Module, Mux, Signal, Value
from amaranth.lib import data, stream, wiring
from amaranth.lib.wiring import In, Out

from golden.spec.config import Config, clog2
from hw.walker import entry_layout, has_bits


class Pass(NamedTuple):
    """What a slot does up to a barrier (twins only): its rows as (row, gate, top), and what follows."""

    rows: list[tuple[int, int, int]]
    shift: int
    end: bool


class _Count(NamedTuple):
    """Whether a word has at least one, two, three bits set, and the number of the lowest."""

    one: Value
    two: Value
    three: Value
    lowest: Value


def _count(word: Value) -> _Count:
    """A tree, which is as fast as a carry chain and gives all of it."""
    if len(word) == 1:
        return _Count(word, Const(0, 1), Const(0, 1), Const(0, 0))
    half = len(word) // 2
    low, high = _count(word[:half]), _count(word[half:])
    return _Count(
        low.one | high.one, low.two | high.two | (low.one & high.one),
        low.three | high.three | (low.two & high.one) | (low.one & high.two),
        Cat(Mux(low.one, low.lowest, high.lowest), ~low.one),
    )


def opened_layout(config: Config) -> data.StructLayout:
    """An entry with what its decoder wants to know at once: whether it has a row to add (``some``), no second one (``single``).

    Where all is ``far`` (broadcast), ``row`` is that of the lowest bit, and ``bits`` are those above it.
    """
    return data.StructLayout({"entry": entry_layout(config), "some": 1, "single": 1})


def open_entry(m: Module, config: Config, entry: data.View, lanewise: Value, name: str) -> Signal:
    """An entry in `opened_layout`."""
    opened = Signal(opened_layout(config), name=name)
    rows = entry.bits[:config.rows_per_word]
    count = _count(rows)
    m.d.comb += [
        opened.entry.eq(entry), opened.some.eq(has_bits(config, entry, lanewise)), opened.single.eq(lanewise | ~count.two),
    ]
    if config.far:
        with m.If(~lanewise):
            m.d.comb += [opened.entry.row.eq(entry.row | count.lowest), opened.entry.bits[:len(rows)].eq(rows & (rows - 1))]
    return opened


class Decoder(wiring.Component):
    """Emits the row of the lowest set bit of an entry each cycle (broadcast), or the entry's one row (lanewise).

    The outputs are combinational from registers, in the cycle in which the row is to be read; where all is ``far`` the row is
    a register. An entry that was loaded in one cycle emits from the next on; entries follow each other without a gap. An
    entry marked ``last`` stays until ``release``.

    Ports
    -----
    lanewise : Signal(), in
    entries : stream of opened_layout, in
    hold : Signal(), in
        Emit nothing in this cycle.
    release : Signal(), in
        The barrier is open: drop the ``last`` entry. Only in a cycle in which ``barrier`` is high.
    wants : Signal(), out
        There is a row to add.
    emit : Signal(), out
        ``row``, ``gate`` and ``top`` are a row to add.
    row : Signal(), out
    gate : Signal(lanes), out
        Lanes that add, if lanewise; else all do.
    top : Signal(), out
        The row's weights are signed.
    barrier : Signal(), out
        This cycle's row is the last of the pass, or there is none left.
    shift, end : Signal(), out
        What the ``last`` entry says, valid with ``barrier``.
    full : Signal(), out
        There is an entry.
    """

    def __init__(self, config: Config) -> None:
        self.config = config
        super().__init__({
            "lanewise": In(1), "entries": In(stream.Signature(opened_layout(config))), "hold": In(1), "release": In(1),
            "wants": Out(1), "emit": Out(1), "row": Out(clog2(config.weight_rows)), "gate": Out(config.lanes), "top": Out(1),
            "barrier": Out(1), "shift": Out(3), "end": Out(1), "full": Out(1),
        })

    def elaborate(self, platform: object) -> Module:
        m = Module()
        c = self.config
        entry = Signal(entry_layout(c))
        comes = self.entries.payload

        # Broadcast looks at one bit a row; the bits of an entry that lie above these gate lanes only. Whether there are bits,
        # and whether this cycle's row is the last one, is known from registers: the barrier of all slots needs it early.
        rows = entry.bits[:c.rows_per_word]
        passing, closing = Signal(), Signal()  # it is; then comes the next entry, or the barrier
        left = _count(rows)
        more = left.two if c.far else left.three  # one more follows this cycle's row and the next one
        m.d.comb += [
            self.emit.eq(self.wants & ~self.hold), self.barrier.eq(closing & ~self.hold), self.top.eq(entry.top),
            self.row.eq(entry.row | (0 if c.far else Mux(self.lanewise, 0, left.lowest))),
            self.gate.eq(entry.bits), self.shift.eq(entry.shift), self.end.eq(entry.end),
            self.entries.ready.eq(~self.full | (passing & ~self.hold) | self.release),
        ]
        with m.If(self.emit):
            m.d.sync += [
                rows.eq(rows & (rows - 1)), self.wants.eq(~closing), passing.eq(~more & ~entry.last),
                closing.eq(closing | (~more & entry.last)),
            ]
            if c.far:
                m.d.sync += entry.row[:clog2(len(rows))].eq(left.lowest)
        with m.If(self.entries.ready):
            m.d.sync += [
                self.full.eq(self.entries.valid), entry.eq(comes.entry), self.wants.eq(self.entries.valid & comes.some),
                passing.eq(self.entries.valid & comes.single & ~comes.entry.last),
                closing.eq(self.entries.valid & comes.single & comes.entry.last),
            ]
        return m

    @staticmethod
    def model(config: Config, entries: Sequence[Mapping[str, int]], lanewise: bool) -> list[Pass]:
        """Twin: the rows of each pass, in order, from a slot's entries."""
        passes, rows = [], []
        for entry in entries:
            if lanewise:
                rows += [(entry["row"], entry["bits"], entry["top"])] if entry["bits"] else []
            else:
                set_bits = (i for i in range(config.rows_per_word) if entry["bits"] >> i & 1)
                rows += [(entry["row"] + i, (1 << config.lanes) - 1, entry["top"]) for i in set_bits]
            if entry["last"]:
                passes.append(Pass(rows, entry["shift"], bool(entry["end"])))
                rows = []
        return passes
