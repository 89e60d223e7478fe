"""`hw.linear.Linear` against NumPy: whole descriptors, every memory compared in full."""

from __future__ import annotations

import random
from typing import Any

import cocotb
import numpy as np

from hw.bus import descriptor_layout
from sim.bench import cases
from sim.bench.counts import Counts
from sim.lib.clock import Bench, Port, Probe, Wire
from sim.lib.memory import Memory, SpikeBanks
from sim.lib.pack import pack
from sim.lib.runner import settings


@cocotb.test()
async def whole_descriptors(dut: Any) -> None:
    """Spikes, residual values, logits, saturations and adds of random layers are NumPy's; one ``done`` each, after all writes."""
    config, count, seed = settings()
    rng = np.random.default_rng(seed)
    random.seed(seed)
    spikes = SpikeBanks(dut, config, write="write")
    params = Memory(dut, [], config.param_beat_bits, read="params")
    u = Memory(dut, [], config.u_beat_bits, read="u_read", write="u_write")
    start, descriptor = Wire(dut, "unit_start"), Wire(dut, "unit_descriptor")
    done, saturations, counts = Probe(dut, "unit_done"), Probe(dut, "saturations"), Counts(dut, config)
    weight = {x: Port(dut, f"weights_{x}") for x in ("en", "bank", "row", "data")}
    progress = Probe(dut, "unit_progress")
    bench = Bench(dut, [start, descriptor, spikes, params, u, done, saturations, counts, progress])
    weight["en"].set(0)
    await bench.reset()
    for number, case in enumerate(cases.linears(rng, config, count)):
        what = f"case {number} (seed {seed}): {case.name}"
        for bank in range(config.issue):
            first = case.values["weight_base"]
            for row in range(first, config.weight_rows if number < 2 else min(config.weight_rows, first + case.weight_rows)):
                await cocotb.triggers.FallingEdge(dut.clk)
                for name, value in (("en", 1), ("bank", bank), ("row", row), ("data", case.weights[bank][row])):
                    weight[name].set(value)
        await cocotb.triggers.FallingEdge(dut.clk)
        weight["en"].set(0)
        for _ in range(2):  # the second time at once after ``done``
            spikes.banks, params.words, u.words = [list(x) for x in case.banks], list(case.params), list(case.u)
            before = [done.total, counts.total["adds"], saturations.total, counts.total["results"]]
            descriptor.value = pack(descriptor_layout(), case.values)
            start.pulse()
            begin = bench.cycle
            progress.longest = 0
            await bench.tick()
            await bench.until(lambda: bool(done.value), 400_000, f"{what}: done")
            cycles = bench.cycle - begin
            assert u.words == case.u_after, f"{what}: residual memory, {_differences(u.words, case.u_after)}"
            for core in range(config.cores):
                assert spikes.banks[core] == case.banks_after[core], (
                    f"{what}: spike bank {core}, {_differences(spikes.banks[core], case.banks_after[core])}")
            after = [done.total, counts.total["adds"], saturations.total, counts.total["results"]]
            found = [b - a for a, b in zip(before, after, strict=True)]
            expected = [1, case.adds, case.saturations, case.results]
            assert found == expected, f"{what}: done, adds, saturations, results are {found}, not {expected}"
            assert progress.longest < 64, f"{what}: no progress for {progress.longest} cycles"
            if cycles > 3000:
                break
        descriptor.value = random.getrandbits(descriptor_layout().size)
        for _ in range(12):
            await bench.tick()
        assert done.total - before[0] == 1, f"{what}: done again"
        assert u.words == case.u_after and spikes.banks == case.banks_after, f"{what}: writes after done"
        dut._log.info(f"{what}: {cycles} cycles")


def _differences(found: list[int], expected: list[int]) -> str:
    """The first words that differ."""
    wrong = [i for i, (a, b) in enumerate(zip(found, expected, strict=True)) if a != b]
    return f"{len(wrong)} words differ: " + "; ".join(f"[{i}] {found[i]:#x}, not {expected[i]:#x}" for i in wrong[:4])
