"""`hw.array.Array` against its twin: results under back-pressure."""

from __future__ import annotations

import random
from typing import Any

import cocotb
import numpy as np
from cocotb.triggers import FallingEdge

from hw.array import Array
from hw.bus import descriptor_layout
from sim.bench import cases
from sim.bench.core_bench import Results, sums_of
from sim.bench.counts import Counts
from sim.lib.clock import Bench, Port, Wire
from sim.lib.memory import SpikeBanks
from sim.lib.pack import pack
from sim.lib.runner import settings


@cocotb.test()
async def results_of_random_descriptors(dut: Any) -> None:
    """Every core's results are the twin's, in order, whenever the neuron unit takes them."""
    config, count, seed = settings()
    rng = np.random.default_rng(seed)
    random.seed(seed)
    spikes, counts = SpikeBanks(dut, config), Counts(dut, config)
    start, descriptor = Wire(dut, "start"), Wire(dut, "descriptor")
    write = {x: Port(dut, f"write_{x}") for x in ("en", "parts", "bank", "row", "data")}
    write["en"].set(0)
    write["parts"].set((1 << config.lanes // config.ham_lanes) - 1)
    bench = Bench(dut)
    await bench.reset()
    for number, case in enumerate(cases.linears(rng, config, count)):
        first = case.values["weight_base"]
        for bank in range(config.issue):
            for row in range(first, min(config.weight_rows, first + case.weight_rows)):
                await FallingEdge(dut.clk)
                for name, value in (("en", 1), ("bank", bank), ("row", row), ("data", case.weights[bank][row])):
                    write[name].set(value)
        await FallingEdge(dut.clk)
        write["en"].set(0)
        rate = random.choice([1.0, 0.2, 0.02])
        sinks = [Results(dut, f"results_{i}", config, rate) for i in range(config.cores)]
        bench.agents = [start, descriptor, spikes, counts, *sinks]
        spikes.banks = case.banks
        descriptor.value = pack(descriptor_layout(), case.values)
        expected = Array.model(config, case.values, case.banks, case.weights)
        before = counts.total["adds"]
        start.pulse()
        what = f"case {number} (seed {seed}): {case.name}"
        for sink, wanted in zip(sinks, expected, strict=True):
            await bench.until(sink.reached(len(wanted)), 400_000, f"{what}: the last result")
        for _ in range(20):
            await bench.tick()
        for i, (sink, wanted) in enumerate(zip(sinks, expected, strict=True)):
            found = [sums_of(x, config) for x in sink.items]
            assert found == wanted, f"{what}: core {i}"
        assert counts.total["adds"] - before == case.adds, f"{what}: adds"
