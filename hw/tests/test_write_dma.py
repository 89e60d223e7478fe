"""Speed of WriteDma, and its end at any moment; what it writes is checked by sim.bench."""

from __future__ import annotations

import pytest

from golden.spec.config import MICRO
from hw.tests.bench import Memory, new_rng, send, simulate
from hw.write_dma import WriteDma


def test_throughput() -> None:
    """A long job on a fast bus takes one cycle per beat."""
    rng = new_rng()
    dut = WriteDma(MICRO)
    memory = Memory(None, dut.axi, 32, rng)

    async def test(ctx):
        ctx.set(dut.data.valid, 1)
        ctx.set(dut.jobs.payload, {"addr": 0, "beats": 320})
        ctx.set(dut.jobs.valid, 1)
        await ctx.tick()
        ctx.set(dut.jobs.valid, 0)
        cycles = done = 0
        while not done:
            _, _, done = await ctx.tick().sample(dut.done)
            cycles += 1
        assert cycles < 335, cycles

    simulate(dut, test, background=[memory.write])


@pytest.mark.parametrize("trial", range(6))
def test_stop(trial: int) -> None:
    """Stopped at any moment, it ends its bursts by the rules and then works like new."""
    rng = new_rng()
    dut = WriteDma(MICRO)
    memory = Memory(None, dut.axi, 32, rng, 0.5)

    async def test(ctx):
        ctx.set(dut.data.valid, trial % 2)
        await send(ctx, dut.jobs, [{"addr": 4 * rng.randrange(100), "beats": 300}], rng)
        await ctx.tick().repeat(rng.randrange(1, 60))
        ctx.set(dut.stop, 1)
        await ctx.tick().until(dut.idle)
        assert not memory.writes and not memory.answers
        ctx.set(dut.stop, 0)
        ctx.set(dut.data.valid, 0)
        await send(ctx, dut.jobs, [{"addr": 4096, "beats": 20}], rng)
        await send(ctx, dut.data, range(20), rng, 0.3)
        await ctx.tick().until(dut.done)
        assert [memory.words[1024 + i] for i in range(20)] == list(range(20))

    simulate(dut, test, background=[memory.write])
