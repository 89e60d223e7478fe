"""`hw.hamming.Hamming` against NumPy: weight rows, each written once, and parameters."""

from __future__ import annotations

import random
from typing import Any

import cocotb
import numpy as np

from golden.spec.config import Config
from hw.bus import descriptor_layout, hamming_waits
from hw.hamming import Hamming
from sim.bench import cases
from sim.bench.waits import Waits
from sim.lib.clock import Bench, Port, Probe, Wire
from sim.lib.memory import Memory, SpikeBanks
from sim.lib.pack import pack
from sim.lib.runner import settings


class Rows:
    """Takes the weight rows that are written; fails if a row comes twice, or if what is written was not said a cycle ahead."""

    def __init__(self, dut: Any, config: Config) -> None:
        self.bits = config.ham_lanes * config.w_bits
        self.ports = [Port(dut, f"weights_{x}") for x in ("en", "parts", "bank", "row", "data")]
        self.rows: dict[tuple[int, int], int] = {}
        self.parts: dict[tuple[int, int], int] = {}  #: of each row, that have come
        self.param, self.will_write, self.said = Port(dut, "param_write_en"), Port(dut, "will_write"), 0

    def drive(self) -> None:
        """See `sim.lib.clock.Agent`."""

    def sample(self) -> None:
        """See `sim.lib.clock.Agent`."""
        assert self.said == (self.ports[0].get() | self.param.get()), "what is written was not said a cycle ahead"
        self.said = self.will_write.get()
        if self.ports[0].get():
            _, parts, bank, row, data = (x.get() for x in self.ports)
            assert not self.parts.get((bank, row), 0) & parts, f"row {row} of bank {bank} is written twice"
            self.parts[bank, row] = self.parts.get((bank, row), 0) | parts
            mask = sum(((1 << self.bits) - 1) << i * self.bits for i in range(parts.bit_length()) if parts >> i & 1)
            self.rows[bank, row] = self.rows.get((bank, row), 0) | data & mask


@cocotb.test()
async def whole_descriptors(dut: Any) -> None:
    """The weights and biases of random heads are NumPy's, and their twin's."""
    config, count, seed = settings()
    rng = np.random.default_rng(seed)
    random.seed(seed)
    spikes = SpikeBanks(dut, config)
    params = Memory(dut, [], config.param_beat_bits, read="params", write="param_write", part_bits=config.axi_bits)
    rows = Rows(dut, config)
    start, descriptor = Wire(dut, "unit_start"), Wire(dut, "unit_descriptor")
    waits = Waits(dut, hamming_waits(), {}, {"read": spikes, "params": params}, 0.0)
    done = Probe(dut, "unit_done")
    bench = Bench(dut, [start, descriptor, spikes, params, rows, waits, done])
    await bench.reset()
    for number in range(count):
        case = cases.hamming(rng, config)
        what = f"case {number} (seed {seed}): {case.name}"
        for waits.rate in (0.0, random.choice([0.3, 0.9])):  # the second time at once after ``done``
            spikes.banks, params.words, rows.rows, rows.parts = case.banks, list(case.params), {}, {}
            descriptor.value = pack(descriptor_layout(), case.values)
            start.pulse()
            total, begin = done.total, bench.cycle
            await bench.tick()
            await bench.until(lambda: bool(done.value), 1_000_000 if config.lean else 100_000, f"{what}: done")
            cycles = bench.cycle - begin
            wrong = [key for key in rows.rows.keys() | case.weights_after.keys()
                     if rows.rows.get(key) != case.weights_after.get(key)]
            assert not wrong, f"{what}: {len(wrong)} of {len(case.weights_after)} weight rows, first (bank, row) {min(wrong)}"
            assert params.words == case.params_after, f"{what}: parameters"
            twin = Hamming.model(config, case.values, case.banks, case.params)
            assert [(*key, data) for key, data in rows.rows.items()] == twin[0], f"{what}: not in the twin's order"
            d = case.values
            words, groups = -(-d["width"] // config.word), d["width"] // config.ham_lanes
            blocks = -(-d["bank_tokens"] // (config.ham_tokens // config.cores))
            per_block = 2 * config.ham_tokens // config.cores + 2
            most = (words * blocks * (words * (per_block + groups) + d["width"] * groups)
                    + groups * (d["width"] * (d["slices"] + 2)
                                + config.ham_lanes // config.neuron_lanes * (1 + config.param_parts) + 4) + 6 + 4 * config.far)
            assert waits.rate or cycles <= most, f"{what}: {cycles} cycles, not {most}"
        for _ in range(random.randrange(1, 6)):
            await bench.tick()
        assert done.total == total + 1 and len(rows.rows) == len(case.weights_after), f"{what}: done once, nothing after it"
        dut._log.info(f"{what}: {cycles} cycles")
