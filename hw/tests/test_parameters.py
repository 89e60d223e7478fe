"""Parameters of lookup tables and of block RAM behave alike."""

from __future__ import annotations

from dataclasses import replace

import pytest

from golden.spec.config import PICO, SMALL
from hw.parameters import Parameters
from hw.tests.bench import new_rng, simulate


@pytest.mark.parametrize("beats", [16, 128])
@pytest.mark.parametrize("bus", [16, 32, 64])
def test_reads(beats: int, bus: int) -> None:
    """Data come a cycle after ``en`` and stay; what an entry does not use reads 0; what is written can be read 2 cycles later.

    Of a lean machine, which may have half a channel in a word of the bus, it is one cycle.
    """
    config = replace(PICO, param_beats=beats) if bus == 16 else replace(SMALL, param_beats=beats, axi_bits=bus, word=64)
    rng, dut = new_rng(), Parameters(config)
    used = sum(((1 << 29) - 1) << (32 * i) for i in range(config.neuron_lanes))

    async def test(ctx):
        memory, held_at, on_the_way = [0] * beats, 0, None
        for _ in range(800):
            en, addr, put, to, part, word = (rng.getrandbits(1), rng.randrange(beats), rng.getrandbits(1), rng.randrange(beats),
                                             rng.randrange(config.param_parts), rng.getrandbits(bus))
            put &= to not in (addr, held_at)  # nobody reads what is being written
            en &= on_the_way is None or on_the_way[0] != addr
            for port, value in ((dut.read.en, en), (dut.read.addr, addr), (dut.write.en, put),
                                (dut.write.addr, to * config.param_parts + part), (dut.write.data, word)):
                ctx.set(port, value)
            await ctx.tick()
            held_at = addr if en else held_at
            if on_the_way:
                at, low, data = on_the_way
                memory[at] = memory[at] & ~(((1 << bus) - 1) << low) | data << low
            on_the_way = (to, part * bus, word) if put else None
            if on_the_way and config.lean:
                memory[to] = memory[to] & ~(((1 << bus) - 1) << part * bus) | word << part * bus
                on_the_way = None
            assert ctx.get(dut.read.data) == memory[held_at] & used

    simulate(dut, test)
