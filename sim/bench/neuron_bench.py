"""`hw.neuron.Neuron` against its twin."""

from __future__ import annotations

import random
from typing import Any

import cocotb

from golden.spec.config import Config
from golden.spec.descriptor import FIELDS
from hw.bus import descriptor_layout
from hw.neuron import Neuron
from sim.lib.clock import Bench, Port, Probe, Wire
from sim.lib.memory import Memory
from sim.lib.pack import join, pack
from sim.lib.runner import settings
from sim.lib.stream import Source


class SpikeWrites:
    """Notes spike writes as (bank, address, beat, bits)."""

    def __init__(self, dut: Any, config: Config) -> None:
        self.config = config
        self.ports = [Port(dut, f"write_{x}") for x in ("mask", "bank", "addr", "data")]
        self.writes: list[tuple[int, int, int, int]] = []

    def drive(self) -> None:
        """See `sim.lib.clock.Agent`."""

    def sample(self) -> None:
        """See `sim.lib.clock.Agent`."""
        if mask := self.ports[0].get():
            _, bank, addr, data = (x.get() for x in self.ports)
            assert mask.bit_count() == 1
            beat = mask.bit_length() - 1
            width = self.config.neuron_lanes
            self.writes.append((bank, addr, beat, data >> (beat * width) & ((1 << width) - 1)))


class Residual(Memory):
    """The residual memory, which notes its writes."""

    def __init__(self, dut: Any, words: list[int], bits: int) -> None:
        super().__init__(dut, words, bits, read="u_read", write="u_write")
        self.log: list[tuple[int, int]] = []

    def sample(self) -> None:
        """See `sim.lib.clock.Agent`."""
        super().sample()
        assert self.write
        if self.write[0].get():
            self.log.append((self.write[1].get(), self.write[2].get()))


def random_descriptor(c: Config) -> dict[str, int]:
    """Fields that the neuron unit reads."""
    d = dict.fromkeys(FIELDS, 0)
    d["out_h"], d["out_w"], d["groups"], d["steps"] = (random.randint(1, 3) for _ in range(4))
    d["first_group"] = random.randint(0, 5)
    d["integrate"] = int(random.random() < 0.25)
    if d["integrate"]:
        d["out_h"] = d["out_w"] = 1
    else:
        d["residual"], d["u_write"], d["fire"] = (int(random.random() < p) for p in (0.4, 0.5, 0.8))
    total = d["first_group"] + d["groups"] + random.randint(0, 1)
    d["u_step"] = total * c.beats
    d["u_pos_stride"] = d["steps"] * c.cores * d["u_step"]
    size = d["out_h"] * d["out_w"] * d["u_pos_stride"]
    d["u_src"] = random.randint(0, 9)
    d["u_dst"] = d["u_src"] if random.getrandbits(1) else d["u_src"] + size + random.randint(0, 9)
    d["dst_words"] = -(-total * c.lanes // c.word)
    d["dst_pos_stride"] = d["steps"] * d["dst_words"]
    d["spike_dst"] = random.randint(0, 99)
    d["param_base"] = random.randint(0, c.param_beats - d["groups"] * c.beats)
    d["theta"] = random.randint(-(1 << random.randint(1, c.acc_bits - 1)), (1 << random.randint(1, c.acc_bits - 1)) - 1)
    return d


@cocotb.test()
async def writes_of_random_descriptors(dut: Any) -> None:
    """Spike and residual writes are the twin's, in order, however the results come; ``done`` comes once, after all."""
    config, count, seed = settings()
    random.seed(seed)
    u = Residual(dut, [], config.u_beat_bits)
    params = Memory(dut, [], config.param_beat_bits, read="params")
    start, descriptor = Wire(dut, "start"), Wire(dut, "descriptor")
    done, taken, saturations = (Probe(dut, x) for x in ("done", "taken", "saturations"))
    bench = Bench(dut)
    await bench.reset()
    number = 0
    while number < count:
        d = random_descriptor(config)
        if d["u_dst"] + d["out_h"] * d["out_w"] * d["u_pos_stride"] + 2 * d["u_step"] > config.u_beats:
            continue
        number += 1
        rates = random.choice([[1.0], [0.1], [0.02], [1.0, 0.1, 0.5]])
        sources = [Source(dut, f"results_{i}", random.choice(rates)) for i in range(config.cores)]
        spikes = SpikeWrites(dut, config)
        bench.agents = [start, descriptor, *sources, params, u, spikes, done, taken, saturations]
        shift = random.randint(0, 31)
        bits = max(8, min(config.acc_bits - 2, config.acc_bits - 12 + shift))  # |y| is three bits short: no membrane overflows
        results = [[[random.randint(-(1 << bits), 1 << bits) >> random.randint(0, 8) for _ in range(config.lanes)]
                    for _ in range(d["out_h"] * d["out_w"] * d["groups"] * d["steps"])] for _ in range(config.cores)]
        params.words = [join((random.randint(-(1 << bits), (1 << bits) - 1) & 0xFFFFFF | max(shift, random.randint(0, 31)) << 24
                              for _ in range(config.neuron_lanes)), 32) for _ in range(config.param_beats)]
        if random.getrandbits(1):  # a threshold that some neuron without a residual reaches exactly
            first = params.words[d["param_base"]]
            bias = (first & 0xFFFFFF ^ 0x800000) - 0x800000
            half = 1 << config.acc_bits - 1
            d["theta"] = max(-half, min(half - 1, ((results[0][0][0] + bias) << 8) >> (first >> 24 & 31)))
        u.words, u.log = [random.getrandbits(config.u_beat_bits) for _ in range(config.u_beats)], []
        expected = Neuron.model(config, d, results, params.words, u.words)
        for source, items in zip(sources, results, strict=True):
            source.send(join(x, config.acc_bits) for x in items)
        descriptor.value = pack(descriptor_layout(), d)
        start.pulse()
        before = [x.total for x in (done, taken, saturations)]
        await bench.until(lambda: bool(done.value), 100_000, "done")
        what = f"case {number} (seed {seed}): { {k: v for k, v in d.items() if v} }"
        assert spikes.writes == expected.spikes, f"{what}: spikes"
        assert u.log == expected.u, f"{what}: residual"
        for _ in range(12):
            await bench.tick()
        found = [b - a for a, b in zip(before, (x.total for x in (done, taken, saturations)), strict=True)]
        wanted = [1, sum(map(len, results)), expected.saturations]
        assert found == wanted, f"{what}: done, taken, saturations {found}, not {wanted}"
        assert len(spikes.writes) == len(expected.spikes) and len(u.log) == len(expected.u), f"{what}: writes after done"
