"""`hw.core.Core`, queues included, against its twin."""

from __future__ import annotations

import random
from collections import deque
from typing import Any

import cocotb

from golden.spec.config import Config
from hw.core import Core, Sums, sum_layout
from hw.walker import Walker, entry_layout
from sim.lib.clock import Bench, Port, Probe, Wire
from sim.lib.pack import join, pack, split, unpack
from sim.lib.runner import settings
from sim.lib.stream import Sink

Bundle = list[dict[str, int] | None]  # what one input word gives to the slots


class Words:
    """Sends as the walker does: a word comes `Walker.in_flight` - 1 cycles after that heard of ``room``, far a cycle late."""

    def __init__(self, dut: Any, config: Config, rate: float) -> None:
        self.layout, self.rate = entry_layout(config), rate
        self.room = Port(dut, "room")
        self.slots = [(Port(dut, f"entries_{i}_valid"), Port(dut, f"entries_{i}_payload")) for i in range(config.issue)]
        self.queue: deque[Bundle] = deque()
        self.stages: deque[Bundle] = deque([[None] * config.issue] * (Walker.in_flight(config) - 1 + config.far))

    def drive(self) -> None:
        """See `sim.lib.clock.Agent`."""
        nothing: Bundle = [None] * len(self.slots)
        go = self.queue and self.room.get() and random.random() < self.rate
        self.stages.append(self.queue.popleft() if go else nothing)
        for (valid, payload), entry in zip(self.slots, self.stages.popleft(), strict=True):
            valid.set(int(entry is not None))
            payload.set(pack(self.layout, entry) if entry is not None else 0)

    def sample(self) -> None:
        """See `sim.lib.clock.Agent`."""


class Weights:
    """The core's weight read ports; a bank that is not read keeps its last row, and is taken with probability ``busy``."""

    def __init__(self, dut: Any, config: Config, weights: list[list[int]], busy: float) -> None:
        self.config, self.weights, self.busy = config, weights, busy
        self.en, self.row, self.data, self.taken = (Port(dut, f"weights_{x}") for x in ("en", "row", "data", "taken"))
        self.rows = [0] * config.issue
        self.now = 0

    def drive(self) -> None:
        """See `sim.lib.clock.Agent`."""
        self.data.set(join(self.rows, self.config.row_bits))
        self.now = sum((random.random() < self.busy) << i for i in range(self.config.issue))
        self.taken.set(self.now)

    def sample(self) -> None:
        """See `sim.lib.clock.Agent`."""
        c = self.config
        en = self.en.get() & ~self.now
        if en:
            for i, row in enumerate(split(self.row.get(), (c.weight_rows - 1).bit_length(), c.issue)):
                if en >> i & 1:
                    self.rows[i] = self.weights[i][row]


class Results(Sink):
    """Takes what passes make as the collector does. Where all is far, ``ready`` answers a ``valid`` of an earlier cycle, and sums
    come with it; else they must stay for a cycle more, but in a lean machine.
    """

    def __init__(self, dut: Any, name: str, config: Config, rate: float) -> None:
        super().__init__(dut, name, rate)
        self.ahead, self.stay = config.far, not config.far and not config.lean
        self.seen, self.kept = False, 0

    def drive(self) -> None:
        """See `sim.lib.clock.Agent`."""
        self.ready.set(int((self.seen or not self.ahead) and random.random() < self.rate))

    def sample(self) -> None:
        """See `sim.lib.clock.Agent`."""
        before = len(self.items)
        if self.seen or not self.ahead:
            super().sample()
        if before > self.kept and self.stay:
            assert self.payload.get() == self.items[-1] and before == len(self.items), "sums went away as they were taken"
        self.kept = before
        self.seen = bool(self.valid.get()) and not (self.seen and self.ready.last)


def sums_of(payload: int, config: Config) -> Sums:
    """A payload of the core's stream."""
    fields = unpack(sum_layout(config), payload)
    lanes = split(fields["sums"], config.sum_bits, config.lanes * config.issue // config.sharing, signed=True)
    return Sums([lanes[i:i + config.lanes] for i in range(0, len(lanes), config.lanes)], fields["shift"], bool(fields["end"]))


def random_words(config: Config, results: int, lanewise: bool) -> list[Bundle]:
    """The words of some results."""
    words: list[Bundle] = []
    density = random.choice([0.02, 0.3, 0.9])
    for _ in range(results):
        passes = random.randint(1, 4)
        for number in range(passes):
            top = random.getrandbits(1)
            shift = random.choice([0, 1, 1, 4]) if number < passes - 1 else 0
            count = random.randint(1, 12)
            for i in range(count):
                last = i == count - 1
                width = config.lanes if lanewise else config.rows_per_word
                step = 1 if lanewise else config.rows_per_word
                row, slots = random.randrange(config.weight_rows // step) * step, config.taps if lanewise else config.issue
                bundle: Bundle = []
                for slot in range(config.issue):
                    bits = sum((random.random() < density) << b for b in range(width)) if slot < slots else 0
                    entry = {"row": row, "bits": bits, "top": top, "last": int(last), "shift": shift if last else 0,
                             "end": int(last and number == passes - 1)}
                    bundle.append(entry if bits or last else None)
                words.append(bundle)
    return words


@cocotb.test()
async def results_of_random_words(dut: Any) -> None:
    """Results and adds are the twin's, whatever the walker and the neuron unit do."""
    config, count, seed = settings()
    random.seed(seed)
    weights = [[random.getrandbits(config.row_bits) for _ in range(config.weight_rows)] for _ in range(config.issue)]
    adds = Probe(dut, "adds")
    bench = Bench(dut)
    await bench.reset()
    for number in range(count):
        lanewise = number % 3 == 2
        words = Words(dut, config, random.choice([1.0, 1.0, 0.3, 0.05]))
        sink = Results(dut, "result", config, random.choice([1.0, 0.5, 0.1, 0.01]))
        bench.agents = [Wire(dut, "lanewise", lanewise), words, Weights(dut, config, weights, random.choice([0.0, 0.3])), sink,
                        adds]
        bundles = random_words(config, 20, lanewise)
        words.queue.extend(bundles)
        slots = [[entry for x in bundles if (entry := x[i]) is not None] for i in range(config.issue)]
        expected = Core.model(config, slots, weights, lanewise)
        before = adds.total
        await bench.until(sink.reached(len(expected)), 200_000, "the last result")
        found = [sums_of(x, config) for x in sink.items]
        assert found == expected, f"case {number} (seed {seed}): results"
        for _ in range(20):
            await bench.tick()
        assert len(sink.items) == len(expected), "a result too many"
        entries = [x["bits"].bit_count() for slot in slots for x in slot]
        assert adds.total - before == sum(entries), f"case {number} (seed {seed}): adds"
