"""Collector: the cores' sums of passes in time order, added up to results."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from functools import reduce
from itertools import product
from operator import or_
from typing import Any, NamedTuple

from amaranth.hdl import Cat, Const, Module, Mux, Signal, Value, ValueLike, signed, unsigned
from amaranth.lib import data, stream, wiring
from amaranth.lib.wiring import In, Out

from golden.spec.config import Config, clog2
from golden.spec.descriptor import field_bits
from hw.bus import descriptor_layout, is_last, lasts
from hw.core import Sums, sum_layout, wrap
from hw.delay_line import DelayLine
from hw.mux_adder import MuxAdder
from hw.near import LANES, near


def place_layout(config: Config) -> data.StructLayout:
    """What a beat is, and where it belongs; without ``valid`` nothing else counts."""
    c = config
    return data.StructLayout({
        "valid": 1,  #: a beat of a complete result
        "first": 1,  #: at t = 0
        "last": 1,  #: at the last time step
        "write": 1,  #: the core takes part
        "idle": 1,  #: the core has no time step in the last round, which this is
        "second": 1,  #: a logit's upper half: the beat before once more
        "final": 1,  #: the descriptor's last
        "core": unsigned(clog2(c.cores)), "beat": unsigned(clog2(c.beats)), "param": unsigned(clog2(c.param_beats)),
        "u": unsigned(clog2(c.u_beats)),  #: beat of the residual tensor at ``u_src``
        "spikes": unsigned(clog2(c.spike_words)), "part": unsigned(clog2(c.word // c.neuron_lanes)),
    })


_BEFORE = data.StructLayout({"keep": 1, "one": 1, "four": 1})  #: what h becomes before a round: else 0; shifted by 1; by 4


class _Taken(NamedTuple):
    """What is taken in a cycle: a beat of a result; its last one; that of the last core in the last step; and which it is."""

    taken: Value
    result: Value
    made: Value
    first: Value
    last: Value
    idle: Value
    core: Value
    beat: Value
    second: Value


def _later(m: Module, value: ValueLike, name: str, lean: bool = False) -> Signal:
    """What ``value`` was a cycle before; in a lean machine is."""
    value = Value.cast(value)
    late = Signal(len(value), name=f"late_{name}")
    if lean:
        m.d.comb += late.eq(value)
    else:
        m.d.sync += late.eq(value)
    return late


class Collector(wiring.Component):
    """Takes the cores in turn for each pass, (step, pass, core), ``neuron_lanes`` channels a cycle, and adds up results.

    h = h + the pass's sums, then h <<= ``shift``, until ``end``. The h of each core and beat wait in a line as
    long as a round of all cores, for rounds are strictly in order: no addresses, no multiplexers. A shift happens when h
    is next read: by 0, 1 and 4 at no cost; by 2 and 3 a round of zeros, shifted by 1, goes first for each further bit.
    The sums whose turn it is are gated into registers, two into each, which a table of four inputs does; the next stage takes the
    OR of the registers: half a multiplexer.

    ``accs`` come two cycles behind ``place``, and that two behind the decision to take them, of a lean machine one: the decision
    comes late in its cycle, and what follows from it starts from registers. One beat a cycle, except that
    a beat of logits takes two, and that the collector waits where spikes of several planes are still being written into the
    core's bank, or membranes are made by the slow way (see `Lif`).

    Parameters
    ----------
    config : Config
        Sizes.
    recovery : int
        Cycles from a beat to the next one of the same membranes, at least, while ``slow``.
    pause : int
        Cycles from one beat of a result to whatever is taken next, at least; ``place`` stays as it is meanwhile. Only of a lean
        machine, else 0.

    Ports
    -----
    start : Signal(), in
    descriptor : Signal(descriptor_layout()), in
    slow : Signal(), in
    results : Array of stream of sum_layout, in
        One per core. Where all is ``far``, a core is told that its sums are taken in the cycle after the decision, in which they
        are read; else in that of the decision.
    place : Signal(place_layout()), out
    comes : Signal(), out
        A beat will be in ``place`` in the next cycle.
    param : Signal(clog2(param_beats)), out
        That beat's.
    accs : Signal(ArrayLayout(signed(acc_bits), neuron_lanes)), out
        Results; they stay until the next valid beat.
    moved : Signal(), out
        A beat was taken, of whatever pass.
    taken : Signal(), out
        A result was taken.
    starved : Signal(), out
        Waiting for a core.
    """

    def __init__(self, config: Config, recovery: int, pause: int = 0) -> None:
        self.config, self.recovery, self.pause = config, recovery, pause
        super().__init__({
            "start": In(1), "descriptor": In(descriptor_layout()), "slow": In(1),
            "results": In(stream.Signature(sum_layout(config))).array(config.cores),
            "place": Out(place_layout(config)), "comes": Out(1), "param": Out(clog2(config.param_beats)),
            "accs": Out(data.ArrayLayout(signed(config.acc_bits), config.neuron_lanes)),
            "moved": Out(1), "taken": Out(1), "starved": Out(1),
        })

    def elaborate(self, platform: object) -> Module:
        m = Module()
        c, d = self.config, self.descriptor

        # Whose turn it is.
        busy, hold = Signal(), Signal()
        turn = Signal(c.cores * c.beats, init=1)
        core, beat = Signal(range(max(c.cores, 2))), Signal(range(max(c.beats, 2)))
        here, end, shift, silent = Signal(), Signal(), Signal(3), Signal()  # of that core: something to take, if only zeros
        ends, shifts, silents = [end], [shift], [silent]
        if c.far:  # h, which follows the last ones, lies elsewhere
            ends.append(Signal(name="end_near0", reset_less=True))
            shifts.append(Signal(3, name="shift_near0", reset_less=True))
            silents.append(Signal(name="silent_near0"))
        take, over, second, halves = Signal(), Signal(), Signal(), Signal()  # over: of a beat; halves: it is taken twice
        step, at_last, only_step = Signal(field_bits("steps", c)), Signal(), Signal()  # at_last: in the last step
        rounds, next_rounds = Signal(2), Signal(2)  # of zeros, still to come; after one of all cores
        own, part = Signal(c.cores, init=1), Signal(c.beats, init=1)  # whose turn it is, and which beat's
        last_beat, last_core = part[-1], own[-1]
        halving = d.integrate & at_last & last_core  # logits of the last time step take two beats
        if c.far:  # known when this core got its turn
            next_halving, halving = d.integrate & at_last & own[-2], Signal()
        over_core = over & last_beat
        following = Cat(own[-1], own[:-1])
        with m.If(over_core):
            m.d.sync += own.eq(following)
            if c.far:
                m.d.sync += halving.eq(next_halving)

        def look(domain: Any, whose: Value, valid: Sequence[Value], silent: Value, halving: Value) -> None:
            """At what one of the cores has."""

            def chosen(values: Iterable[Value]) -> Value:
                return reduce(or_, (x & mine.replicate(len(x)) for mine, x in zip(whose, values, strict=True)))

            ending = chosen(x.payload.end for x in self.results) & ~silent
            domain += [here.eq(chosen(valid) | silent), halves.eq(halving & ending), *(x.eq(ending) for x in ends),
                       *(x.eq(chosen(y.payload.shift for y in self.results)) for x in shifts)]

        now_taken = own & (over_core & ~silent).replicate(c.cores)
        if not c.far:
            m.d.comb += Cat(x.ready for x in self.results).eq(now_taken)
            look(m.d.comb, own, [x.valid for x in self.results], silent, halving)
        else:  # a cycle ahead; a core hears a cycle late that its sums were taken, while another has its turn
            m.d.sync += Cat(x.ready for x in self.results).eq(now_taken)
            valid = [x.valid & ~x.ready for x in self.results]
            with m.If(over_core):
                look(m.d.sync, following, valid, Mux(last_core, next_rounds != 0, silent), next_halving)
            with m.Else():
                look(m.d.sync, own, valid, silent, halving)
        m.d.comb += [
            take.eq(busy & ~hold & here), over.eq(take & (second | ~halves)),
            self.moved.eq(take), self.taken.eq(over_core & end), self.starved.eq(busy & ~here),
        ]
        with m.If(take):
            m.d.sync += second.eq(halves & ~second)
        next_turn = Signal.like(turn)
        m.d.comb += next_turn.eq(turn)
        m.d.sync += turn.eq(next_turn)
        with m.If(over):
            m.d.comb += next_turn.eq(Cat(turn[-1], turn[:-1]))
            m.d.sync += [beat.eq(beat + 1), part.eq(Cat(part[-1], part[:-1]))]
        with m.If(over_core):
            m.d.sync += [beat.eq(0), core.eq(Mux(last_core, 0, core + 1))]

        # What h becomes before this round: 0, or shifted by 0, 1 or 4.
        before = Signal(_BEFORE)
        m.d.comb += next_rounds.eq(Mux(silent, rounds - 1, Mux(shift[1] & ~end, shift[:2] - 1, 0)))
        if not c.far:
            m.d.comb += silent.eq(rounds != 0)
        with m.If(over_core & last_core):
            m.d.sync += rounds.eq(next_rounds)
            if c.far:
                m.d.sync += [x.eq(next_rounds != 0) for x in silents]
            with m.If(~silents[-1]):
                m.d.sync += [before.keep.eq(~ends[-1]), before.one.eq(shifts[-1][:2] != 0),
                             before.four.eq(shifts[-1][2] & ~ends[-1])]

        made = self.taken & last_core
        last = lasts(m, c, d, ("steps",))["steps"]
        idle = Signal(c.cores)  # which have no time step in the last round; not the first one
        m.d.sync += [only_step.eq(d.steps == 1), idle.eq(Cat(Const(0), *(d.idle >= c.cores - i for i in range(1, c.cores))))]
        with m.If(made):
            m.d.sync += [step.eq(Mux(at_last, 0, step + 1)), at_last.eq(Mux(at_last, only_step, step + 1 == last))]
        with m.If(self.start):
            m.d.sync += [busy.eq(1), at_last.eq(d.steps == 1)]
        now = _Taken(
            taken=take & end, result=self.taken, made=made & at_last, first=(step == 0) & (core == 0), last=at_last & last_core,
            idle=at_last & idle.bit_select(core, 1), core=core, beat=beat, second=second)
        self._walk(m, busy, _Taken(*(_later(m, x, name, c.lean) for name, x in now._asdict().items())))
        if self.pause:
            left = Signal(range(self.pause))
            m.d.comb += hold.eq(left != 0)
            with m.If(take & end):
                m.d.sync += left.eq(self.pause - 1)
            with m.Elif(hold):
                m.d.sync += left.eq(left - 1)
        else:
            self._wait(m, hold, over, end, own, last_beat)
        if c.lean:
            zeros = Mux(over_core & last_core, next_rounds, rounds) != 0
            self._add(m, next_turn & ~zeros.replicate(len(turn)), take & ~second, before)
        else:
            self._add(m, turn & ~silents[-1].replicate(len(turn)), _later(m, take & ~second, "take"),
                      _later(m, before, "before"))
        return m

    def _walk(self, m: Module, busy: Signal, at: _Taken) -> None:
        """Loops over groups and positions, and the place of each beat that is taken; after the last one no longer ``busy``."""
        c, d = self.config, self.descriptor
        group, ox, oy = (
            Signal(field_bits(field, c), name=name) for name, field in (("group", "groups"), ("ox", "out_w"), ("oy", "out_h")))
        u_pos, u_time = Signal(clog2(c.u_beats)), Signal(clog2(c.u_beats))  # of the position; of its time step
        s_pos, s_step = Signal(clog2(c.spike_words)), Signal(clog2(c.spike_words))
        last_group, last_x, last_y = (
            is_last(m, c, d, name, x) for name, x in (("groups", group), ("out_w", ox), ("out_h", oy)))
        if c.far:  # none of them is looked at so soon after a change
            last_group, last_x, last_y = (
                _later(m, x, name) for name, x in (("group", last_group), ("x", last_x), ("y", last_y)))
        next_row = Signal(clog2(c.spike_words))
        m.d.sync += next_row.eq(d.dst_pos_stride + d.dst_row_skip)
        last_core = at.core == c.cores - 1
        s_next, u_next = Signal.like(s_pos), Signal.like(u_pos)
        m.d.comb += [s_next.eq(s_pos + Mux(last_x, next_row, d.dst_pos_stride)), u_next.eq(u_pos + d.u_pos_stride)]
        final = at.made & last_group & last_x & last_y
        with m.If(self.start):
            m.d.sync += [u_pos.eq(d.u_src), u_time.eq(d.u_src), s_pos.eq(d.spike_dst), s_step.eq(d.spike_dst)]
        with m.If(at.result):
            m.d.sync += u_time.eq(u_time + d.u_step)
            with m.If(last_core):
                m.d.sync += s_step.eq(s_step + d.dst_words)
        with m.If(at.made):
            m.d.sync += [group.eq(group + 1), u_time.eq(u_pos), s_step.eq(s_pos)]
            with m.If(last_group):
                m.d.sync += [group.eq(0), ox.eq(ox + 1), u_pos.eq(u_next), u_time.eq(u_next), s_pos.eq(s_next), s_step.eq(s_next)]
                with m.If(last_x):
                    m.d.sync += [ox.eq(0), oy.eq(oy + 1)]
        with m.If(final):
            m.d.sync += [busy.eq(0), oy.eq(0)]

        per_word = clog2(c.word // c.neuron_lanes)
        channel_beat = Signal(8 + clog2(c.beats))  # within the output tensor's channels
        m.d.comb += channel_beat.eq(((d.first_group + group)[:8] << clog2(c.beats)) + at.beat)
        m.d.comb += [self.comes.eq(at.taken), self.param.eq(d.param_base + (group << clog2(c.beats)) + at.beat)]
        m.d.sync += [self.place.valid.eq(at.taken), self.place.final.eq(final)]
        with m.If(at.taken if self.pause else Const(1)):
            m.d.sync += [
                self.place.first.eq(at.first), self.place.last.eq(at.last),
                self.place.write.eq(d.integrate | d.bank_mask.bit_select(at.core, 1) | c.lean), self.place.second.eq(at.second),
                self.place.idle.eq(at.idle), self.place.core.eq(at.core), self.place.beat.eq(at.beat),
                self.place.param.eq(self.param),
                self.place.u.eq(Mux(d.integrate, d.u_src, u_time)
                                + Mux(d.integrate, (channel_beat << 1) + at.second, channel_beat)),
                self.place.spikes.eq(s_step + (channel_beat >> per_word)), self.place.part.eq(channel_beat),
            ]

    def _wait(self, m: Module, hold: Signal, over: Value, end: Value, mine: Value, last_beat: Value) -> None:
        """``hold`` where a beat would find its bank or its membranes still in use; ``over`` and ``end``: a beat of a result was
        made, of the core that ``mine`` names. A register of n ones that shifts out counts n cycles, and its lowest bit says
        whether one is left. Where all is far, ``hold`` is a register: what it becomes in either case is known early.
        """
        c, d = self.config, self.descriptor
        made = over & end
        following = Cat(mine[-1], mine[:-1])
        reasons = []  # to wait
        then, else_ = list[Value](), list[Value]()  # to wait in the next cycle, if ``over`` and if not
        if c.levels_max > 1:  # planes are written one after the other, into each bank for itself
            planes = clog2(c.levels_max + 1)
            further = _later(m, Cat(d.fire & (d.out_planes > n) for n in range(1, planes)), "further")
            then.append(end & further[0] & ~last_beat)
            for i, own in enumerate(mine):
                writing = Signal(planes - 1, name=f"writing{i}")
                m.d.sync += writing.eq(writing >> 1)
                with m.If(made & own):
                    m.d.sync += writing.eq(further)
                reasons.append(writing[0] & own)
                then.append(writing[1:2].any() & Mux(last_beat, following[i], 0))
                else_.append(writing[1:2].any() & own)
        if self.recovery > c.beats:
            resting = Signal(self.recovery - c.beats)
            m.d.sync += resting.eq(resting >> 1)
            with m.If(made & last_beat & self.slow):
                m.d.sync += resting.eq(~0)
            reasons.append(resting[0])
            then += [end & last_beat & self.slow, resting[1:2].any()]
            else_.append(resting[1:2].any())
        if c.far:
            m.d.sync += hold.eq(Mux(over, reduce(or_, then), reduce(or_, else_, Const(0))))
        else:
            m.d.comb += hold.eq(reduce(or_, reasons, 0))

    def _add(self, m: Module, turns: Value, take: Value, before: ValueLike) -> None:
        """The way of the sums. ``turns`` has a bit for each core and beat, a cycle before these are ``take``n."""
        c = self.config
        groups = range(c.issue // c.sharing)
        beats = data.ArrayLayout(data.ArrayLayout(signed(c.sum_bits), c.neuron_lanes), len(groups))

        # Stage 0 -> 1: the sums whose turn it is, all others 0. A lean machine ORs them before the register.
        gated = []
        if c.lean:
            chosen, turn = Signal(beats, reset_less=True), Signal.like(turns)
            m.d.sync += turn.eq(turns)
            for g, lane in product(groups, range(c.neuron_lanes)):
                sums = self.results[0].payload.sums[g]
                m.d.sync += chosen[g][lane].eq(reduce(or_, (
                    Mux(turn[at], sums[at * c.neuron_lanes + lane], 0) for at in range(c.beats))))
            gated = [chosen]
        places = list(product(range(0 if c.lean else c.cores), range(c.beats)))
        for number in range(0, len(places), 2):
            sums = Signal(beats, name=f"gated{number}", reset_less=True)
            pair = [(near(m, turns[number + j], c.neuron_lanes, f"gate{number + j}"), i, at)
                    for j, (i, at) in enumerate(places[number:number + 2])]
            for g, lane in product(groups, range(c.neuron_lanes)):
                m.d.sync += sums[g][lane].eq(reduce(or_, (
                    self.results[i].payload.sums[g][at * c.neuron_lanes + lane] & gates[lane].replicate(c.sum_bits)
                    for gates, i, at in pair)))
            gated.append(sums)
        take1, before1 = Signal(), Signal(_BEFORE)
        m.d.sync += [take1.eq(take), before1.eq(before)]
        taken = near(m, take1, c.neuron_lanes, "take")
        keep, one, four = (near(m, before1[name], c.neuron_lanes, name) for name in ("keep", "one", "four"))

        # Stage 1 -> 2: their sum. Stage 2 -> 3: h, which is at the end of the line, moves on to its beginning.
        for low in range(0, c.neuron_lanes, LANES):
            lanes = range(low, min(low + LANES, c.neuron_lanes))
            m.submodules[f"h{low}"] = line = DelayLine(len(lanes) * c.acc_bits, len(turns), low // LANES)
            m.d.comb += [line.step.eq(taken[low]), Cat(self.accs[lane] for lane in lanes).eq(line.newest)]
            for lane in lanes:
                parts = [reduce(or_, (sums[g][lane] for sums in gated)) for g in groups]
                total = Signal(signed(c.sum_bits + clog2(len(groups))), name=f"total{lane}", reset_less=True)
                m.submodules[f"add{lane}"] = add = MuxAdder(c.acc_bits, c.acc_bits, len(total), c.acc_bits)
                h = line.oldest.word_select(lane - low, c.acc_bits).as_signed()
                m.d.sync += total.eq(sum(parts))
                m.d.comb += [
                    add.a.eq(h << 4), add.use_a.eq(four[lane]), add.b.eq(total),
                    add.c.eq(Mux(keep[lane], Mux(one[lane], h << 1, h), 0)),
                    line.data.word_select(lane - low, c.acc_bits).eq(add.sum),
                ]

    @staticmethod
    def model(config: Config, d: Mapping[str, int], results: Sequence[Sequence[Sums]]) -> list[list[int]]:
        """Twin: every result in the order (position, group, t), from what each core's passes make."""
        c = config
        passes = [iter(x) for x in results]
        out = []
        for _ in range(d["out_h"] * d["out_w"] * d["groups"] * d["steps"]):
            for core in passes:
                h, end = [0] * c.lanes, False
                while not end:
                    sums, shift, end = next(core)
                    h = [wrap((a + sum(parts)) << (0 if end else shift), c.acc_bits) for a, *parts in zip(h, *sums, strict=True)]
                out.append(h)
        return out
