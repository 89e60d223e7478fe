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
        await send(ctx, dut.jobs0, [{"addr": 0, "beats": 320}], rng)

    async def take(ctx):
        ctx.set(dut.data0.ready, 1)
        cycles = 0
        last = False
        while not last:
            _, _, valid, beat = await ctx.tick().sample(dut.data0.valid, dut.data0.payload)
            last = valid and beat.last
            cycles += 1
        assert cycles < 335, cycles
        assert memory.most_outstanding >= 2

    simulate(dut, ask, take, background=[memory.read])


def test_others_need_not_wait() -> None:
    """Within a long job of user 0, user 1 gets a short one after the bursts that are on their way, and nothing is lost by it."""
    rng = new_rng()
    dut = ReadDma(MICRO)
    memory = Memory(dut.axi, None, 32, rng)
    short = 0

    async def ask(ctx):
        await send(ctx, dut.jobs0, [{"addr": 0, "beats": 640}], rng)
        await ctx.tick().repeat(150)
        await send(ctx, dut.jobs1, [{"addr": 1 << 20, "beats": 32}], rng)

    async def take(ctx):
        nonlocal short
        ctx.set(dut.data0.ready, 1)
        ctx.set(dut.data1.ready, 1)
        cycles = end = 0
        while not end:
            _, _, end, other = await ctx.tick().sample(
                dut.data0.valid & dut.data0.payload.last, dut.data1.valid & dut.data1.payload.last)
            cycles += 1
            short = cycles if other else short
        assert cycles < 640 + 32 + 15, cycles
        assert 150 < short < 150 + 4 * 16 + 32 + 15, short

    simulate(dut, ask, take, background=[memory.read])


@pytest.mark.parametrize("trial", range(6))
def test_stop(trial: int) -> None:
    """Stopped at any moment, it drains the bus and then works like new."""
    rng = new_rng()
    dut = ReadDma(MICRO)
    memory = Memory(dut.axi, None, 32, rng, 0.5)
    memory.words = {i: rng.getrandbits(32) for i in range(1000)}

    async def test(ctx):
        ctx.set(dut.data0.ready, trial % 2)
        await send(ctx, dut.jobs0, [{"addr": 4 * rng.randrange(100), "beats": 300}], rng)
        await ctx.tick().repeat(rng.randrange(1, 60))
        ctx.set(dut.stop, 1)
        await ctx.tick().until(dut.idle)
        assert not memory.reads
        ctx.set(dut.stop, 0)
        ctx.set(dut.data0.ready, 0)
        ctx.set(dut.jobs0.payload, {"addr": 400, "beats": 33})
        ctx.set(dut.jobs0.valid, 1)
        await ctx.tick().until(dut.jobs0.ready)
        ctx.set(dut.jobs0.valid, 0)
        got = await receive(ctx, dut.data0, 33, rng, 0.3)
        assert [x.data for x in got] == [memory.words[100 + i] for i in range(33)]
        assert [x.last for x in got] == [0] * 32 + [1]

    simulate(dut, test, background=[memory.read])
