"""Parameters of lookup tables and of block RAM behave alike."""

from __future__ import annotations

from dataclasses import replace

import pytest

from golden.spec.config import SMALL
from hw.parameters import Parameters
from hw.tests.bench import new_rng, simulate


@pytest.mark.parametrize("beats", [16, 128])
def test_reads(beats: int) -> None:
    """Data come one cycle after ``en`` and stay; what an entry does not use reads 0."""
    config = replace(SMALL, param_beats=beats)
    rng, dut = new_rng(), Parameters(config)
    used = sum(((1 << 29) - 1) << (32 * i) for i in range(config.neuron_lanes))

    async def test(ctx):
        memory, held = [0] * beats, 0
        for _ in range(300):
            en, addr, put, to, word = (rng.getrandbits(1), rng.randrange(beats), rng.getrandbits(1), rng.randrange(beats),
                                       rng.getrandbits(config.param_beat_bits))
            put &= to != addr  # nobody reads what is being written
            for port, value in ((dut.read.en, en), (dut.read.addr, addr), (dut.write.en, put), (dut.write.addr, to),
                                (dut.write.data, word)):
                ctx.set(port, value)
            await ctx.tick()
            held = memory[addr] if en else held
            if put:
                memory[to] = word & used
            assert ctx.get(dut.read.data) == held

    simulate(dut, test)
