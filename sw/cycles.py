"""How many cycles each layer takes, from the set bits of its real spikes, without simulating the machine.

A LINEAR descriptor is a chain of waits: a word waits for room in the queues, an entry for its decoder, a slot for the slots
that share its accumulators, a result for the one before it, the neuron unit for results in time order. Each wait ends at the
largest of a few times known before, so walking through the words in their order gives every time exactly; nothing is
random and nothing is fitted. Many positions are walked through at once, each piece of a layer starting a little
before its share so that its pipeline is full when the share begins.

Of the RTL as it is (`TODAY`) this is exact to the cycle, but for where a piece begins, and but for the weights of the next
descriptor: each row that is loaded meanwhile can take a port from a busy core for a cycle (hw/weight_banks.py), which is not
counted. The errors, and the design that follows (`NEXT`): docs/decisions/005-base-at-full-speed.md.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from itertools import pairwise

import numpy as np
from numpy.typing import NDArray

from golden.spec.config import Config
from golden.spec.descriptor import Opcode
from golden.spec.model import INPUT, SDHA, Layer, Model
from sw import passes
from sw.layouts import Layouts
from sw.packing import Array

Times = NDArray[np.int32]

NEVER = -(1 << 28)  #: a time before everything
QUEUE = 4  #: cycles from the fetch of a word until its entry can leave an empty queue
MARGIN = 5  #: queue entries kept free for the words on their way: Walker.IN_FLIGHT + 1
SUM = 4  #: cycles from a slot's last row until the result is complete
NEURON = 12  #: cycles from the last beat taken until done, and the one in which the descriptor starts
WARM = 160  #: words that a piece of a layer is walked through before its share begins


@dataclass(frozen=True, kw_only=True)
class Datapath:
    """What couples fetch, issue slots and results; all sizes are in `Config`.

    Parameters
    ----------
    name : str
        Of the design.
    fetch : int
        Neighbouring taps of a row whose words are fetched at once per core, in broadcast mode.
    taps : int
        The same in lanewise mode; they go to as many slots.
    pause : int
        Cycles without a fetch between two passes, and once more between two positions.
    sharing : int
        Issue slots that add into the same accumulators, so that they wait for each other at the end of each pass.
    rotate : bool
        Tap n gives channel b to slot ``(b + n) mod issue``, so that a channel busy in a whole neighbourhood burdens no one slot.
    hand_off : bool
        The neuron unit takes the sum of each pass and shifts it itself; otherwise the accumulators shift, a cycle for each bit.
    skip_silent : bool
        HAMMING counts only K channels with a spike in its block of tokens, while LINEAR descriptors that it
        does not depend on run.
    """

    name: str
    fetch: int
    taps: int
    pause: int
    sharing: int
    rotate: bool
    hand_off: bool
    skip_silent: bool


TODAY = Datapath(name="today", fetch=1, taps=1, pause=1, sharing=16, rotate=False, hand_off=False, skip_silent=False)
NEXT = Datapath(name="next", fetch=1, taps=4, pause=1, sharing=2, rotate=True, hand_off=True, skip_silent=True)


@dataclass(frozen=True)
class Cost:
    """One descriptor: its layer, what it is, its cycles, and the synaptic operations that the clip really needs."""

    layer: str
    opcode: Opcode
    cycles: int
    sops: float


@dataclass(frozen=True)
class Walk:
    """Everything that the cycles of a LINEAR descriptor depend on.

    Parameters
    ----------
    bits : [positions, words, cores, accumulators, slots]
        Set bits (rows to add) of each fetch; ``accumulators * slots`` is the issue width.
    gap : [words]
        Cycles from the fetch before, at least.
    search : [words]
        Cycles from one before the pass begins until the next pass is known, which the last word of this one waits for; 0: none.
    last, end : [words]
        The word ends a pass; ends a result.
    shift : [words]
        Cycles of left shift after a pass.
    beats : [words, cores]
        Beats in which the neuron unit takes the result.
    """

    bits: NDArray[np.integer]
    gap: Array
    search: Array
    last: NDArray[np.bool_]
    end: NDArray[np.bool_]
    shift: Array
    beats: Array


def predict(model: Model, tensors: Mapping[str, Array], config: Config, spikes: Mapping[str, Array],
            datapath: Datapath = TODAY) -> list[Cost]:
    """Cycles of every LINEAR and HAMMING descriptor of a clip, in the order of the program.

    Parameters
    ----------
    model, tensors
        The network.
    config : Config
        The machine.
    spikes : by tensor name, [T, H, W, C]
        What the integer golden model makes of the clip, with its input.
    datapath : Datapath
        The design.

    Raises
    ------
    ValueError
        If the time steps cannot be shared out evenly among the cores.
    """
    costs = []
    for layer in model.layers:
        x = spikes[layer.inputs[0]]
        if len(x) % config.cores:
            raise ValueError(f"layer '{layer.name}': {len(x)} time steps on {config.cores} cores; they must be a multiple")
        for part in passes.layer_passes(model, layer, tensors, config):
            if part.opcode == Opcode.HAMMING:
                first = part.fields["k_src"] * config.word + part.fields["mask_low"]
                keys = spikes[layer.inputs[1]][..., first:first + part.fields["width"]]
                costs.append(Cost(layer.name, part.opcode, hamming_cycles(config, part.fields, keys, datapath), 0))
                continue
            fields = {"mask_low": 0, "lanewise": 0, **part.fields}
            first = _first_word(layer, fields)
            walk, rows = linear_walk(config, fields, x, first, datapath)
            costs.append(Cost(layer.name, part.opcode, cycles(walk, config.queue_depth), rows * part.sop[0] / part.sop[1]))
    return costs


def clip_cycles(model: Model, config: Config, costs: list[Cost], datapath: Datapath = TODAY) -> int:
    """Cycles of all descriptors of a clip and of the input's way into the scratchpad; the first weights' way is not counted.

    With ``skip_silent``, head h is counted while q, k and v of the heads after it are made and the head before it is
    applied; what is longer than that is waited for.
    """
    source = Layouts(model, config).spikes(INPUT)
    total = source.bank_words * config.cores * config.word // config.axi_bits + sum(x.cycles for x in costs)
    if not datapath.skip_silent:
        return total
    makers = {x.spike_out: x.name for x in model.layers}
    for layer in model.layers:
        if layer.op != SDHA:
            continue
        counting = [x.cycles for x in costs if x.layer == layer.name and x.opcode == Opcode.HAMMING]
        q, k, v, applying = (
            sum(x.cycles for x in costs if x.layer == name and x.opcode == Opcode.LINEAR)
            for name in (*(makers[x] for x in layer.inputs), layer.name))
        rest = len(counting) - 1
        total -= min(sum(counting), q + (k + v + applying) * rest // len(counting))
    return total


def _first_word(layer: Layer, fields: Mapping[str, int]) -> int:
    """Word of the tensor that a LINEAR descriptor reads first; only attention starts elsewhere than at word 0."""
    return fields["origin"] if layer.op == SDHA else 0


def hamming_cycles(config: Config, fields: Mapping[str, int], keys: Array, datapath: Datapath = TODAY) -> int:
    """Cycles of a HAMMING descriptor (the states of hw/hamming.py, one by one).

    Parameters
    ----------
    config : Config
        The machine.
    fields : mapping
        The descriptor.
    keys : [T, H, W, width] of 0 or 1
        K of its heads.
    datapath : Datapath
        Whether K channels without a spike in a block are skipped.
    """
    width, loads = fields["width"], config.ham_tokens // config.cores
    words, groups = -(-width // config.word), width // config.lanes
    groups_per_word = min(width, config.word) // config.lanes
    blocks = -(-fields["bank_tokens"] // loads)
    if datapath.skip_silent:
        tokens = keys.transpose(1, 2, 0, 3).reshape(-1, width)  # of a position all its time steps
        tokens = np.pad(tokens, ((0, -len(tokens) % config.ham_tokens), (0, 0)))
        counted = int(tokens.reshape(-1, config.ham_tokens, width).any(1).sum()) + blocks  # and the row of ones, once
    else:
        counted = blocks * (width + 1)
    load = words * words * blocks * (2 + 2 * loads)
    count = counted * words * groups_per_word
    write = groups * (2 + width * (fields["slices"] + 2) + 3 * config.beats)
    return 1 + load + count + 4 + write + 1


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


def linear_walk(config: Config, d: Mapping[str, int], x: Array, first_word: int, datapath: Datapath) -> tuple[Walk, int]:
    """The walk of a LINEAR descriptor over a tensor, and the rows (or, lanewise, lanes) that it adds.

    Parameters
    ----------
    config : Config
        The machine.
    d : mapping
        The descriptor's fields.
    x : [T, H, W, C]
        The tensor it reads.
    first_word : int
        Word of a position and time step that is read first.
    datapath : Datapath
        The design.
    """
    c, steps, planes, issue = config, d["steps"], d["planes"], config.issue
    order = passes_of(d["slices"], planes)
    groups, words, lanewise = d["groups"], d["words"], bool(d["lanewise"])
    padded = np.pad(x, ((0, 0), (0, 0), (0, 0), (0, d["plane_stride"] * c.word - x.shape[3])))
    channels = padded.reshape(steps, c.cores, *x.shape[1:3], -1)
    margin = (d["padding"], d["padding"] + max(d["kernel_h"], d["kernel_w"]) + d["stride"])
    channels = np.pad(channels, ((0, 0), (0, 0), margin, margin, (0, 0)))
    planes_of = np.stack([channels >> p & 1 for p in range(planes)]).astype(np.uint8)  # [plane, step, core, y, x, channel]
    shares: Array
    if lanewise:  # [..., group, 1]: one row, gated by the lanes' bits
        bits = planes_of.reshape(*planes_of.shape[:-1], -1, c.lanes)[..., d["first_group"]:d["first_group"] + groups, :]
        shares = bits.max(-1, keepdims=True)
    else:  # [..., word, slot]
        bits = planes_of.reshape(*planes_of.shape[:-1], -1, c.word)[..., first_word:first_word + words, :].copy()
        bits[..., 0, :d["mask_low"]] = 0
        bits[..., -1, d["mask_high"] + 1:] = 0
        shares = bits.reshape(*bits.shape[:-1], -1, issue).sum(-2, dtype=np.uint8)

    def at_tap(values: Array, ky: int, kx: int) -> Array:
        """[plane, step, core, position, ...] of the input under one tap."""
        rows = slice(ky, ky + d["out_h"] * d["stride"], d["stride"])
        columns = slice(kx, kx + d["out_w"] * d["stride"], d["stride"])
        seen = values[:, :, :, rows, columns]
        return seen.reshape(*seen.shape[:3], d["out_h"] * d["out_w"], *seen.shape[5:])

    together = min(datapath.taps if lanewise else datapath.fetch, issue)
    starts = range(0, d["kernel_w"], together)
    fetches = [(ky, kx, word) for ky in range(d["kernel_h"]) for kx in starts for word in range(words)]
    positions = d["out_h"] * d["out_w"]
    counts = np.zeros((positions, groups, steps, len(order), len(fetches), c.cores, issue), np.uint16)
    added = 0
    for n, (ky, first_kx, word) in enumerate(fetches):
        for kx in range(first_kx, min(first_kx + together, d["kernel_w"])):
            seen = at_tap(shares, ky, kx)
            tap = ky * d["kernel_w"] + kx
            if word == 0:
                added += int(at_tap(bits, ky, kx).sum(dtype=np.int64))
            for number, (exponent, slice_, _) in enumerate(order):
                plane = seen[exponent - 4 * slice_].transpose(2, 0, 1, 3, 4)  # [position, step, core, ...]
                if lanewise:
                    for group in range(groups):
                        slot = (tap + group * d["slice_words"] if together == 1 else kx) % issue
                        counts[:, group, :, number, n, :, slot] += plane[..., group, 0]
                else:
                    share = np.roll(plane[..., word, :], tap if datapath.rotate else 0, axis=-1)
                    counts[:, :, :, number, n] += share[:, None]
    rows = added if lanewise else added * groups * d["slices"]
    return _structure(c, d, counts, order, datapath), rows


def _structure(config: Config, d: Mapping[str, int], counts: NDArray[np.integer], order: list[tuple[int, int, int]],
               datapath: Datapath) -> Walk:
    """Put gaps, ends, shifts and beats to the counts [position, group, step, pass, fetch, core, slot]."""
    words = counts.shape[1:5]
    gap, search, shift = (np.zeros(words, np.int32) for _ in range(3))
    last, end = (np.zeros(words, bool) for _ in range(2))
    gap[:] = 1
    gap[..., 0] += datapath.pause
    gap[0, 0, 0, 0] += datapath.pause
    last[..., -1] = True
    end[:, :, -1, -1] = True
    for number, (before, after) in enumerate(pairwise(order)):
        if datapath.hand_off:
            end[:, :, number, -1] = True
        else:
            shift[:, :, number, -1] = before[0] - after[0]
        if datapath.pause:
            search[:, :, number, -1] = 1 + before[2]
    beats = np.full((*words, config.cores), config.beats)
    if d["integrate"]:
        beats[:, -1, -1, -1, -1] *= 2  # the sums of the last time step take two beats for one
    slots = min(datapath.sharing, config.issue)
    flat = counts.reshape(len(counts), -1, config.cores, config.issue // slots, slots)
    return Walk(flat, gap.ravel(), search.ravel(), last.ravel(), end.ravel(), shift.ravel(), beats.reshape(-1, config.cores))


def cycles(walk: Walk, queue_depth: int) -> int:
    """Cycles from the start of a LINEAR descriptor to its end."""
    positions, words = walk.bits.shape[:2]
    warm = -(-WARM // words)
    length = min(positions, 4 * warm)
    firsts = [0]
    if positions > length:
        firsts += [min(i, positions - length) for i in range(length - warm, positions - warm, length - warm)]
    taken = _walk_through(walk, np.array(firsts), length, queue_depth)
    total, share = int(taken[-1, 0]), length  # the first piece from its start; the others from where the one before ended
    for i, first in enumerate(firsts[1:], 1):
        total += int(taken[-1, i] - taken[share - first - 1, i])
        share = first + length
    return total + NEURON


def _walk_through(walk: Walk, firsts: NDArray[np.int_], length: int, depth: int) -> Times:
    """Cycle in which the last result of each position is taken, [position of a piece, piece]; the start is cycle 0.

    Times are [piece, core, accumulators, slot]. An accumulator that finds its last result still waiting stands still, with
    all of the pipeline before it; the last of these stops, as many as there are stages, are kept as (from, cycles).
    """
    pieces, (_, words, *sizes) = len(firsts), walk.bits.shape
    shape = (pieces, *sizes)
    finished, loaded = np.full(shape, NEVER, np.int32), np.full(shape, NEVER, np.int32)  # the slot's last entry
    held = np.full((*shape[:3], 1), NEVER, np.int32)  # no slot adds before
    stops = [(held, held * 0)] * SUM
    results = np.full(shape[:2], NEVER, np.int32)  # the core's last result is taken
    free = np.zeros(pieces, np.int32)  # the neuron unit
    loads = np.full(finished.size * depth, NEVER, np.int32)  # of the slot's last entries, by number modulo depth
    rings = (np.arange(finished.size) * depth).reshape(shape)
    number = np.zeros(shape, np.int64)
    recent = [(np.full(pieces, NEVER, np.int32), np.full(pieces, NEVER, np.int32))] * MARGIN  # fetched; room for more since
    fetched = np.zeros(pieces, np.int32)
    begun = fetched
    taken = np.zeros((length, pieces), np.int32)
    for position in range(length):
        for n in range(words):
            bits = walk.bits[firsts + position, n].astype(np.int32)
            last = bool(walk.last[n])

            # The walker: after the word before, with the next pass known, and as soon as every queue that it hears of has room.
            ready = fetched + walk.gap[n]
            if n == 0 or walk.last[n - 1]:
                begun = ready - 1
            if walk.search[n]:
                ready = np.maximum(ready, begun + walk.search[n])
            for then, room in recent:
                ready = np.where(then + QUEUE <= ready, np.maximum(ready, room), ready)
            fetched = ready

            # The decoders: one row a cycle, an entry after the other.
            load = np.maximum(np.maximum(loaded + 1, finished), (fetched + QUEUE)[:, None, None, None])
            begin = np.maximum(load + 1, held)
            finish = begin + np.maximum(bits, 1) - 1
            for stop, pause in stops:
                if (stop + pause > begin).any():
                    wait = np.where((begin >= stop) & (begin < stop + pause), stop + pause - begin, 0)
                    begin = begin + wait
                    finish = finish + wait + pause * ((begin < stop) & (finish + wait >= stop))
            queued = (bits > 0) | last
            loads[(rings + number % depth)[queued]] = load[queued]
            number += queued
            loaded, finished = np.where(queued, load, loaded), np.where(queued, finish, finished)
            recent = [*recent[1:], (fetched, loads[rings + (number - depth + MARGIN - 1) % depth].max((1, 2, 3)) + 2)]
            if not last:
                continue

            # The end of a pass: the slots of an accumulator meet; a shift holds them.
            met = finished.max(3, keepdims=True)
            finished = np.broadcast_to(met, shape)
            held, complete = met + 1 + walk.shift[n], met + SUM
            for stop, pause in stops:
                held = held + pause * ((met < stop) & (held > stop) & (walk.shift[n] > 0))
                complete = complete + pause * ((met < stop) & (complete >= stop))
            if not walk.end[n]:
                continue

            # The end of a result: once the one before has been taken it waits for the neuron unit, which takes the cores in turn.
            kept = np.maximum(complete, results[:, :, None, None] + 1)
            stops = [*stops[1:], (complete, kept - complete)]
            results = np.empty_like(results)
            for core, there in enumerate(kept.max((2, 3)).T + 1):
                results[:, core] = np.maximum(free, there) + walk.beats[n, core] - 1
                free = results[:, core] + 1
        taken[position] = free - 1
    return taken
