"""The cycle model against a machine that is stepped cycle by cycle, and against bounds and counts that need no machine."""

from collections import deque
from dataclasses import dataclass, field, replace

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from golden.integer import network
from golden.spec.config import BASE, MICRO, SMALL
from sw.compiler import compile_model
from sw.cycles import MARGIN, QUEUE, SUM, Memory, TimedDevice, Walk, cycles, linear_walk, passes_of, predict
from sw.overlap import hamming_cycles

#: Fields of a LINEAR descriptor that reads one word in one place.
ONE = dict.fromkeys(("out_h", "out_w", "in_h", "in_w", "kernel_h", "kernel_w", "stride", "groups", "steps", "words", "planes",
                     "slices", "slice_words"), 1)
NONE = dict.fromkeys(("padding", "padding_y", "origin", "x_stride", "y_stride", "ox_stride", "oy_stride", "step_stride",
                      "plane_stride", "mask_low", "first_group", "lanewise", "shared_taps", "pass_words", "integrate", "fire",
                      "soft", "leak"), 0)


@dataclass
class Slot:
    """A queue and its decoder."""

    queue: deque = field(default_factory=deque)  # (written, bits, hand)
    popped: list = field(default_factory=list)
    entry: tuple = ()  # in the decoder
    bits: int = 0
    waiting: int = 0  # a row of weights is to be written through its port, in this cycle at the latest
    now: bool = False  # it is written

    def level(self, t, far):
        # where all is far, an entry counts before it is written, and for a cycle after it has left
        return sum(written - far < t for written, *_ in self.queue) + sum(t - x <= far for x in self.popped[-2:])


@dataclass
class Group:
    """Slots that share accumulators, and the pipeline behind them."""

    slots: list
    ends: tuple
    valid: bool = False


def step_by_step(walk, depth, period=0, wait=0):
    """Cycle of the last beat by simulating what hw/walker.py, decoder.py, core.py and collector.py do in each of them, and with
    ``period``, the cycles from one row that comes to a weight bank to the next, of which it may ``wait``, hw/weight_banks.py.
    """
    positions, words, cores, groups, slots = walk.bits.shape
    machine = [[Group([Slot() for _ in range(slots)], (False,) * walk.sum) for _ in range(groups)] for _ in range(cores)]
    every = [slot for core in machine for group in core for slot in group.slots]
    at, previous, begun, full = 0, 0, 0, False
    core = beat = taking = resting = 0
    blocked, freed = [0] * cores, -1
    hands = np.flatnonzero(walk.hand)
    for t in range(1, 100_000):
        # walker
        if at < positions * words:
            n = at % words
            if walk.gap[n] > 1:
                begun = previous + walk.gap[n] - 1
            if t >= previous + walk.gap[n] and (not walk.search[n] or t >= begun + walk.search[n]) and not full:
                for slot, bits in zip(every, walk.bits[at // words, n].reshape(-1), strict=True):
                    if bits or walk.hand[n]:
                        slot.queue.append((t + QUEUE + 2 * walk.far - 1, int(bits), bool(walk.hand[n])))
                at, previous = at + 1, t
        full = any(slot.level(t, walk.far) > depth - MARGIN - walk.far for slot in every)  # known a cycle later
        # collector; a core hears a cycle late that its sums were taken
        heard, freed = freed if walk.far else -1, -1
        n = hands[taking % len(hands)]
        if resting:
            resting -= 1
        elif beat or (all(group.valid for group in machine[core]) and t >= blocked[core] and core != heard):
            beat += 1
            if beat == walk.beats[n, core]:
                freed, beat, resting, blocked[core] = core, 0, walk.rest[n, core], t + walk.write[n]
                core = (core + 1) % cores
                taking += core == 0
        # cores
        for number, group in ((i, group) for i, groups_ in enumerate(machine) for group in groups_):
            complete = group.ends[-1]
            stall = complete and group.valid
            held = [slot.now and slot.bits > 0 and not stall for slot in group.slots]
            for slot in group.slots:
                if period and number % 2 == 0 and (t + wait) % period == 0:
                    slot.waiting = t + wait
                elif slot.now:
                    slot.waiting = 0
                slot.now = slot.waiting and (slot.waiting == t + 1 or slot.bits == 0 or stall)
            exhausted = [slot.entry != () and slot.bits <= 1 and not stall and not hold
                         for slot, hold in zip(group.slots, held, strict=True)]
            release = all(done and slot.entry[2] for done, slot in zip(exhausted, group.slots, strict=True))
            for done, hold, slot in zip(exhausted, held, group.slots, strict=True):
                ready = slot.entry == () or (done and (not slot.entry[2] or release))
                if ready:
                    slot.entry = ()
                elif not stall and not hold and slot.bits:
                    slot.bits -= 1
                if ready and slot.queue and slot.queue[0][0] < t:
                    slot.entry = slot.queue.popleft()
                    slot.bits = slot.entry[1]
                    slot.popped.append(t)
            if not stall:
                group.ends = (release, *group.ends[:-1])
            if number == (heard if walk.far else freed):
                group.valid = False
            if complete and not stall:
                group.valid = True
        if taking == positions * len(hands):
            return t
    raise AssertionError("the machine stands still")


@st.composite
def walks(draw):
    """Walks of a few positions: empty, sparse and full words, short and long passes in parts, slow and fast collectors."""
    rng = np.random.default_rng(draw(st.integers(0, 1 << 32)))
    cores, groups, slots = (draw(st.sampled_from(sizes)) for sizes in ((1, 2, 4), (1, 2), (1, 2, 4)))
    per_pass, passes = draw(st.integers(1, 6)), draw(st.integers(1, 6))
    part = draw(st.integers(1, per_pass))
    words = per_pass * passes
    density = draw(st.sampled_from((0.0, 0.3, 1.0, 3.0)))
    place = np.arange(words) % per_pass
    last = place == per_pass - 1
    hand = last | (place % part == part - 1)
    return Walk(
        bits=rng.poisson(density, (draw(st.integers(1, 4)), words, cores, groups, slots)),
        gap=1 + (place == 0) + (np.arange(words) == 0), search=np.where(last, draw(st.integers(0, 4)), 0), hand=hand,
        beats=rng.integers(1, 2 + draw(st.integers(0, 4)), (words, cores)),
        rest=rng.integers(0, 1 + draw(st.integers(0, 3)), (words, cores)),
        write=rng.integers(1, 2 + draw(st.integers(0, 4)), words), sum=draw(st.sampled_from((SUM, SUM + 1))), far=int(cores > 1))


@settings(max_examples=60, deadline=None)
@given(walks(), st.sampled_from((8, 16)))
def test_every_cycle(walk, depth):
    whole = replace(walk, bits=walk.bits[:1])  # one piece: no share begins in the middle
    assert cycles(whole, depth) == step_by_step(whole, depth)
    assert cycles(walk, depth) == pytest.approx(step_by_step(walk, depth), rel=0.02, abs=2)


def test_pieces_add_up():
    place = np.arange(8) % 4
    none = np.zeros(8, int)
    bits = np.random.default_rng(3).poisson(1.5, (300, 8, 2, 1, 2))
    walk = Walk(bits=bits, gap=none + 1 + (place == 0), search=none, hand=place == 3, beats=np.full((8, 2), 2),
                rest=np.zeros((8, 2), int), write=none + 1)
    assert cycles(walk, 16) == pytest.approx(step_by_step(walk, 16), rel=0.002)


@pytest.mark.parametrize("density", [1.5, 6.0, 12.0])
@pytest.mark.parametrize("period,wait", [(2, 1), (4, 2), (4, 4), (16, 8)])
def test_rows_of_weights(density, period, wait):
    """Rows that come to the banks while a layer runs slow it down where it reads them all the time."""
    place = np.arange(8) % 4
    none = np.zeros(8, int)
    bits = np.random.default_rng(3).poisson(density, (40, 8, 2, 1, 2))
    walk = Walk(bits=bits, gap=none + 1 + (place == 0), search=none, hand=place == 3, beats=np.full((8, 2), 2),
                rest=np.zeros((8, 2), int), write=none + 1)
    plain, slower = cycles(walk, 16), cycles(walk, 16, period, wait)
    assert slower == pytest.approx(step_by_step(walk, 16, period, wait), rel=0.04)
    assert slower > plain if density * 4 > 2 * period else slower >= plain


@pytest.mark.parametrize("config", [SMALL, MICRO, replace(SMALL, sharing=1)])
def test_operations_and_bounds(tiny, clip, config):
    counts: dict[str, network.Count] = {}
    network.run(tiny.model, tiny.tensors, clip, counts)
    result = predict(compile_model(tiny, config), config, clip)
    for layer in tiny.model.layers:
        found = result.layers[layer.name]
        assert found.sops == counts[layer.name].sop
        assert found.cycles * config.peak_sop > counts[layer.name].sop
    assert result.layers["load"].cycles >= 4 * 4 * 4 * 8 * config.word // config.axi_bits + Memory().latency + 8  # the input
    assert result.cycles <= sum(x.cycles + x.wait for x in result.layers.values())


def test_waits(tiny, clip, monkeypatch):
    """Descriptor and images of the layer after a LOAD come between its bursts; others while a long layer runs."""
    monkeypatch.setattr(TimedDevice, "_written", lambda *_: None)  # when rows of weights come depends on the latency, too
    bundle = compile_model(tiny, SMALL)
    quick, slow, never = (predict(bundle, SMALL, clip, Memory(latency)).records for latency in (0, 20, 100_000))
    assert [x["cycles"] for x in quick[1:-1]] == [x["cycles"] for x in slow[1:-1]]  # of LINEAR and HAMMING
    assert slow[0]["wait"] == quick[0]["wait"] + 20 and slow[1]["wait"] == quick[1]["wait"]  # 64 beats of the LOAD take longer
    assert all(a["wait"] <= b["wait"] for a, b in zip(quick, slow, strict=True))
    assert all(b["wait"] < c["wait"] for b, c in zip(slow[2:], never[2:], strict=True))
    hidden = [i for i in range(2, len(slow)) if slow[i - 1]["cycles"] > 700]
    assert hidden and all(slow[i]["wait"] == 3 for i in hidden)


def test_rows_of_weights_never_help(tiny, clip, monkeypatch):
    """Shaken, a schedule may be a cycle shorter; that is no cycle less of a layer (a record overflowed once)."""
    bundle = compile_model(tiny, SMALL)
    monkeypatch.setattr("sw.cycles.cycles", lambda walk, depth, *period: cycles(walk, depth) - len(period))
    found = predict(bundle, SMALL, clip).records
    monkeypatch.setattr(TimedDevice, "_written", lambda *_: None)
    assert found == predict(bundle, SMALL, clip).records


def test_search_of_the_next_pass():
    assert passes_of(1, 1) == [(0, 0, 0)]
    assert passes_of(3, 1) == [(8, 2, 1), (4, 1, 1), (0, 0, 0)]
    assert [x[:2] for x in passes_of(2, 8)][:5] == [(11, 1), (10, 1), (9, 1), (8, 1), (7, 0)]
    assert [x[2] for x in passes_of(2, 8)][:4] == [2, 2, 2, 1]  # slice 0 is tried in vain while the exponent is above its planes


def walk_of(config, **fields):
    """The walk of a descriptor over banks in which bit b of address a is set where b <= a."""
    banks = np.arange(config.word) <= np.arange(8)[:, None]
    everywhere = np.stack([banks.astype(np.uint8)] * config.cores)
    return linear_walk(config, ONE | NONE | {"mask_high": config.word - 1} | fields, everywhere)


def test_slots_are_rotated_by_tap():
    taps = {"kernel_w": 2, "in_w": 2, "x_stride": 1, "slice_words": 2}
    walk = walk_of(SMALL, **taps)  # words of 1 and of 2 bits
    assert walk.bits[0, :, 0, 0].tolist() == [[1, 0], [1, 1]]
    assert walk_of(SMALL, **taps | {"x_stride": 2}).bits[0, :, 0, 0].tolist() == [[1, 0], [1, 2]]
    assert walk_of(SMALL, **taps | {"x_stride": 2}, shared_taps=1).bits[0, :, 0, 0].tolist() == [[1, 0], [2, 1]]


def test_masks_and_padding():
    walk = walk_of(SMALL, origin=7, mask_low=2, mask_high=4)
    assert walk.bits[0, 0, 0, 0].tolist() == [2, 1]
    assert walk_of(SMALL, in_w=0).bits.sum() == 0


def test_lanewise_taps_go_to_the_slots_of_their_memories():
    fields = {"lanewise": 1, "slices": 2, "kernel_w": 3, "in_w": 3, "slice_words": 3, "groups": 2, "first_group": 1}
    walk = walk_of(SMALL, **fields)
    assert walk.bits[0, :, 1, 0].tolist() == [[0, 0]] * 6 + [[1, 0]] * 6  # lanes 16 to 31 are silent; then the next word is read
    both = replace(SMALL, taps=2)
    assert walk_of(both, **fields).bits[0, 6:, 1, 0].tolist() == [[0, 1]] * 6  # of word 1, as long as x_stride is 0
    assert walk_of(both, **fields | {"x_stride": 1}).bits[0, 4:, 1, 0].tolist() == [[1, 1], [0, 1]] * 2  # of words 1, 2, 3


@pytest.mark.parametrize(("kernel", "fetches"), [((3, 3), 3), ((5, 5), 7), ((7, 7), 13), ((1, 2), 1), ((2, 2), 4)])
def test_taps_are_fetched_together_where_memories_allow(kernel, fetches):
    height, width = kernel
    fields = {"lanewise": 1, "kernel_h": height, "kernel_w": width, "slice_words": height * width, "in_h": 0, "x_stride": 5}
    assert walk_of(BASE, **fields, y_stride=width * 5 + 4).bits.shape[1] == fetches
    assert walk_of(BASE, **fields | {"x_stride": 4}, y_stride=width * 4).bits.shape[1] == height * width
    if height > 1:
        assert walk_of(BASE, **fields, y_stride=width * 5 + 1).bits.shape[1] == height * width


def test_sums_are_handed_over():
    assert walk_of(SMALL, words=5, slice_words=5, pass_words=2).hand.tolist() == [False, True, False, True, True]
    assert np.flatnonzero(walk_of(SMALL, kernel_w=100, words=3, slice_words=300).hand).tolist() == [255, 299]


def test_beats_of_the_collector():
    planes = walk_of(SMALL, planes=4)  # shifts by one
    assert planes.beats.tolist() == [[2, 2]] * 4 and not planes.rest.any() and planes.gap.tolist() == [3, 2, 2, 2]
    both = walk_of(SMALL, planes=2, slices=2)  # exponents 5, 4, 1, 0
    assert both.rest.tolist() == [[0, 0], [0, 2 * SMALL.cores * SMALL.beats], [0, 0], [0, 0]]
    assert walk_of(SMALL, slices=2).rest.tolist() == [[0, 0]] * 2  # a shift by 4
    fire = walk_of(SMALL, slices=2, fire=1, out_planes=3)
    assert fire.write.tolist() == [1, 3] and fire.beats.tolist() == [[2, 2], [4, 4]]
    assert walk_of(BASE, fire=1, out_planes=1).write.tolist() == [1]
    assert walk_of(SMALL, slices=2, leak=5).rest.tolist() == [[0, 0], [4, 4]]
    assert walk_of(SMALL, soft=1, levels=2).rest.tolist() == [[4, 4]]
    assert walk_of(SMALL, soft=1, levels=1, leak=8).rest.tolist() == [[0, 0]]
    assert walk_of(SMALL, steps=2, integrate=1).beats.tolist() == [[2, 2], [2, 4]]


def test_hamming():
    fields = {"width": 64, "bank_tokens": 32, "slices": 3}
    blocks = 32 * SMALL.cores // SMALL.ham_tokens
    count = blocks * 4 * (2 + 8) + blocks * (64 + 1) * 2 * 2
    assert hamming_cycles(SMALL, fields) == count + 4 * (4 + 64 * 5 + 2 * (1 + 8)) + 6
