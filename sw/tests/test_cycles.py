"""The cycle model against a machine that is stepped cycle by cycle, and against bounds and counts that need no machine."""

from collections import deque
from dataclasses import dataclass, field, replace

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from golden.integer import network
from golden.spec.config import MICRO, SMALL
from golden.spec.descriptor import Opcode
from sw.cycles import MARGIN, NEURON, NEXT, QUEUE, SUM, TODAY, Walk, clip_cycles, cycles, hamming_cycles, passes_of, predict


@dataclass
class Slot:
    """A queue and its decoder."""

    queue: deque = field(default_factory=deque)  # (written, bits, word)
    popped: list = field(default_factory=list)
    word: int = -1  # of the entry in the decoder, -1 for none
    bits: int = 0

    def level(self, t):
        return sum(written < t for written, *_ in self.queue) + (bool(self.popped) and self.popped[-1] == t)


@dataclass
class Accumulators:
    """Slots that share accumulators, and the pipeline behind them."""

    slots: list
    shifting: int = 0
    ends: tuple = (False,) * SUM
    valid: bool = False


def step_by_step(walk, depth):
    """Cycles of a LINEAR descriptor by simulating what hw/walker.py, decoder.py, core.py and neuron.py do in each of them."""
    positions, words, cores, groups, slots = walk.bits.shape
    machine = [[Accumulators([Slot() for _ in range(slots)]) for _ in range(groups)] for _ in range(cores)]
    every = [slot for core in machine for group in core for slot in group.slots]
    at, previous, begun, full = 0, 0, 0, False
    core = beat = result = 0
    ends = [n for n in range(words) if walk.end[n]]
    for t in range(1, 100_000):
        # walker
        if at < positions * words:
            n = at % words
            if n == 0 or walk.last[n - 1]:
                begun = previous + walk.gap[n] - 1
            if t >= previous + walk.gap[n] and (not walk.search[n] or t >= begun + walk.search[n]) and not full:
                for slot, bits in zip(every, walk.bits[at // words, n].reshape(-1), strict=True):
                    if bits or walk.last[n]:
                        slot.queue.append((t + QUEUE - 2, int(bits), n))
                at, previous = at + 1, t
        full = any(slot.level(t) > depth - MARGIN for slot in every)  # known one cycle later
        # neuron unit
        taken = -1
        if all(group.valid for group in machine[core]):
            beat += 1
            if beat == walk.beats[ends[result % len(ends)], core]:
                taken, beat = core, 0
                core = (core + 1) % cores
                result += core == 0
        # cores
        for number, group in ((i, group) for i, core_ in enumerate(machine) for group in core_):
            complete = group.ends[-1]
            stall = complete and group.valid
            hold = group.shifting > 0 or stall
            exhausted = [slot.word >= 0 and slot.bits <= 1 and not hold for slot in group.slots]
            release = all(done and walk.last[slot.word] for done, slot in zip(exhausted, group.slots, strict=True))
            word = group.slots[0].word
            for done, slot in zip(exhausted, group.slots, strict=True):
                ready = slot.word < 0 or (done and (not walk.last[slot.word] or release))
                if ready:
                    slot.word = -1
                elif not hold and slot.bits:
                    slot.bits -= 1
                if ready and slot.queue and slot.queue[0][0] + 2 <= t:
                    _, slot.bits, slot.word = slot.queue.popleft()
                    slot.popped.append(t)
            if not stall:
                group.ends = (release and bool(walk.end[word]), *group.ends[:-1])
                group.shifting = int(walk.shift[word]) if release else max(group.shifting - 1, 0)
            if taken == number:
                group.valid = False
            if complete and not stall:
                group.valid = True
        if result == positions * len(ends):
            return t + NEURON
    raise AssertionError("the machine stands still")


@st.composite
def walks(draw):
    """Walks of a few positions: empty, sparse and full words, short and long passes, slow and fast neuron units."""
    rng = np.random.default_rng(draw(st.integers(0, 1 << 32)))
    cores, groups, slots = (draw(st.sampled_from(sizes)) for sizes in ((1, 2, 4), (1, 2), (1, 2, 4)))
    per_pass, passes, results = draw(st.integers(1, 6)), draw(st.integers(1, 3)), draw(st.integers(1, 3))
    words = per_pass * passes * results
    density = draw(st.sampled_from((0.0, 0.3, 1.0, 3.0)))
    place = np.arange(words) % (per_pass * passes)
    last, end = place % per_pass == per_pass - 1, place == per_pass * passes - 1
    begins = np.roll(last, 1)
    pause = draw(st.integers(0, 1))
    return Walk(
        bits=rng.poisson(density, (draw(st.integers(1, 4)), words, cores, groups, slots)),
        gap=1 + pause * (begins + (np.arange(words) == 0)), search=np.where(last & ~end, draw(st.integers(0, 4)), 0),
        last=last, end=end, shift=np.where(last & ~end, draw(st.integers(0, 4)), 0),
        beats=np.full((words, cores), draw(st.sampled_from((1, 2, 5)))))


@settings(max_examples=60, deadline=None)
@given(walks(), st.sampled_from((8, 16)))
def test_every_cycle(walk, depth):
    whole = replace(walk, bits=walk.bits[:1])  # one piece: no share begins in the middle
    assert cycles(whole, depth) == step_by_step(whole, depth)
    assert cycles(walk, depth) == pytest.approx(step_by_step(walk, depth), rel=0.02, abs=2)


def test_pieces_add_up():
    last = np.arange(8) % 4 == 3
    none = np.zeros(8, int)
    bits = np.random.default_rng(3).poisson(1.5, (300, 8, 2, 1, 2))
    walk = Walk(bits=bits, gap=none + 1, search=none, last=last, end=last, shift=none, beats=np.full((8, 2), 2))
    assert cycles(walk, 16) == pytest.approx(step_by_step(walk, 16), rel=0.002)


@pytest.mark.parametrize("config", [SMALL, MICRO])
@pytest.mark.parametrize("datapath", [TODAY, NEXT])
def test_operations_and_bounds(tiny, clip, config, datapath):
    counts: dict[str, network.Count] = {}
    known = network.run(tiny.model, tiny.tensors, clip, counts)
    costs = predict(tiny.model, tiny.tensors, config, known, datapath)
    for layer in tiny.model.layers:
        mine = [x for x in costs if x.layer == layer.name and x.opcode == Opcode.LINEAR]
        assert sum(x.sops for x in mine) == counts[layer.name].sop
        assert sum(x.cycles for x in mine) * config.peak_sop > counts[layer.name].sop
    total, load = sum(x.cycles for x in costs), 4 * 4 * 4 * 8  # words of the input, one a cycle
    hidden = sum(x.cycles for x in costs if x.opcode == Opcode.HAMMING) if datapath is NEXT else 0  # q takes longer
    assert clip_cycles(tiny.model, config, costs, datapath) == total + load - hidden


def test_search_of_the_next_pass():
    assert passes_of(1, 1) == [(0, 0, 0)]
    assert passes_of(3, 1) == [(8, 2, 1), (4, 1, 1), (0, 0, 0)]
    assert [x[:2] for x in passes_of(2, 8)][:5] == [(11, 1), (10, 1), (9, 1), (8, 1), (7, 0)]
    assert [x[2] for x in passes_of(2, 8)][:4] == [2, 2, 2, 1]  # slice 0 is tried in vain while the exponent is above its planes


def test_silent_keys_are_skipped():
    fields = {"width": 16, "bank_tokens": 32, "slices": 3}
    silent = np.zeros((4, 4, 4, 16), np.uint8)
    loud = silent + 1
    all_of_them = hamming_cycles(SMALL, fields, silent)
    assert hamming_cycles(SMALL, fields, loud, NEXT) == all_of_them
    assert all_of_them - hamming_cycles(SMALL, fields, silent, NEXT) == 64 // SMALL.ham_tokens * 16


def test_time_steps_must_be_shared_evenly(tiny, clip):
    known = network.run(tiny.model, tiny.tensors, clip)
    with pytest.raises(ValueError, match="'stem': 4 time steps on 8 cores"):
        predict(tiny.model, tiny.tensors, replace(SMALL, cores=8), known)
