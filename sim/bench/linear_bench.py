"""`hw.linear.Linear` against NumPy: whole descriptors, every memory compared in full."""

from __future__ import annotations

import random
from typing import Any

import cocotb
import numpy as np

from golden.spec.config import Config
from golden.spec.descriptor import taps_at_once
from hw.bus import descriptor_layout
from sim.bench import cases
from sim.bench.counts import Counts
from sim.lib.clock import Bench, Port, Probe, Wire
from sim.lib.memory import Memory, SpikeBanks
from sim.lib.pack import pack
from sim.lib.runner import settings
from sw.cycles import cycles, drain, linear_walk


async def _load(dut: Any, config: Config, case: cases.Case, whole: bool) -> None:
    """Write the weights of a case, with what lies around them, if ``whole``, to the weight banks."""
    port = {x: Port(dut, f"weights_{x}") for x in ("en", "every", "parts", "bank", "row", "data")}
    every_part = (1 << config.lanes // config.ham_lanes) - 1
    first = case.values["weight_base"]
    for bank in range(config.issue):
        for row in range(first, config.weight_rows if whole else min(config.weight_rows, first + case.weight_rows)):
            await cocotb.triggers.FallingEdge(dut.clk)
            for name, value in (("en", 1), ("every", 0), ("parts", every_part), ("bank", bank), ("row", row),
                                ("data", case.weights[bank][row])):
                port[name].set(value)
    await cocotb.triggers.FallingEdge(dut.clk)
    port["en"].set(0)


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
    progress = Probe(dut, "unit_progress")
    bench = Bench(dut, [start, descriptor, spikes, params, u, done, saturations, counts, progress])
    Port(dut, "weights_en").set(0)
    await bench.reset()
    for number, case in enumerate(cases.linears(rng, config, count)):
        what = f"case {number} (seed {seed}): {case.name}"
        await _load(dut, config, case, whole=number < 2)
        for _ in range(2):  # the second time at once after ``done``
            spikes.banks, params.words, u.words = [list(x) for x in case.banks], list(case.params), list(case.u)
            before = [done.total, counts.total["adds"], saturations.total, counts.total["results"]]
            descriptor.value = pack(descriptor_layout(), case.values)
            start.pulse()
            begin = bench.cycle
            progress.longest = 0
            await bench.tick()
            await bench.until(lambda: bool(done.value), 400_000, f"{what}: done")
            taken = bench.cycle - begin
            assert u.words == case.u_after, f"{what}: residual memory, {_differences(u.words, case.u_after)}"
            for core in range(config.cores):
                assert spikes.banks[core] == case.banks_after[core], (
                    f"{what}: spike bank {core}, {_differences(spikes.banks[core], case.banks_after[core])}")
            after = [done.total, counts.total["adds"], saturations.total, counts.total["results"]]
            found = [b - a for a, b in zip(before, after, strict=True)]
            expected = [1, case.adds, case.saturations, case.results]
            assert found == expected, f"{what}: done, adds, saturations, results are {found}, not {expected}"
            assert progress.longest < 64, f"{what}: no progress for {progress.longest} cycles"
            if taken > 3000:
                break
        descriptor.value = random.getrandbits(descriptor_layout().size)
        for _ in range(12):
            await bench.tick()
        assert done.total - before[0] == 1, f"{what}: done again"
        assert u.words == case.u_after and spikes.banks == case.banks_after, f"{what}: writes after done"
        dut._log.info(f"{what}: {taken} cycles")


@cocotb.test()
async def cycles_of_depthwise_descriptors(dut: Any) -> None:
    """They are those of the cycle model, and, taps read together, few: of what walker and neuron unit take, the larger."""
    config, count, seed = settings()
    if config.lean:
        return  # whose neurons take their time, which the model does not know
    rng = np.random.default_rng(seed)
    spikes = SpikeBanks(dut, config, write="write")
    params = Memory(dut, [], config.param_beat_bits, read="params")
    u = Memory(dut, [], config.u_beat_bits, read="u_read", write="u_write")
    start, descriptor, done = Wire(dut, "unit_start"), Wire(dut, "unit_descriptor"), Probe(dut, "unit_done")
    bench = Bench(dut, [start, descriptor, spikes, params, u, done])
    Port(dut, "weights_en").set(0)
    await bench.reset()
    for number in range(max(count // 4, 1)):
        case = cases.linear(rng, config, str(rng.choice(["depthwise3", "depthwise5", "depthwise"])))
        what, d = f"case {number} (seed {seed}): {case.name}", case.values
        await _load(dut, config, case, whole=False)
        spikes.banks, params.words, u.words = [list(x) for x in case.banks], case.params, list(case.u)
        bits = np.array([[[word >> b & 1 for b in range(config.word)] for word in bank] for bank in case.banks], np.uint8)
        expected = cycles(linear_walk(config, d, bits), config.queue_depth) + drain(config)
        descriptor.value = pack(descriptor_layout(), d)
        start.pulse()
        begin = bench.cycle
        await bench.tick()
        await bench.until(lambda: bool(done.value), 400_000, f"{what}: done")
        found = bench.cycle - begin
        assert abs(found - expected) <= 3 + expected // 50, f"{what}: {found} cycles, not {expected}"
        if config.any_neuron or d["out_planes"] > 1 or d["planes"] > 1 or d["slices"] > 1:
            continue
        fetches = -(-d["kernel_h"] * d["kernel_w"] // taps_at_once(d, config))
        places, passes = d["out_h"] * d["out_w"], d["groups"] * d["steps"]
        most = places * (passes * max(fetches + 1, config.cores * config.beats) + 1) + 30 + 2 * config.far
        assert found <= most, f"{what}: {found} cycles, not {most}"


def _differences(found: list[int], expected: list[int]) -> str:
    """The first words that differ."""
    wrong = [i for i, (a, b) in enumerate(zip(found, expected, strict=True)) if a != b]
    return f"{len(wrong)} words differ: " + "; ".join(f"[{i}] {found[i]:#x}, not {expected[i]:#x}" for i in wrong[:4])
