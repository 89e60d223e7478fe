"""`hw.walker.Walker` against its twin."""

from __future__ import annotations

import random
from typing import Any

import cocotb
import numpy as np

from golden.spec.config import Config
from hw.bus import descriptor_layout
from hw.taps import Taps
from hw.walker import Walker, entry_layout
from sim.bench import cases
from sim.lib.clock import Bench, Port, Probe, Wire
from sim.lib.memory import SpikeBanks
from sim.lib.pack import pack, unpack
from sim.lib.runner import settings


class Entries:
    """Gives room at random, notes every entry, and checks that few enough follow once there is no room."""

    def __init__(self, dut: Any, config: Config, lanewise: int, rate: float) -> None:
        self.layout, self.rate, self.in_flight = entry_layout(config), rate, Walker.in_flight(config)
        self.share = (1 << (config.lanes if lanewise else config.rows_per_word)) - 1
        self.room = Port(dut, "room")
        self.ports = [[(Port(dut, f"entries_{i}_{j}_valid"), Port(dut, f"entries_{i}_{j}_payload")) for j in range(config.issue)]
                      for i in range(config.cores)]
        self.entries: list[list[list[dict[str, int]]]] = [[[] for _ in range(config.issue)] for _ in range(config.cores)]
        self.late = [[0] * config.issue for _ in range(config.cores)]

    def drive(self) -> None:
        """See `sim.lib.clock.Agent`."""
        # in runs, so that both long pauses and full speed occur
        if self.room.last is None or random.random() < 0.2:
            self.room.set(int(random.random() < self.rate))

    def sample(self) -> None:
        """See `sim.lib.clock.Agent`."""
        for i, core in enumerate(self.ports):
            for j, (valid, payload) in enumerate(core):
                if self.room.last:
                    self.late[i][j] = 0
                if valid.get():
                    entry = unpack(self.layout, payload.get())
                    if not entry["last"]:
                        entry["shift"] = entry["end"] = 0  # they say nothing there
                    entry["bits"] &= self.share  # nor do bits beyond it
                    entry["row"] *= entry["bits"] > 0
                    self.entries[i][j].append(entry)
                    self.late[i][j] += not self.room.last
                    assert self.late[i][j] < self.in_flight, "too many entries without room"


@cocotb.test()
async def entries_of_random_descriptors(dut: Any) -> None:
    """The entries of each slot are the twin's, in order; without pauses a word a cycle and two cycles a pass."""
    config, count, seed = settings()
    rng = np.random.default_rng(seed)
    random.seed(seed)
    spikes, fetched, blocked = SpikeBanks(dut, config), Probe(dut, "fetched"), Probe(dut, "blocked")
    start, descriptor = Wire(dut, "start"), Wire(dut, "descriptor")
    bench = Bench(dut)
    await bench.reset()
    for number, case in enumerate(cases.linears(rng, config, count)):
        rate = random.choice([1.0, 1.0, 0.6, 0.1])
        entries = Entries(dut, config, case.values["lanewise"], rate)
        bench.agents = [start, descriptor, spikes, entries, fetched, blocked]
        spikes.banks = case.banks
        d = case.values
        descriptor.value = pack(descriptor_layout(), d)
        expected = Walker.model(config, d, case.banks)
        words = d["out_h"] * d["out_w"] * d["groups"] * d["steps"] * d["planes"] * d["slices"]
        passes, words = words, words * len(Taps.model(config, d)) * d["words"]
        start.pulse()
        before, begin, stopped = fetched.total, bench.cycle, blocked.total
        await bench.until(fetched.reached(before + words), 100 * words + 1000, f"case {number}: the last word")
        cycles = bench.cycle - begin - (blocked.total - stopped)
        for _ in range(20):
            await bench.tick()
        what = f"case {number} (seed {seed}): {case.name}"
        assert fetched.total == before + words, f"{what}: words after the end"
        for i in range(config.cores):
            for j in range(config.issue):
                found, wanted = entries.entries[i][j], expected[i][j]
                wrong = next((n for n, pair in enumerate(zip(found, wanted, strict=False)) if pair[0] != pair[1]), None)
                assert wrong is None, f"{what}: core {i} slot {j} entry {wrong}: {found[wrong]}, not {wanted[wrong]}"
                assert len(found) == len(wanted), f"{what}: core {i} slot {j}: {len(found)} entries, not {len(wanted)}"
        if rate == 1.0 and d["slices"] == 1 and not config.lean:  # of which nothing is fast
            most = words + passes + d["out_h"] * d["out_w"] + 4
            if words == passes:  # the search for the next pass takes longer than a word
                most += passes // d["planes"] * (d["planes"] - 1)
            assert cycles <= most, f"{what}: {cycles} cycles, not {most}, for {words} words in {passes} passes"
