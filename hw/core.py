"""One AND-accumulate core: queues, decoders and accumulators."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from itertools import pairwise
from typing import NamedTuple

from amaranth.hdl import Cat, Module, Mux, Signal, Value, signed
from amaranth.lib import data, stream, wiring
from amaranth.lib.wiring import In, Out

from golden.spec.config import Config, clog2
from golden.spec.registers import SLOT_STATES
from hw.adder import Adder
from hw.decoder import Decoder, open_entry, opened_layout
from hw.near import LANES, near
from hw.queue import Queue
from hw.walker import Walker, entry_layout
from hw.weight_banks import WeightRead


def sum_layout(config: Config) -> data.StructLayout:
    """What a core makes of a pass, or of a part of one: sums by group of slots that share them, and what follows.

    The number that the passes make is shifted left by ``shift`` after this one, or, with ``end``, is complete.
    """
    sums = data.ArrayLayout(data.ArrayLayout(signed(config.sum_bits), config.lanes), config.issue // config.sharing)
    return data.StructLayout({"sums": sums, "shift": 3, "end": 1})


def state_layout(config: Config) -> data.StructLayout:
    """A bit for each slot in each state (`SLOT_STATES`) that a core knows of; a slot in none has no entry."""
    return data.StructLayout(dict.fromkeys(SLOT_STATES[:4], config.issue))


class Sums(NamedTuple):
    """A payload of `sum_layout` (twins only)."""

    sums: list[list[int]]
    shift: int
    end: bool


def wrap(value: int, bits: int) -> int:
    """The number that ``bits`` bits in two's complement hold of a value (twins only)."""
    half = 1 << (bits - 1)
    return (value + half) % (2 * half) - half


class Core(wiring.Component):
    """Adds the weight rows that its queues select, ``issue`` of them a cycle, and hands on what each pass makes.

    Groups of ``sharing`` slots add into accumulators of their own. Their pipeline: decode and read address; row; gated row;
    sum of the slots' rows, in two stages where four share; accumulate. The slots of a group meet in a barrier at the end of
    each pass, at no cost where they arrive together; groups do not wait for each other, but a group stands still with
    complete sums while those before still wait for ``result``.

    Ports
    -----
    lanewise : Signal(), in
    entries : Array of stream of entry_layout, in
        One per slot, always ready: the sender looks at ``room``. In lanewise mode only the first ``taps`` have any ``bits``.
    room : Signal(), out
        Each queue takes `Walker.in_flight` + 1 more entries than have been sent until two cycles ago, where all is ``far`` one.
    weights : WeightRead, out
    result : stream of sum_layout, out
        Where all is ``far``, ``ready`` answers a ``valid`` of an earlier cycle, and the sums are there with it, the rest of the
        payload before. Else they stay for a cycle after it, in which nothing is valid; in a lean machine they go.
    adds : Signal(), out
        Rows added a cycle ago (broadcast), or lanes that an entry that came three cycles ago, where all is far four, adds to
        (lanewise).
    states : Signal(state_layout), out
        What each slot did two cycles ago, a bit for each that does so.
    """

    def __init__(self, config: Config) -> None:
        self.config = config
        super().__init__({
            "lanewise": In(1),
            "entries": In(stream.Signature(entry_layout(config), always_ready=True)).array(config.issue),
            "room": Out(1),
            "weights": Out(WeightRead(config)),
            "result": Out(stream.Signature(sum_layout(config))),
            "adds": Out(range(config.issue * config.lanes + 1)),
            "states": Out(state_layout(config)),
        })

    def elaborate(self, platform: object) -> Module:
        m = Module()
        c = self.config
        rooms = []
        limit = c.queue_depth - Walker.in_flight(c)
        decoders, arrived = list[Decoder](), list[tuple[Value, Value]]()
        for i in range(c.issue):
            stored = (opened_layout if c.far else entry_layout)(c)
            m.submodules[f"queue{i}"] = queue = Queue(stored.size, c.queue_depth, block=c.lean)
            m.submodules[f"decoder{i}"] = decoder = Decoder(c)
            sent, came, entry = self.entries[i], Signal(name=f"came{i}"), Signal(stored, name=f"entry{i}", reset_less=True)
            m.d.sync += came.eq(sent.valid)
            lanewise = near(m, self.lanewise, 1, f"lanewise{i}")[0]
            if c.far:  # a register on the way, and entries are counted before it
                m.d.sync += entry.eq(open_entry(m, c, sent.payload, lanewise, f"opened{i}"))
                m.d.comb += [queue.w_data.eq(entry), queue.w_en.eq(came), decoder.entries.payload.eq(queue.r_data)]
                arrived.append((came, entry.entry.bits[:c.lanes]))
                left = Signal(name=f"left{i}")
                over = Signal(range(-limit, c.queue_depth - limit + 1), name=f"over{i}", init=-limit)
                m.d.sync += [left.eq(queue.r_rdy & queue.r_en), over.eq(over + sent.valid - left)]
                rooms.append(over < 0)
            else:
                taken = Signal(stored, name=f"taken{i}")
                m.d.sync += entry.eq(sent.payload)
                m.d.comb += [
                    queue.w_data.eq(sent.payload), queue.w_en.eq(sent.valid), taken.eq(queue.r_data),
                    decoder.entries.payload.eq(open_entry(m, c, taken, lanewise, f"opened{i}")),
                ]
                arrived.append((came, entry.bits[:c.lanes]))
                rooms.append(queue.level < limit)
            m.d.comb += [
                decoder.entries.valid.eq(queue.r_rdy), queue.r_en.eq(decoder.entries.ready), decoder.lanewise.eq(lanewise),
                self.weights.row[i].eq(decoder.row),
            ]
            decoders.append(decoder)
        step = m.d.comb if c.far else m.d.sync  # where all is far, there is a register on the way
        step += self.room.eq(Cat(rooms).all())

        states = Signal(state_layout(c))
        here, moving = Signal(c.issue // c.sharing), Signal(c.issue // c.sharing)  # groups whose sums wait, or will
        m.d.comb += self.result.valid.eq((here | moving).all())
        added = []
        for group in range(c.issue // c.sharing):
            slots = range(group * c.sharing, (group + 1) * c.sharing)
            added += self._group(m, group, [(i, decoders[i]) for i in slots], here[group], moving[group], states)
        # The lanes of an entry are counted as it comes, of the slots that lanewise taps come to: eight at a time, those of a slot
        # where all is far, then all.
        counts: list[Value] = []
        for i, (came, gates) in enumerate(arrived[:c.taps]):
            eighths = [Signal(range(9), name=f"count{i}_{low}", reset_less=True) for low in range(0, c.lanes, 8)]
            for n, count in enumerate(eighths):
                m.d.sync += count.eq(Mux(came, sum(gates[8 * n:8 * n + 8]), 0))
            counts += eighths
            if c.far:
                counts[-len(eighths):] = [Signal(range(c.lanes + 1), name=f"count{i}", reset_less=True)]
                m.d.sync += counts[-1].eq(sum(eighths))
        m.d.sync += [self.adds.eq(Mux(self.lanewise, sum(counts), sum(added))), self.states.eq(states)]
        return m

    def _group(self, m: Module, number: int, slots: list[tuple[int, Decoder]], here: Value, moving: Value,
               states: data.View) -> list[Value]:
        """The pipeline of slots that share accumulators; whether each slot adds a row."""
        c = self.config

        def signal(shape: object, name: str, **more: object) -> Signal:
            return Signal(shape, name=f"{name}_{number}", **more)

        # The pipeline stands still while complete sums find those before still waiting, be they just taken: who takes them
        # decides late in the cycle. What steers all lanes is known a cycle before, and made in as many registers.
        complete, release, next_complete, next_here, keep, next_keep = (
            signal(1, name) for name in ("complete", "release", "next_complete", "next_here", "keep", "next_keep"))
        fresh = signal(1, "fresh", init=1)  # after a reset, which reaches no accumulator
        if c.lean:  # it stands still until its sums are taken from the accumulators, which saves as many registers
            stall, move = signal(1, "stall"), signal(1, "move")
            m.d.comb += [stall.eq(complete & ~self.result.ready), move.eq(complete)]
            stalls, moves, keeps = [stall] * c.lanes, [move] * c.lanes, [keep] * c.lanes
        else:
            stalls = near(m, next_complete & next_here, c.lanes, f"stall{number}")
            moves = near(m, next_complete & ~next_here, c.lanes, f"move{number}")
            keeps = near(m, next_keep, c.lanes, f"keep{number}")
            stall, move = (near(m, next_complete & x, 1, name)[0] for x, name in (
                (next_here, f"stops{number}"), (~next_here, f"moved{number}")))
        follows = data.StructLayout({"over": 1, "shift": 3, "end": 1})  # what ends the pass, a stage behind each other
        after = [signal(follows, f"after{stage}") for stage in range(1, 4 + max(clog2(c.sharing), 1))]
        m.d.comb += [
            release.eq(Cat(x.barrier for _, x in slots).all()), next_complete.eq(Mux(stall, complete, after[-2].over)),
            next_here.eq(move | (here & ~(self.result.valid & self.result.ready))),
            moving.eq(move if c.far else 0),
            next_keep.eq(Mux(stall, keep, ~after[-2].over) & ~fresh),
        ]
        m.d.sync += [fresh.eq(0), complete.eq(next_complete)]
        if c.lean:
            m.d.comb += [here.eq(complete), keep.eq(~complete & ~fresh)]
        else:
            m.d.sync += [here.eq(next_here), keep.eq(next_keep)]
        for i, x in slots:
            taken = self.weights.taken[i] & x.wants
            still = stall if c.lean else near(m, next_complete & next_here, 1, f"still{i}")[0]
            m.d.comb += [
                x.release.eq(release), x.hold.eq(stall | taken), self.weights.en[i].eq(x.wants & ~stall),
                self.weights.still[i].eq(still),
            ]
            m.d.sync += [
                states.busy[i].eq(x.emit), states.neuron[i].eq(stall), states.weights[i].eq(~stall & taken),
                states.imbalance[i].eq(~stall & x.full & ~x.wants),
            ]
        with m.If(~stall):
            first = slots[0][1]
            m.d.sync += [after[0].over.eq(release), after[0].shift.eq(first.shift), after[0].end.eq(first.end)]
            m.d.sync += [later.eq(earlier) for earlier, later in pairwise(after)]
        if c.lean:
            m.d.comb += [self.result.payload.shift.eq(after[-1].shift), self.result.payload.end.eq(after[-1].end)]
        elif number == 0:
            shift, end = Signal(3), Signal()
            m.d.comb += [self.result.payload.shift.eq(shift), self.result.payload.end.eq(end)]
            with m.If(move):
                m.d.sync += [shift.eq(after[-1].shift), end.eq(after[-1].end)]
                if c.far:
                    m.d.comb += [self.result.payload.shift.eq(after[-1].shift), self.result.payload.end.eq(after[-1].end)]

        # Stage 1: the rows are read. Stage 2: they wait in registers: memory is slow.
        rows, gates, adds = [], [], list[Value]()
        broadcast = near(m, ~self.lanewise, c.lanes, f"broadcast{number}")
        for i, x in slots:
            gate, top = Signal(c.lanes, name=f"gate{i}", reset_less=True), Signal(name=f"top{i}")
            gate2 = Signal(c.lanes, name=f"gate2_{i}", reset_less=True)
            emitted = [Signal(name=f"emitted{i}_near{lane // LANES}") for lane in range(0, c.lanes, LANES)]
            with m.If(~stall):
                m.d.sync += [top.eq(x.top), *(one.eq(x.emit) for one in emitted)]
            row = [Signal(signed(c.w_bits + 1), name=f"row{i}_{lane}", reset_less=True) for lane in range(c.lanes)]
            for lane in range(c.lanes):
                weight, sign = self.weights.data[i].word_select(lane, c.w_bits), row[lane][-1]
                with m.If(~stalls[lane]):
                    m.d.sync += [
                        gate[lane].eq(x.gate[lane]), gate2[lane].eq(emitted[lane // LANES] & (gate[lane] | broadcast[lane])),
                        row[lane][:-1].eq(weight), sign.eq(weight[-1]),
                    ]
                with m.If(~stalls[lane] & ~top):
                    m.d.sync += sign.eq(0)
            rows.append(row)
            gates.append(gate2)
            adds.append(emitted[0] & ~stall)

        # Stage 3: the sum of the slots' rows, lane by lane. The last stage: accumulate; the sum that comes with the end of the
        # pass is its last. In the cycle of ``complete`` the accumulators hold what the pass made, and start anew.
        for lane in range(c.lanes):
            acc, made = (signal(signed(c.sum_bits), f"{name}{lane}", reset_less=True) for name in ("acc", "made"))
            total = self._sum(m, f"{number}_{lane}", [row[lane] for row in rows], [gate[lane] for gate in gates], stalls[lane])
            m.submodules[f"adder{number}_{lane}"] = adder = Adder(c.sum_bits, c.sum_bits, len(total))
            m.d.comb += [adder.a.eq(acc), adder.b.eq(total), adder.use_a.eq(keeps[lane]), adder.use_b.eq(1)]
            with m.If(~stalls[lane]):
                m.d.sync += acc.eq(adder.sum)
            if c.lean:
                made = acc
            else:
                with m.If(moves[lane]):
                    m.d.sync += made.eq(acc)
            m.d.comb += self.result.payload.sums[number][lane].eq(made)
        return adds

    def _sum(self, m: Module, name: str, terms: Sequence[Value], gates: Sequence[Value], stall: Value) -> Signal:
        """The register with the sum of the terms whose gates are open; a stage for each doubling of their number. Two need no
        tables besides the carry cells, for that none is open is the register's to know.
        """
        total = Signal(signed(self.config.w_bits + 1 + clog2(len(terms))), name=f"sum{name}", reset_less=True)
        half = len(terms) // 2
        if half > 1:
            halves = [self._sum(m, f"{name}_{at}", terms[at:at + half], gates[at:at + half], stall) for at in (0, half)]
            with m.If(~stall):
                m.d.sync += total.eq(halves[0] + halves[1])
            return total
        if half:
            m.submodules[f"sum{name}"] = pair = Adder(len(total), len(terms[0]), len(terms[1]))
            m.d.comb += [pair.a.eq(terms[0]), pair.b.eq(terms[1]), pair.use_a.eq(gates[0]), pair.use_b.eq(gates[1])]
            value: Value = pair.sum
        else:
            value = Mux(gates[0], terms[0], 0)
        with m.If(~stall):
            m.d.sync += total.eq(value)
        with m.If(~stall & ~Cat(gates).any()):
            m.d.sync += total.eq(0)
        return total

    @staticmethod
    def model(config: Config, entries: Sequence[Sequence[Mapping[str, int]]], weights: Sequence[Sequence[int]],
              lanewise: bool) -> list[Sums]:
        """Twin: what each pass makes, from the entries by slot and the weight rows by bank and row."""
        results = []
        half, mask = 1 << (config.w_bits - 1), (1 << config.w_bits) - 1
        for slots in zip(*(Decoder.model(config, x, lanewise) for x in entries), strict=True):
            sums = [[0] * config.lanes for _ in range(config.issue // config.sharing)]
            for i, (bank, x) in enumerate(zip(weights, slots, strict=True)):
                acc = sums[i // config.sharing]
                for row, gate, top in x.rows:
                    for lane in range(config.lanes):
                        weight = bank[row] >> (lane * config.w_bits) & mask
                        if gate >> lane & 1:
                            acc[lane] += weight - 2 * half if top and weight >= half else weight
            results.append(Sums([[wrap(a, config.sum_bits) for a in acc] for acc in sums], slots[0].shift, slots[0].end))
        return results
