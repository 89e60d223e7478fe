"""How many cycles each descriptor takes, from the set bits that it really reads, without simulating the machine.

A LINEAR descriptor is a chain of waits: a word waits for room in the queues, an entry for its decoder, a slot for the slots
of its group, a group's sums for those before them, the collector for the cores in their turn. Each wait ends at the
largest of a few times known before, so walking through the words in their order gives every time exactly; nothing is
random and nothing is fitted. Many positions are walked through at once, each piece of a layer starting a little
before its share so that its pipeline is full when the share begins.

Exact to the cycle but for where a piece begins, and but for what runs beside: rows of weights that are written meanwhile
take a port from a busy core for a cycle each (hw/weight_banks.py), and are counted as if they came all the time, for as long
as they come; where HAMMING and the mover wait for a port of the scratchpad that LINEAR uses, an average is. LOAD and STORE
take longer by the loader's bursts and the records that go before theirs. Between descriptors stand the waits for the loader.
The errors: docs/decisions/005-base-at-full-speed.md.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from fractions import Fraction
from itertools import pairwise, product
from math import ceil, inf

import numpy as np
from numpy.typing import NDArray

from golden.spec.config import Config, clog2
from golden.spec.descriptor import BYTES, Opcode, taps_at_once
from golden.spec.registers import STATISTICS, STATISTICS_BYTES
from sw.bundle import Bundle
from sw.device.golden import Fields, GoldenDevice
from sw.device.hazards import UNITS
from sw.driver import Driver, Result
from sw.overlap import hamming_cycles, hamming_loads
from sw.packing import Array

Times = NDArray[np.int32]

NEVER = -(1 << 28)  #: a time before everything
QUEUE = 4  #: cycles from the fetch of a word until its entry can leave an empty queue; where all is far two more
MARGIN = QUEUE + 1  #: queue entries kept free for the words on their way; where all is far one more
SUM = 4  #: cycles from a slot's last row until the sums are complete; where four slots share them a cycle more
WARM = 160  #: words that a piece of a layer is walked through before its share begins
ON_THE_WAY = 64  #: beats that are asked for at once: hw.jobs.MAX_OUTSTANDING bursts
AROUND = 19  #: cycles from one such set to the next, beside the latency, where they have to wait for that
FETCH = 12  #: cycles from when the loader may begin until a descriptor is offered, beside beats and latency; 13 where all is far
IMAGES = 16  #: the same for its images
STORED = 64  #: beats that a STORE writes before it waits for the memory's answer: hw.mover.Mover.STORE_BEATS
LATE = 7  #: and for weights that it loads for later ones
NEXT = 3  #: cycles from the end of a descriptor to the start of one that is there


@dataclass(frozen=True)
class Memory:
    """External memory.

    Parameters
    ----------
    latency : int
        Cycles from a burst's address to its first beat.
    bandwidth : int or Fraction
        Bytes that it moves in a cycle at most; 0: as many as the bus takes.
    """

    latency: int = 20
    bandwidth: int | Fraction = 0

    def cycles(self, config: Config, beats: int) -> int:
        """Cycles from the first burst's address to the last beat: the bus, the memory, or the bursts on their way limit them."""
        moved = max(beats, ceil(Fraction(beats * config.axi_bytes, self.bandwidth or config.axi_bytes)))
        return self.latency + max(moved, (beats - 1) // ON_THE_WAY * (self.latency + AROUND))


MEMORY = Memory()


class TimedDevice(GoldenDevice):
    """The functional machine, which also says how many cycles the real one takes for each descriptor, and waits before it.

    Parameters
    ----------
    config : Config
        The machine.
    memory : Memory
        Behind it.
    """

    def __init__(self, config: Config, memory: Memory = MEMORY) -> None:
        super().__init__(config)
        self.memory = memory

    def _start(self) -> None:
        super()._start()
        self._loader = self._elapsed = 0  # cycle from which the loader can fetch; end of what ends last
        self._since = 0  # end of the descriptor before, or its start, where it is beside
        self._before: str | None = None  # its unit, where it is not
        self._ends = dict.fromkeys(UNITS.values(), -NEXT)  # of each unit's last descriptor
        self._last = dict.fromkeys(UNITS.values(), 0)  # its number
        self._move: Fields = {}  # the mover's descriptor
        self._walk: Walk | None = None  # of the last LINEAR
        self._began = 0  # when that did
        self._each = dict.fromkeys(("hamming", "mover"), 0.0)  # words that a unit reads or writes in a cycle, on average
        self._taken = dict.fromkeys(("reads", "writes", "u_reads", "u_writes"), 0.0)  # cycles in which LINEAR does, the share

    def _execute(self, d: Fields) -> None:
        """Count first: a descriptor may overwrite what it read."""
        c, opcode, unit = self.config, Opcode(d["opcode"]), UNITS[Opcode(d["opcode"])]
        if opcode == Opcode.LINEAR:
            walk = linear_walk(c, d, self._banks)
            self._cycles = cycles(walk, c.queue_depth) + drain(c)
        elif opcode == Opcode.HAMMING:
            self._cycles = hamming_cycles(c, d)
        else:
            self._cycles = transfer_cycles(c, d, self.memory)
        ready = self._ready(d)
        needed = {unit, self._before or unit}
        needed |= {name for name, flag in (("hamming", "after_hamming"), ("mover", "after_move")) if d[flag]}
        begin = max(ready, self._since + 1, *(self._ends[x] + NEXT for x in needed))
        if opcode == Opcode.LINEAR:
            self._taken = port_shares(c, d, walk, self._cycles)
            for other in ("hamming", "mover"):
                self._delay(other, self._lost(other, self._ends[other] - begin, self._cycles))
        else:
            if unit == "mover":
                self._move = d
            words = hamming_loads(c, d) if opcode == Opcode.HAMMING else d["count"]
            self._each[unit] = words / self._cycles
            self._cycles += self._lost(unit, self._cycles, self._ends["linear"] - begin)
        if opcode == Opcode.STORE:
            self._cycles += self._noted(begin)
        self._wait, self._loader, self._ends[unit] = begin - self._since, begin, begin + self._cycles
        self._last[unit] = self._get("LAYER")
        if self._move.get("opcode") == Opcode.STORE and self._ends[unit] < self._ends["mover"]:
            self._delay("mover", self._noting)  # the record comes first
        self._since, self._before = (begin, None) if d["beside"] else (begin + self._cycles, unit)
        if opcode == Opcode.LINEAR:
            self._walk, self._began = walk, begin
        if unit != "mover" and d["count"]:
            self._loader = self._fetch(begin + LATE, d["count"] * c.row_bits // c.axi_bits)
            self._written(begin + LATE, d["count"], c.issue)
        self._elapsed = max(self._ends.values())
        super()._execute(d)

    @property
    def _noting(self) -> int:
        """Cycles from the end of a descriptor until its record is in memory, before which no STORE writes (hw/recorder.py)."""
        return 0 if self.config.lean else STATISTICS_BYTES // self.config.axi_bytes + self.memory.latency + 7

    def _noted(self, begin: int) -> int:
        """Cycles that a STORE waits for the records of what ended shortly before, or ends beside it."""
        ends = self._ends.values()
        beside = sum(begin < end < begin + self._cycles for end in ends)
        return max(0, *(end + self._noting - begin for end in ends if end <= begin)) + beside * self._noting

    def _lost(self, unit: str, left: int, beside: int) -> int:
        """Cycles that a unit, which by itself runs ``left`` more, waits for ports of the scratchpad that LINEAR uses.

        LINEAR uses them as if at any time; those of residual values for as many cycles on end as a step has beats. ``beside``
        is how long it runs.
        """
        c, port, on_end = self.config, "reads", 1
        if unit == "mover":
            loads = self._move.get("opcode") == Opcode.LOAD
            if self._move.get("space"):
                port, on_end = "u_writes" if loads else "u_reads", c.cores * c.beats
            elif loads:
                port = "writes"
        if not self._each[unit] or min(left, beside) <= 0:
            return 0
        found = min(round(1 / self._each[unit]), on_end)  # cycles in which a word may find a use begun, or one begins
        wait = sum(on_end - i for i in range(found)) / on_end
        taken = min(self._taken[port], 0.99)
        rate = self._each[unit] * wait * taken / (1 - taken)
        return round(min(left * rate, beside * rate / (1 + rate)))

    def _delay(self, unit: str, lost: int) -> None:
        """What a unit runs already takes so many cycles more."""
        if not lost:
            return
        self._ends[unit] += lost
        if self._before == unit:
            self._since += lost
        at = self._get("SEGMENT3") + self._last[unit] * STATISTICS_BYTES + 4 * list(STATISTICS).index("cycles")
        self._memory[at : at + 4].view("<u4")[0] += lost  # in its record

    def _ready(self, d: Fields) -> int:
        """Cycle in which a descriptor and its images are there (hw/loader.py)."""
        c = self.config
        ready = self._fetch(self._loader + FETCH + c.far, BYTES // c.axi_bytes)
        images = [n * bits // c.axi_bits for n, bits in
                  ((d["weight_rows"], c.row_bits), (d["param_beats"], c.param_beat_bits)) if n]
        if images:
            idle = max(self._ends["linear"], self._ends["hamming"]) + c.far
            ready = (ready if d["prefetch"] else max(ready, idle)) + IMAGES
            self._written(ready, d["weight_rows"], 1 if d["lanewise"] else c.issue)
            for beats in images:
                ready = self._fetch(ready, beats)
        return ready

    def _written(self, at: int, rows: int, banks: int) -> None:
        """LINEAR may take longer while rows of weights come, each for the next of so many ``banks``, from cycle ``at`` on."""
        c = self.config
        last, first = at + self.memory.cycles(c, rows * c.row_bits // c.axi_bits), at + self.memory.latency
        coming = min(last, self._ends["linear"]) - max(first, self._began)
        if c.cores == 1 or not rows or coming <= 0 or self._walk is None:
            return
        wait = max((last - first) // rows, 1)
        plain, slower = (cycles(self._walk, c.queue_depth, *x) for x in ((), (max(wait * banks, 2), wait)))
        self._delay("linear", round(max(slower - plain, 0) * coming / (self._ends["linear"] - self._began)))

    def _fetch(self, at: int, beats: int) -> int:
        """Cycle in which what is asked for in cycle ``at`` has come; bursts of a LOAD on their way come first, others later."""
        if self._move.get("opcode") != Opcode.LOAD or at >= self._ends["mover"]:
            return at + self.memory.cycles(self.config, beats)
        moved = self.memory.cycles(self.config, beats) - self.memory.latency
        self._delay("mover", moved)
        return at + max(self.memory.latency, ON_THE_WAY) + moved


def predict(bundle: Bundle, config: Config, clip: Array, memory: Memory = MEMORY) -> Result:
    """Run a clip on the functional machine with predicted cycles, by layer and in all.

    Parameters
    ----------
    bundle : Bundle
        Compiled for ``config``.
    config : Config
        The machine.
    clip : [T, H, W, C] uint8
        The input.
    memory : Memory
        Behind the machine.
    """
    driver = Driver(TimedDevice(config, memory), timeout=inf)
    driver.load(bundle)
    return driver.run(clip)


def transfer_cycles(config: Config, d: Mapping[str, int], memory: Memory) -> int:
    """Cycles of a LOAD or STORE (hw/mover.py): its beats and a latency; of a STORE one for each set of beats, and two for each
    residual beat.
    """
    beats = d["count"] * (config.u_beat_bits if d["space"] else config.word) // config.axi_bits
    moved = memory.cycles(config, beats)
    if d["opcode"] == Opcode.LOAD:
        return moved + 9
    sets = ceil(beats / STORED)
    return max(moved - memory.latency, beats + 2 * d["count"] * d["space"]) + sets * (memory.latency + 8 - 2 * d["space"]) + 1


def passes_of(slices: int, planes: int) -> list[tuple[int, int, int]]:
    """The passes of a result as (exponent, slice, candidates that the walker tries until it has found the one after)."""
    order = [(e, s) for e in range(4 * (slices - 1) + planes - 1, -1, -1) for s in range(slices) if 0 <= e - 4 * s < planes]
    tried = []
    for (e, s), following in pairwise(order):
        at = (e - 4, s - 1) if planes == 1 else (e - 1, 0) if s == slices - 1 else (e, s + 1)
        count = 1
        while at != following:
            at = (at[0] - 1, 0) if at[1] == slices - 1 else (at[0], at[1] + 1)
            count += 1
        tried.append(count)
    return [(e, s, n) for (e, s), n in zip(order, [*tried, 0], strict=True)]


@dataclass(frozen=True)
class Walk:
    """Everything that the cycles of a LINEAR descriptor depend on.

    Parameters
    ----------
    bits : [positions, words, cores, groups, slots]
        Set bits (rows to add) of each fetch; ``groups * slots`` is the issue width.
    gap : [words]
        Cycles from the fetch before, at least; more than 1 where a pass begins.
    search : [words]
        Cycles from one before the pass begins until the next pass is known, which the last word of this one waits for; 0: none.
    hand : [words]
        Sums are handed over after the word.
    beats : [words, cores]
        Cycles from the first to the last beat in which the collector takes what is handed over, both included.
    rest : [words, cores]
        Cycles after the last beat in which it takes nothing.
    write : [words]
        Cycles from the last beat until it takes anything of the same core again, at least.
    sum : int
        Cycles from a slot's last row until the sums are complete.
    far : int
        1 where all is far: words are two cycles longer on their way to the cores, one of these before they are counted; one what
        the collector tells the cores, and that an entry has left its queue.
    """

    bits: NDArray[np.integer]
    gap: Array
    search: Array
    hand: NDArray[np.bool_]
    beats: Array
    rest: Array
    write: Array
    sum: int = SUM
    far: int = 1


def linear_walk(config: Config, d: Mapping[str, int], banks: NDArray[np.uint8]) -> Walk:
    """The walk of a LINEAR descriptor over the spike banks [core, address, bit]."""
    c, order = config, passes_of(d["slices"], d["planes"])
    place = np.arange(d["out_h"] * d["out_w"])
    oy, ox = place // d["out_w"], place % d["out_w"]
    taps, together = d["kernel_h"] * d["kernel_w"], taps_at_once(d, c)
    steps = np.arange(d["steps"])
    counts = np.zeros((len(place), d["groups"], d["steps"], len(order), -(-taps // together) * d["words"], c.cores, c.issue),
                      np.uint16)
    shares = [_shares(c, d, banks, word) for word in range(d["words"])]
    for nth, word, plane in product(range(taps), range(d["words"]), range(d["planes"])):
        n, (ky, kx) = nth // together * d["words"] + word, divmod(nth, d["kernel_w"])
        iy, ix = oy * d["stride"] - d["padding_y"] + ky, ox * d["stride"] - d["padding"] + kx
        inside = (iy >= 0) & (iy < d["in_h"]) & (ix >= 0) & (ix < d["in_w"])
        start = d["origin"] + oy * d["oy_stride"] + ox * d["ox_stride"] + ky * d["y_stride"] + kx * d["x_stride"]
        address = start[:, None] + steps * d["step_stride"] + plane * d["plane_stride"] + word  # [place, step]
        tap = 0 if d["shared_taps"] else nth
        for number, (exponent, slice_, _) in enumerate(order):
            if exponent - 4 * slice_ != plane:
                continue
            for group in range(d["groups"]):
                if d["lanewise"]:  # one row, gated by the lanes' bits, in the slot of the memory where they lie
                    at, part = divmod((d["first_group"] + group) * c.lanes, c.word)
                    seen = np.zeros((c.cores, *address.shape, c.issue), np.uint8)
                    some = shares[word][:, :, part // c.lanes].take(address + at, axis=1, mode="clip")
                    for slot in range(c.taps):
                        seen[..., slot] = some * ((address + at) % c.taps == slot)
                else:
                    seen = np.roll(shares[word], tap, axis=-1).take(address, axis=1, mode="clip")
                counts[:, group, :, number, n] += (seen * inside[:, None, None]).transpose(1, 2, 0, 3)
    return _structure(c, d, counts, order)


def _shares(config: Config, d: Mapping[str, int], banks: NDArray[np.uint8], word: int) -> NDArray[np.uint8]:
    """Rows that each slot adds for each word of the banks [core, address, slot] as word ``word`` of a tap; lanewise those for
    each lane group of the word.
    """
    if d["lanewise"]:
        return banks.reshape(*banks.shape[:2], -1, config.lanes).max(axis=-1)
    bit = np.arange(config.word)
    low, high = d["mask_low"] if word == 0 else 0, d["mask_high"] if word == d["words"] - 1 else config.word - 1
    kept = banks * ((bit >= low) & (bit <= high)).astype(np.uint8)
    return kept.reshape(*banks.shape[:2], -1, config.issue).sum(axis=2, dtype=np.uint8)


def _structure(config: Config, d: Mapping[str, int], counts: NDArray[np.uint16], order: list[tuple[int, int, int]]) -> Walk:
    """Put everything else to the counts [position, group, step, pass, fetch, core, slot]."""
    c, words = config, counts.shape[1:5]
    gap, search, write = (np.full(words, x) for x in (1, 0, 1))
    gap[..., 0] += 1
    gap[0, 0, 0, 0] += 1
    hand = np.zeros(words, bool)
    hand[..., d["pass_words"] - 1 if d["pass_words"] else 255 :: d["pass_words"] or 256] = True
    hand[..., -1] = True
    beats, rest = np.full((*words, c.cores), c.beats), np.zeros((*words, c.cores), int)
    for number, (before, after) in enumerate(pairwise(order)):
        search[:, :, number, -1] = 1 + before[2]
        # shifts by 0, 1 and 4 are for nothing; others take rounds of zeros, each by one more bit
        rest[:, :, number, -1, -1] = {2: 1, 3: 2}.get(before[0] - after[0], 0) * c.cores * c.beats
    result = (slice(None), slice(None), -1, -1)
    if c.levels_max > 1 and d["fire"]:  # planes are written one after the other
        write[result] = d["out_planes"]
        beats[result] = (c.beats - 1) * d["out_planes"] + 1
    if d["integrate"]:
        beats[:, -1, -1, -1, -1] *= 2  # the sums of the last time step take two beats for one
    rest[result] += _recovery(c, d)
    flat = counts.reshape(len(counts), -1, c.cores, c.issue // c.sharing, c.sharing)
    return Walk(flat, gap.ravel(), search.ravel(), hand.ravel(), beats.reshape(-1, c.cores), rest.reshape(-1, c.cores),
                write.ravel(), SUM + max(clog2(c.sharing) - 1, 0), int(c.far))


def _recovery(config: Config, d: Mapping[str, int]) -> int:
    """Cycles without a beat after each result, because the membranes are made by the slow way (hw/lif.py)."""
    levels = config.levels_max > 1
    slow = config.any_neuron and (d["leak"] % 8 or (levels and d["soft"] and d["levels"] != 1))
    way = (5 + config.far if levels else 3) + (config.beats > 1)
    return max(way - config.beats, 0) if slow else 0


def port_shares(config: Config, d: Mapping[str, int], walk: Walk, taken: int) -> dict[str, float]:
    """Of the cycles ``taken`` by LINEAR those in which it uses a port of the scratchpad; of spikes written that of one bank, and
    of these as many as meet a LOAD there, for both go from bank to bank.
    """
    beats = d["out_h"] * d["out_w"] * d["groups"] * d["steps"] * config.cores * config.beats
    uses = {
        "reads": walk.bits.shape[0] * walk.bits.shape[1], "writes": beats * d["out_planes"] * d["fire"] / config.cores**2,
        "u_reads": beats * (d["residual"] | d["partial"]), "u_writes": beats,
    }
    return {port: cycles / taken for port, cycles in uses.items()}


def drain(config: Config) -> int:
    """Cycles from the last beat taken until a LINEAR descriptor is done, and the one in which it starts."""
    levels = config.levels_max > 1
    split = config.beats > 1 and not config.lean  # neurons take a cycle more
    return 12 - config.lean + split + (1 + config.far + config.levels_max.bit_length() if levels else 0)


def cycles(walk: Walk, queue_depth: int, period: int = 0, wait: int = 0) -> int:
    """Cycle in which the last beat of a LINEAR descriptor is taken; the start is cycle 0.

    With ``period``, which is 2 or more, a row of weights comes to every bank each so many cycles, of which it can ``wait`` some.
    """
    positions, words = walk.bits.shape[:2]
    warm = -(-WARM // words)
    length = min(positions, 4 * warm)
    firsts = [0]
    if positions > length:
        firsts += [min(i, positions - length) for i in range(length - warm, positions - warm, length - warm)]
    taken = _walk_through(walk, np.array(firsts), length, queue_depth, period, wait)
    total, share = int(taken[-1, 0]), length  # the first piece from its start; the others from where the one before ended
    for i, first in enumerate(firsts[1:], 1):
        total += int(taken[-1, i] - taken[share - first - 1, i])
        share = first + length
    return total


def _walk_through(walk: Walk, firsts: NDArray[np.int_], length: int, depth: int, period: int, wait: int) -> Times:
    """Cycle in which the last beat of each position is taken, [position of a piece, piece]; the start is cycle 0.

    Times are [piece, core, group, slot]. A group that finds its last sums still waiting stands still, with all of the
    pipeline before them; the last of these stops, as many as there are stages, are kept as (from, cycles). A row that comes
    to a bank takes a cycle of the first core of two, if that has read it in every one of the ``wait`` cycles before, or begins
    to just then.
    """
    pieces, (_, words, *sizes) = len(firsts), walk.bits.shape
    queue, margin = QUEUE + 2 * walk.far, MARGIN + walk.far
    shape = (pieces, *sizes)
    finished, loaded = np.full(shape, NEVER, np.int32), np.full(shape, NEVER, np.int32)  # the slot's last entry
    never = np.full((*shape[:3], 1), NEVER, np.int32)
    stops = [(never, never * 0)] * walk.sum
    results = np.full(shape[:2], NEVER, np.int32)  # the core's last sums are taken
    written = results.copy()  # its next ones can be
    free = np.zeros(pieces, np.int32)  # the collector
    loads = np.full(finished.size * depth, NEVER, np.int32)  # of the slot's last entries, by number modulo depth
    rings = (np.arange(finished.size) * depth).reshape(shape)
    number = np.zeros(shape, np.int64)
    recent = [(np.full(pieces, NEVER, np.int32), np.full(pieces, NEVER, np.int32))] * margin  # fetched; room for more since
    fetched = np.zeros(pieces, np.int32)
    begun = fetched
    taken = np.zeros((length, pieces), np.int32)
    busy = read = finished  # each slot, in every cycle from this one on; when it last read a row
    owner = (np.arange(shape[1]) % 2 == 0)[:, None, None]
    for position in range(length):
        for n in range(words):
            bits = walk.bits[firsts + position, n].astype(np.int32)
            hand = bool(walk.hand[n])

            # The walker: after the word before, with the next pass known, and as soon as every queue that it hears of has room.
            ready = fetched + walk.gap[n]
            if walk.gap[n] > 1:
                begun = ready - 1
            if walk.search[n]:
                ready = np.maximum(ready, begun + walk.search[n])
            for then, room in recent:
                ready = np.where(then + margin - 1 < ready, np.maximum(ready, room), ready)
            fetched = ready

            # The decoders: one row a cycle, an entry after the other.
            load = np.maximum(np.maximum(loaded + 1, finished), (fetched + queue)[:, None, None, None])
            begin = load + 1
            finish = begin + np.maximum(bits, 1) - 1
            for stop, pause in stops:
                if (stop + pause > begin).any():
                    over = np.where((begin >= stop) & (begin < stop + pause), stop + pause - begin, 0)
                    begin = begin + over
                    finish = finish + over + pause * ((begin < stop) & (finish + over >= stop))
            queued = (bits > 0) | hand
            if period:
                ago, idle = (begin - 1 + wait) % period + 1, begin - read - 1  # since the last row came, and one was read
                late = owner & (bits > 0) & (((idle > 0) & (ago == 1)) | ((idle == 1) & (ago <= wait + 1)))
                begin, finish = begin + late, finish + late
                busy = np.where(queued & ((begin > finished + 1) | (bits == 0)), begin + (bits == 0), busy)
                first = -(-np.maximum(begin, busy + wait) // period) * period
                finish = finish + ((finish - first) // (period - 1) + 1) * (owner & (finish >= first))
                read = np.where(bits > 0, finish, read)
            loads[(rings + number % depth)[queued]] = load[queued]
            number += queued
            loaded, finished = np.where(queued, load, loaded), np.where(queued, finish, finished)
            recent = [*recent[1:], (fetched, loads[rings + (number - depth + margin - 1) % depth].max((1, 2, 3)) + 2 + walk.far)]
            if not hand:
                continue

            # The slots of a group meet. Once the sums before have been taken, theirs wait for the collector.
            met = finished.max(3, keepdims=True)
            busy = np.where(finished < met, met + 1, busy)
            finished = np.broadcast_to(met, shape)
            complete = met + walk.sum
            for stop, pause in stops:
                complete = complete + pause * ((met < stop) & (complete >= stop))
            kept = np.maximum(complete, results[:, :, None, None] + 1 + walk.far)
            stops = [*stops[1:], (complete, kept - complete)]

            # The collector takes the cores in turn.
            results = np.empty_like(results)
            for core, there in enumerate(kept.max((2, 3)).T + 1):
                last = np.maximum(np.maximum(free, there), written[:, core]) + walk.beats[n, core] - 1
                free = last + 1 + walk.rest[n, core]
                results[:, core], written[:, core] = last, last + walk.write[n]
        taken[position] = results[:, -1]
    return taken
