"""`hw.mover.Mover` on its engines against its twin: random LOADs and STOREs, every memory compared in full."""

from __future__ import annotations

import random
from typing import Any

import cocotb

from golden.spec.config import Config
from golden.spec.descriptor import Opcode
from hw.bus import descriptor_layout, mover_waits
from hw.mover import Mover
from sim.bench.waits import Waits
from sim.lib.axi import AxiMemory, Rules
from sim.lib.clock import Bench, Probe, Wire
from sim.lib.memory import Memory, SpikeBanks
from sim.lib.pack import join, pack
from sim.lib.runner import settings

RATES = (1.0, 0.5, 0.1)


def random_move(c: Config) -> dict[str, int]:
    """A LOAD or STORE that stays within the scratchpad."""
    d = {
        "opcode": int(random.choice([Opcode.LOAD, Opcode.STORE])), "space": random.getrandbits(1),
        "segment": random.randrange(4), "offset": c.axi_bytes * random.randint(0, 24_000 // c.axi_bytes),
        "count": random.choice([1, random.randint(1, 20), random.randint(1, 200)]),
        "step_stride": random.choice([1, random.randint(1, 9), random.randint(1, 300)]),
    }
    d["base"] = random.randint(0, c.u_beats - d["count"] if d["space"] else c.spike_words - d["count"] - d["step_stride"])
    return d


def mover_users(dut: Any, c: Config, spikes: SpikeBanks, u: Memory) -> Waits:
    """Others who use the scratchpad; not yet."""
    writes = {"spike_write": "spike_write_mask", "u_write": "u_write_en"}
    return Waits(dut, mover_waits(c), writes, {"spike_read": spikes, "u_read": u}, 0.0)


@cocotb.test()
async def moves(dut: Any) -> None:
    """What lies in memory and scratchpad at ``done`` is the twin's, and nothing else was written."""
    c, count, seed = settings()
    random.seed(seed)
    spikes = SpikeBanks(dut, c, "spike_read", "spike_write")
    spikes.banks = [[random.getrandbits(c.word) for _ in bank] for bank in spikes.banks]
    u = Memory(dut, [random.getrandbits(c.u_beat_bits) for _ in range(c.u_beats)], c.u_beat_bits, "u_read", "u_write")
    start, descriptor, segments = (Wire(dut, x) for x in ("unit_start", "unit_descriptor", "segments"))
    waits = mover_users(dut, c, spikes, u)
    done, progress = Probe(dut, "unit_done"), Probe(dut, "unit_progress")
    bench = Bench(dut)
    await bench.reset()
    for number in range(count):
        d = random_move(c)
        bases = [0x100000 * k + 4096 * random.randint(0, 200) for k in range(4)]
        read = AxiMemory(dut, "axi_read", c.axi_bits, random.choice(RATES))
        write = AxiMemory(dut, "axi_write", c.axi_bits, random.choice(RATES))
        bits = c.u_beat_bits if d["space"] else c.word
        read.put(bases[d["segment"]] + d["offset"], (random.getrandbits(bits) for _ in range(d["count"])), bits)
        expected = Mover.model(c, d, bases, read.words, spikes.banks, u.words)
        banks, beats = [list(bank) for bank in spikes.banks], list(u.words)
        for bank, at, word in expected.spikes:
            banks[bank][at] = word
        for at, word in expected.u:
            beats[at] = word
        rules = [Rules(dut, x, c.axi_bits) for x in ("axi_read", "axi_write")]
        descriptor.value, segments.value = pack(descriptor_layout(), d), join(bases, 32)
        waits.rate = random.choice([0.0, 0.3, 0.9])
        bench.agents = [start, descriptor, segments, read, write, *rules, spikes, u, waits, done, progress]
        before, spikes.writes, u.writes = done.total, 0, 0
        start.pulse()
        what = f"case {number} (seed {seed}): {d}"
        await bench.until(lambda: bool(done.value), 50_000, f"{what}: done")
        for _ in range(random.randint(1, 12)):  # writes after done are found by the counts
            found = spikes.banks == banks, u.words == beats, write.log == expected.memory
            assert all(found), f"{what}: spikes, residual values, memory {found}"
            await bench.tick()
        assert (spikes.writes, u.writes) == (len(expected.spikes), len(expected.u)), what
        assert done.total == before + 1 and all(x.settled() for x in rules), what
