"""The fetch walker: visits every input word of a LINEAR descriptor and fills the cores' queues."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from functools import reduce
from itertools import product
from operator import or_

from amaranth.hdl import Cat, Const, Module, Mux, Signal, Value, signed, unsigned
from amaranth.lib import data, stream, wiring
from amaranth.lib.wiring import In, Out

from golden.spec.config import Config, clog2
from golden.spec.descriptor import field_bits
from hw.bus import SpikeRead, descriptor_layout, is_last, lasts
from hw.near import near
from hw.taps import Taps


def entry_layout(config: Config) -> data.StructLayout:
    """One queue entry: the set bits of one slot's share of a word, and what follows it.

    ``row``: weight row of bit 0 (broadcast) or of the tap (lanewise). ``bits``: bit i selects row ``row + i``
    (broadcast; those beyond a share say nothing) or gates lane i (lanewise). ``top``: the weight slice is the signed one.
    ``last``: the sums are handed over; what they add to is then shifted left by ``shift``, or, with ``end``, complete.
    """
    return data.StructLayout({
        "row": clog2(config.weight_rows), "bits": max(config.rows_per_word, config.lanes),
        "top": 1, "last": 1, "shift": 3, "end": 1,
    })


def has_bits(config: Config, entry: data.View, lanewise: Value) -> Value:
    """Whether an entry has a row to add."""
    return entry.bits[:config.rows_per_word].any() | (lanewise & entry.bits[config.rows_per_word:].any())


class Walker(wiring.Component):
    """Runs the loops of a LINEAR descriptor (docs/architecture.md) and queues the non-zero shares of each word.

    All cores work on the same position, lane group, pass and tap, each in its own time step, so one walker serves them
    all: it reads the same address of every bank and hands each core its own word. It fetches one word per core and
    cycle, and takes one more cycle at the end of each pass and of each position (more where the passes are so short that the
    search for the next one takes longer). Broadcast, tap n gives bit b of a word to slot (b + n) mod issue, so that a channel
    that is busy in a whole neighbourhood burdens no one slot. Lanewise, memory i of a spike bank feeds slot i, whichever tap it
    reads, and ``taps`` taps are fetched at once where they lie in different memories (see `Taps`). A share without a set bit is
    not queued, except where sums are handed over: at the end of a pass, and within it after each ``pass_words`` fetches (256
    where that is 0). The walker looks at no entry's ``ready``: it pauses while ``room`` is low, and after that fewer than
    `in_flight` more entries follow.

    Ports
    -----
    start : Signal(), in
        Begin; the descriptor must be stable from then on.
    descriptor : Signal(descriptor_layout()), in
    room : Signal(), in
        Every queue has room for `in_flight` entries.
    read : SpikeRead, out
    entries : Array of Array of stream of entry_layout, out
        By core and slot.
    blocked : Signal(), out
        The walker waits for room.
    fetched : Signal(), out
        The walker moved on by one word.
    walking : Signal(), out
        It is not done.
    """

    def __init__(self, config: Config) -> None:
        self.config = config
        super().__init__({
            "start": In(1),
            "descriptor": In(descriptor_layout()),
            "room": In(1),
            "read": Out(SpikeRead(config)),
            "entries": Out(stream.Signature(entry_layout(config), always_ready=True)).array(config.cores, config.issue),
            "blocked": Out(1),
            "fetched": Out(1),
            "walking": Out(1),
        })

    @staticmethod
    def in_flight(config: Config) -> int:
        """Cycles from the fetch of a word until its entries have come."""
        return 4 + config.far

    def elaborate(self, platform: object) -> Module:
        m = Module()
        c = self.config
        d = self.descriptor
        addr_bits = clog2(c.spike_words)
        row_bits = clog2(c.weight_rows)
        sub_groups = clog2(c.word // c.lanes)

        ends = lasts(m, c, d, ("steps", "kernel_h", "kernel_w", "words"))
        only = {name: Signal(name=f"only_{name}") for name in ("kernel_h", "kernel_w", "words")}
        m.d.sync += [signal.eq(d[name] == 1) for name, signal in only.items()]

        # Loop counters, outer to inner, and the bank address each level starts from; at rest they are where a descriptor begins.
        oy, ox, group, step, ky, kx, word = (
            Signal(field_bits(field, c), name=name, reset_less=True) for name, field in (
                ("oy", "out_h"), ("ox", "out_w"), ("group", "groups"), ("step", "steps"), ("ky", "kernel_h"), ("kx", "kernel_w"),
                ("word", "words")))
        place = signed(field_bits("in_h", c) + 2)
        iy0, iy, ix0, ix = (Signal(place, name=name, reset_less=True) for name in ("iy0", "iy", "ix0", "ix"))
        m.d.comb += [iy.eq(iy0 + ky), ix.eq(ix0 + kx)]
        at_oy, at_ox, at_step, at_ky, at_kx, addr = (
            Signal(addr_bits, name=name, reset_less=True) for name in ("at_oy", "at_ox", "at_step", "at_ky", "at_kx", "addr"))
        group_row, slice_row, row = (  # lanewise rows, broadcast words
            Signal(row_bits, name=name, reset_less=True) for name in ("group_row", "slice_row", "row"))
        last_oy, last_ox, last_group = (
            is_last(m, c, d, name, x) for name, x in (("out_h", oy), ("out_w", ox), ("groups", group)))
        turn = Signal(clog2(c.issue), reset_less=True)  # by so many slots are the shares of a tap rotated
        fetches = Signal(8, reset_less=True)  # since sums were handed over

        # The passes of a result, found one candidate (exponent, slice) a cycle while the pass before them runs.
        next_exponent, next_shift = Signal(6), Signal(3)
        slice_, next_slice = Signal(2, reset_less=True), Signal(2)
        top_exponent = Signal(6)
        found = Signal()
        plane = Signal(6)
        m.d.comb += [top_exponent.eq(((d.slices - 1) << 2) + d.planes - 1), plane.eq(next_exponent - (next_slice << 2))]
        candidate = Signal()
        m.d.comb += candidate.eq(((next_slice << 2) <= next_exponent) & (plane < d.planes))
        next_plane_offset, next_slice_offset = Signal(addr_bits), Signal(row_bits)
        plane_offset = sum(Mux(plane[i], d.plane_stride << i, 0) for i in range(3))  # there are 8 planes at most
        several = Signal()  # taps are fetched together
        if c.taps > 1:
            m.submodules.taps = taps = Taps(c)
            next_offsets = Signal(taps.offsets.shape())
            m.d.comb += [taps.descriptor.eq(d), taps.ix0.eq(ix0), taps.iy0.eq(iy0), several.eq(taps.several)]
        with m.If(~found):
            with m.If(candidate):
                m.d.sync += [
                    found.eq(1),
                    next_plane_offset.eq(plane_offset),
                    next_slice_offset.eq(sum(Mux(next_slice[i], d.slice_words << i, 0) for i in range(2))),
                ]
                if c.taps > 1:
                    m.d.sync += [mine.eq(offset + plane_offset) for mine, offset in zip(next_offsets, taps.offsets, strict=True)]
            with m.Elif(next_slice == (d.slices - 1)[:2]):
                m.d.sync += [next_slice.eq(0), next_exponent.eq(next_exponent - 1), next_shift.eq(next_shift + 1)]
            with m.Else():
                m.d.sync += next_slice.eq(next_slice + 1)

        def search(exponent: object, slice_: object, shift: object) -> list:
            return [found.eq(0), next_exponent.eq(exponent), next_slice.eq(slice_), next_shift.eq(shift)]

        search_first = search(top_exponent, d.slices - 1, 0)

        # Stage 0: the innermost loops.
        issue, under_way = Signal(), Signal()  # one word is fetched in this cycle; one is on its way
        last_word, last_kx, last_ky = (  # registers, made together with the counters
            Signal(name=name, reset_less=True) for name in ("last_word", "last_kx", "last_ky"))
        first_word, final_pass = Signal(), Signal(reset_less=True)
        m.d.comb += first_word.eq(word == 0)
        last, hand_over = Signal(), Signal()
        alone = last_word & last_kx & last_ky
        m.d.comb += [
            last.eq(Mux(several, taps.last, alone) if c.taps > 1 else alone),
            hand_over.eq(last | is_last(m, c, d, "pass_words", fetches)),
        ]
        lane_group = Signal(8)
        group_words = Signal(8)  # lanewise: the word of the lane group
        m.d.comb += [lane_group.eq(d.first_group + group), group_words.eq(Mux(d.lanewise, lane_group >> sub_groups, 0))]

        if c.taps > 1:
            m.d.comb += [at.eq(at_step + offset + group_words) for at, offset in zip(taps.at, next_offsets, strict=True)]

        def begin_pass(base: object, start_row: object) -> list:
            """Point the inner loops at the first tap of the pass that was found."""
            at, at_row = Signal(addr_bits), Signal(row_bits)
            if c.taps > 1:
                m.d.comb += taps.begin.eq(1)
            m.d.comb += [at.eq(base + next_plane_offset + group_words), at_row.eq(start_row + next_slice_offset)]
            return [
                final_pass.eq(next_exponent == 0), slice_.eq(next_slice),
                ky.eq(0), kx.eq(0), word.eq(0), turn.eq(0), fetches.eq(0),
                last_ky.eq(only["kernel_h"]), last_kx.eq(only["kernel_w"]), last_word.eq(only["words"]),
                at_ky.eq(at), at_kx.eq(at), addr.eq(at), slice_row.eq(at_row), row.eq(at_row),
            ]

        m.d.comb += self.walking.eq(1)
        with m.FSM():
            with m.State("IDLE"):
                m.d.comb += self.walking.eq(0)
                m.d.sync += [
                    oy.eq(0), ox.eq(0), group.eq(0), step.eq(0), iy0.eq(-d.padding_y), ix0.eq(-d.padding),
                    at_oy.eq(d.origin), at_ox.eq(d.origin), at_step.eq(d.origin), group_row.eq(0),
                ]
                m.d.sync += search_first
                with m.If(self.start):
                    m.next = "PASS"
            with m.State("PASS"):
                with m.If(found):
                    m.d.sync += begin_pass(at_step, group_row)
                    # at exponent 0 there is one pass only, the last; then comes the first pass of the next result
                    m.d.sync += search_first
                    with m.If(next_exponent != 0):
                        with m.If(d.planes == 1):
                            m.d.sync += search(next_exponent - 4, next_slice - 1, 4)
                        with m.Elif(next_slice == (d.slices - 1)[:2]):
                            m.d.sync += search(next_exponent - 1, 0, 1)
                        with m.Else():
                            m.d.sync += search(next_exponent, next_slice + 1, 0)
                    m.next = "WALK"
            with m.State("WALK"):
                m.d.comb += [
                    self.blocked.eq(~self.room),
                    # else the last word says the shift
                    issue.eq(self.room & ~under_way & (~last | found | final_pass)),
                    self.fetched.eq(issue),
                ]
                if c.taps > 1:
                    m.d.comb += taps.advance.eq(issue)
                with m.If(issue):
                    m.d.sync += [word.eq(word + 1), last_word.eq(word + 1 == ends["words"]), addr.eq(addr + 1),
                                 row.eq(row + Mux(several, c.taps, 1)), fetches.eq(Mux(hand_over, 0, fetches + 1))]
                    with m.If(last_word):
                        m.d.sync += [word.eq(0), last_word.eq(only["words"]), kx.eq(kx + 1),
                                     last_kx.eq(kx + 1 == ends["kernel_w"]), at_kx.eq(at_kx + d.x_stride),
                                     addr.eq(at_kx + d.x_stride)]
                        with m.If(d.shared_taps):
                            m.d.sync += row.eq(slice_row)
                        with m.Else():
                            m.d.sync += turn.eq(turn + 1)
                        with m.If(last_kx):
                            m.d.sync += [
                                kx.eq(0), last_kx.eq(only["kernel_w"]), ky.eq(ky + 1),
                                last_ky.eq(ky + 1 == ends["kernel_h"]), at_ky.eq(at_ky + d.y_stride),
                                at_kx.eq(at_ky + d.y_stride), addr.eq(at_ky + d.y_stride),
                            ]
                    with m.If(last):
                        m.next = "PASS"
                        with m.If(final_pass):
                            m.d.sync += [step.eq(step + 1), at_step.eq(at_step + d.step_stride)]
                            with m.If(step == ends["steps"]):
                                m.d.sync += [step.eq(0), at_step.eq(at_ox), group.eq(group + 1)]
                                m.d.sync += group_row.eq(
                                    group_row + sum(Mux(d.slices[i], d.slice_words << i, 0) for i in range(3)))
                                with m.If(last_group):
                                    m.next = "POSITION"
            with m.State("POSITION"):
                m.d.sync += [group.eq(0), group_row.eq(0), ox.eq(ox + 1), ix0.eq(ix0 + d.stride),
                             at_ox.eq(at_ox + d.ox_stride), at_step.eq(at_ox + d.ox_stride)]
                m.next = "PASS"
                with m.If(last_ox):
                    m.d.sync += [
                        ox.eq(0), ix0.eq(-d.padding), oy.eq(oy + 1), iy0.eq(iy0 + d.stride), at_oy.eq(at_oy + d.oy_stride),
                        at_ox.eq(at_oy + d.oy_stride), at_step.eq(at_oy + d.oy_stride),
                    ]
                    with m.If(last_oy):
                        m.next = "IDLE"

        # Stage 1: the addresses are at the banks. In a lean machine a fetch is through before the next one begins, so that what
        # belongs to it stays where it is.
        low = clog2(c.taps)
        tag = data.StructLayout({
            "valid": 1, "inside": c.taps, "nth": data.ArrayLayout(unsigned(low), c.taps), "row": row_bits, "first_word": 1,
            "last_word": 1, "sub": max(sub_groups, 1), "turn": clog2(c.issue), "top": 1, "last": 1, "shift": 3, "end": 1,
        })
        tag1, tag2, tag3 = (Signal(tag, name=f"tag{i}") for i in range(1, 4))
        m.d.sync += tag1.valid.eq(issue)
        with m.If(issue if c.lean else Const(1)):
            m.d.sync += [
                tag1.row.eq(row), tag1.first_word.eq(first_word), tag1.last_word.eq(last_word), tag1.sub.eq(lane_group),
                tag1.turn.eq(turn), tag1.top.eq(slice_ == (d.slices - 1)[:2]), tag1.last.eq(hand_over),
                tag1.shift.eq(Mux(last & ~final_pass, next_shift, 0)), tag1.end.eq(last & final_pass),
            ]
        for early, late in ((tag1, tag2), (tag2, tag3)):
            if c.lean:
                valid = Signal()
                m.d.sync += valid.eq(early.valid)
                m.d.comb += [late.eq(early), late.valid.eq(valid)]
            else:
                m.d.sync += late.eq(early)
        m.d.comb += under_way.eq((tag1.valid | tag2.valid) & c.lean)
        tags = [tag3] * c.cores  # each for what lies near it
        if c.far:
            tags = [Signal(tag, name=f"tag_near{core}", reset_less=True) for core in range(c.cores)]
            m.d.sync += [mine.eq(tag2) for mine in tags]
        inside = Signal()
        m.d.comb += [
            inside.eq((iy.as_unsigned() < d.in_h[:len(iy)]) & (ix.as_unsigned() < d.in_w[:len(ix)])),
            self.read.en.eq(tag1.valid),
        ]
        for i, read_addr in enumerate(self.read.addr):
            with m.If(issue if c.lean else Const(1)):
                m.d.sync += [read_addr.eq(addr >> low), tag1.inside[i].eq(inside & (addr[:low] == i))]
            if c.taps > 1:
                with m.If(several):
                    m.d.sync += [read_addr.eq(taps.places[i].addr), tag1.inside[i].eq(taps.places[i].inside)]
                m.d.sync += tag1.nth[i].eq(Mux(several, taps.places[i].nth, 0))

        # Stage 2: the words are there; memory is slow, so they only go to registers: 0 where none was read.
        rows = clog2(c.rows_per_word)
        base_row = Signal(row_bits, reset_less=True)
        m.d.sync += base_row.eq(d.weight_base + Mux(d.lanewise, tag1.row, (tag1.row << rows)[:row_bits]))
        fetched_words = Signal.like(self.read.data, reset_less=True)
        for i, words in enumerate(fetched_words):
            m.d.sync += words.eq(self.read.data[i])
            with m.If(~tag2.inside[i]):
                m.d.sync += words.eq(0)

        # Stage 3: the entries; where all is far it takes one more stage to know which there are.
        entry_rows = Signal(data.ArrayLayout(row_bits, c.taps), reset_less=True)
        m.d.sync += [row.eq(base_row + nth) for row, nth in zip(entry_rows, tag2.nth, strict=True)]
        keep = Signal(c.word, reset_less=True)
        ones = Const((1 << c.word) - 1, c.word)
        m.d.sync += keep.eq(Mux(tag2.first_word, (ones << d.mask_low)[:c.word], ones)
                            & Mux(tag2.last_word, ones >> (c.word - 1 - d.mask_high)[:clog2(c.word)], ones))
        for core in range(c.cores):
            words, own = [fetched_words[i][core] for i in range(c.taps)], tags[core]
            lanewise = near(m, d.lanewise, 1, f"lanewise{core}")[0] if c.far else d.lanewise
            gates = [x.word_select(own.sub[:sub_groups], c.lanes) if sub_groups else x for x in words]
            kept = Signal(c.word, name=f"kept{core}")
            m.d.comb += kept.eq(reduce(or_, words) & keep)
            shares = [Cat(kept[b] for b in range(i, c.word, c.issue)) for i in range(c.issue)]
            for i in range(c.issue):
                entry = self.entries[core][i]
                bits = Signal(entry.p.bits.shape(), name=f"bits{core}_{i}")
                m.d.comb += bits.eq(gates[i] if i < c.taps else 0)
                with m.If(~lanewise):
                    with m.Switch(own.turn):
                        for turned in range(c.issue):
                            with m.Case(turned):
                                m.d.comb += bits[:c.rows_per_word].eq(shares[(i - turned) % c.issue])
                made = Signal(entry_layout(c), name=f"made{core}_{i}", reset_less=True)
                domain = m.d.sync if c.far else m.d.comb
                domain += [
                    made.row.eq(entry_rows[i if i < c.taps else 0]), made.bits.eq(bits), made.top.eq(own.top),
                    made.last.eq(own.last), made.shift.eq(own.shift), made.end.eq(own.end),
                ]
                m.d.comb += entry.p.eq(made)
                if c.far:  # lanes are many, and far from each other: whether there are any is known in the stage before
                    valid, gating = Signal(name=f"valid{core}_{i}"), Signal(name=f"gating{core}_{i}", reset_less=True)
                    m.d.sync += [valid.eq(own.valid), gating.eq(lanewise & bits[c.rows_per_word:].any())]
                    m.d.comb += entry.valid.eq(valid & (made.last | made.bits[:c.rows_per_word].any() | gating))
                else:
                    m.d.comb += entry.valid.eq(own.valid & (own.last | has_bits(c, made, lanewise)))
        return m

    @staticmethod
    def model(config: Config, d: Mapping[str, int], banks: Sequence[Sequence[int]]) -> list[list[list[dict[str, int]]]]:
        """Twin: every entry by core and slot, in order, from a descriptor's fields and the spike banks by core."""
        c, ones = config, (1 << config.word) - 1
        entries: list[list[list[dict[str, int]]]] = [[[] for _ in range(c.issue)] for _ in range(c.cores)]
        passes = [(e, s) for e in range(4 * (d["slices"] - 1) + d["planes"] - 1, -1, -1)
                  for s in range(d["slices"]) if 0 <= e - 4 * s < d["planes"]]
        fetches = [(taps, word) for taps in Taps.model(c, d) for word in range(d["words"])]
        loops = product(range(d["out_h"]), range(d["out_w"]), range(d["groups"]), range(d["steps"]), range(len(passes)),
                        range(len(fetches)))
        for oy, ox, group, step, number, fetch in loops:
            (exponent, slice_), (taps, word) = passes[number], fetches[fetch]
            lane_group = d["first_group"] + group
            start = (d["origin"] + oy * d["oy_stride"] + ox * d["ox_stride"] + step * d["step_stride"]
                     + (exponent - 4 * slice_) * d["plane_stride"] + word)
            if d["lanewise"]:
                start += lane_group * c.lanes // c.word
            first_row = (group * d["slices"] + slice_) * d["slice_words"]
            last = fetch == len(fetches) - 1
            hand_over = last or fetch % (d["pass_words"] or 256) == (d["pass_words"] or 256) - 1
            end = last and number == len(passes) - 1
            follow = {"top": int(slice_ == d["slices"] - 1), "last": int(hand_over), "end": int(end),
                      "shift": exponent - passes[number + 1][0] if last and not end else 0}
            mask = ones if word else ones << d["mask_low"] & ones
            if word == d["words"] - 1:
                mask &= ones >> (c.word - 1 - d["mask_high"])
            for bank, slots in zip(banks, entries, strict=True):
                shares = [0] * c.issue
                found = [0] * c.issue
                for tap in taps:
                    ky, kx = divmod(tap, d["kernel_w"])
                    iy, ix = oy * d["stride"] - d["padding_y"] + ky, ox * d["stride"] - d["padding"] + kx
                    addr = start + ky * d["y_stride"] + kx * d["x_stride"]
                    bits = bank[addr] if 0 <= iy < d["in_h"] and 0 <= ix < d["in_w"] else 0
                    row = first_row + (0 if d["shared_taps"] else tap * d["words"]) + word
                    if d["lanewise"]:
                        shares[addr % c.taps] = bits >> (lane_group * c.lanes % c.word) & ((1 << c.lanes) - 1)
                        found[addr % c.taps] = d["weight_base"] + row
                        continue
                    for slot in range(c.issue):
                        first = (slot - (0 if d["shared_taps"] else tap)) % c.issue
                        shares[slot] = sum(((bits & mask) >> b & 1) << i for i, b in enumerate(range(first, c.word, c.issue)))
                        found[slot] = d["weight_base"] + row * c.rows_per_word
                for queue, share, row in zip(slots, shares, found, strict=True):
                    if share or hand_over:
                        queue.append({**follow, "row": row if share else 0, "bits": share})
        return entries
