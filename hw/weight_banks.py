"""Weight memory, split in one bank per issue slot."""

from __future__ import annotations

from amaranth.hdl import Cat, Module, Signal
from amaranth.lib import data, wiring
from amaranth.lib.memory import Memory
from amaranth.lib.wiring import In, Out, Signature

from golden.spec.config import Config, clog2
from hw.bus import WeightWrite
from hw.near import near


class WeightRead(Signature):
    """One core's read ports, one per bank, as seen by the core; rows come one cycle after ``en``, and stay while it stands
    ``still`` (``en`` is low then).

    ``taken``: the bank is being written through this port; what ``en`` asks for in this cycle is not read.
    """

    def __init__(self, config: Config) -> None:
        super().__init__({
            "en": Out(config.issue), "still": Out(config.issue),
            "row": Out(data.ArrayLayout(clog2(config.weight_rows), config.issue)),
            "data": In(data.ArrayLayout(config.row_bits, config.issue)),
            "taken": In(config.issue),
        })


class WeightBanks(wiring.Component):
    """``issue`` banks of weight rows, read by every core at once.

    A memory has two ports. So each two cores share a copy of a bank, and the first one's port is also the one that
    writes: a row waits for a cycle in which that core does not read, at the longest until the next row comes.
    With a port of its own for writing, synthesis would need a copy for each core. One core alone leaves the other port to who
    writes, and no row waits.

    Ports
    -----
    write : WeightWrite, in
    read0 ... : WeightRead, in
        One per core; reads take one cycle.
    """

    def __init__(self, config: Config) -> None:
        self.config = config
        super().__init__({
            "write": In(WeightWrite(config)),
            "read": In(WeightRead(config)).array(config.cores),
        })

    def elaborate(self, platform: object) -> Module:
        m = Module()
        c = self.config
        if c.cores == 1:
            for slot in range(c.issue):
                mine = self.write.en & (self.write.every | (self.write.bank == slot))
                user, bits = self.read[0], c.ham_lanes * c.w_bits
                for i, part in enumerate(self.write.parts):  # one memory for each part needs no enables of parts
                    m.submodules[f"bank{slot}_part{i}"] = bank = Memory(shape=bits, depth=c.weight_rows, init=[])
                    write, read = bank.write_port(), bank.read_port()
                    m.d.comb += [
                        write.addr.eq(self.write.row), write.data.eq(self.write.data.word_select(i, bits)),
                        write.en.eq(part & mine), read.addr.eq(user.row[slot]), read.en.eq(user.en[slot]),
                        user.data[slot].word_select(i, bits).eq(read.data),
                    ]
            return m
        en, every, number, row, word = (getattr(self.write, name) for name in ("en", "every", "bank", "row", "data"))
        if c.far:  # a register on the way
            before = en, every, number, row, word
            en = Signal(name="arrives")
            every, number, row, word = (Signal.like(x, name=f"{x.name}_arrives", reset_less=True) for x in before[1:])
            m.d.sync += Cat(en, every, number, row, word).eq(Cat(before))
        next_row, next_word = (Signal.like(x, reset_less=True) for x in (row, word))
        pairs, comes = range(0, c.cores, 2), Signal()  # of cores; what they write waits near each of them
        rows = [Signal.like(next_row, name=f"row_near{first}") for first in pairs]
        words = [Signal.like(next_word, name=f"word_near{first}") for first in pairs]
        m.d.sync += [next_row.eq(row), next_word.eq(word), comes.eq(en)]
        with m.If(comes):
            m.d.sync += [*(x.eq(next_row) for x in rows), *(x.eq(next_word) for x in words)]
        for slot in range(c.issue):
            mine = Signal(name=f"mine{slot}")
            m.d.sync += mine.eq(en & (every | (number == slot)))
            for first, row, word in zip(pairs, rows, words, strict=True):
                m.submodules[f"bank{slot}_{first}"] = bank = Memory(shape=c.row_bits, depth=c.weight_rows, init=[])
                write, reads = bank.write_port(), [bank.read_port() for _ in range(2)]
                # What nobody wants is read, too, and not looked at: whether a core wants is known late, and far away.
                for user, read in zip(self.read[first:first + 2], reads, strict=True):
                    m.d.comb += [read.addr.eq(user.row[slot]), read.en.eq(~user.still[slot] & ~user.taken[slot]),
                                 user.data[slot].eq(read.data)]
                # That a row is written is known a cycle ahead: the first core does not read just then, or the next row comes.
                waiting, next_waiting, owner = Signal(name=f"waiting{slot}_{first}"), Signal(), self.read[first]
                now, next_now = Signal(name=f"now{slot}_{first}"), Signal()
                m.d.comb += next_waiting.eq(mine | (waiting & ~now))
                m.d.comb += next_now.eq(next_waiting & (en | ~owner.en[slot]))
                m.d.sync += [waiting.eq(next_waiting), now.eq(next_now)]
                m.d.comb += [
                    owner.taken[slot].eq(near(m, next_now, 1, f"taken{slot}_{first}")[0]),
                    write.en.eq(now), write.data.eq(word), write.addr.eq(reads[0].addr),
                ]
                with m.If(now):
                    m.d.comb += reads[0].addr.eq(row)
        return m
