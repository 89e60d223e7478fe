"""Speed of ReadDma, and its end at any moment; what it reads is checked by sim.bench."""

from __future__ import annotations

import pytest

from golden.spec.config import MICRO
from hw.read_dma import ReadDma
from hw.tests.bench import Memory, new_rng, receive, send, simulate


def test_throughput() -> None:
    """A long job on a fast bus takes one cycle per beat."""
    rng = new_rng()
    dut = ReadDma(MICRO)
    memory = Memory(dut.axi, None, 32, rng)

    async def ask(ctx):
        await send(ctx, dut.jobs, [{"addr": 0, "beats": 320}], rng)

    async def take(ctx):
        ctx.set(dut.data.ready, 1)
        cycles = 0
        last = False
        while not last:
            _, _, valid, beat = await ctx.tick().sample(dut.data.valid, dut.data.payload)
            last = valid and beat.last
            cycles += 1
        assert cycles < 335, cycles
        assert memory.most_outstanding >= 2

    simulate(dut, ask, take, background=[memory.read])


@pytest.mark.parametrize("trial", range(6))
def test_stop(trial: int) -> None:
    """Stopped at any moment, it drains the bus and then works like new."""
    rng = new_rng()
    dut = ReadDma(MICRO)
    memory = Memory(dut.axi, None, 32, rng, 0.5)
    memory.words = {i: rng.getrandbits(32) for i in range(1000)}

    async def test(ctx):
        ctx.set(dut.data.ready, trial % 2)
        await send(ctx, dut.jobs, [{"addr": 4 * rng.randrange(100), "beats": 300}], rng)
        await ctx.tick().repeat(rng.randrange(1, 60))
        ctx.set(dut.stop, 1)
        await ctx.tick().until(dut.idle)
        assert not memory.reads
        ctx.set(dut.stop, 0)
        ctx.set(dut.data.ready, 0)
        ctx.set(dut.jobs.payload, {"addr": 400, "beats": 33})
        ctx.set(dut.jobs.valid, 1)
        await ctx.tick().until(dut.jobs.ready)
        ctx.set(dut.jobs.valid, 0)
        got = await receive(ctx, dut.data, 33, rng, 0.3)
        assert [x.data for x in got] == [memory.words[100 + i] for i in range(33)]
        assert [x.last for x in got] == [0] * 32 + [1]

    simulate(dut, test, background=[memory.read])
