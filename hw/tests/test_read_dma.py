"""ReadDma against an AXI memory with random stalls."""

from __future__ import annotations

import pytest

from golden.spec.config import BASE, MICRO, Config
from hw.read_dma import ReadDma
from hw.tests.bench import Memory, new_rng, receive, send, simulate


@pytest.mark.parametrize("config", [MICRO, BASE], ids=lambda c: c.name)
@pytest.mark.parametrize("stall_bus,stall_user", [(0.0, 0.0), (0.5, 0.0), (0.0, 0.7), (0.4, 0.4)])
def test_jobs(config: Config, stall_bus: float, stall_user: float) -> None:
    """Every beat of every job comes in order, with ``last`` at each job's end; errors are reported and flow on."""
    rng = new_rng()
    dut = ReadDma(config)
    memory = Memory(dut.axi, None, config.axi_bits, rng, stall_bus)
    size = config.axi_bytes
    jobs = [{"addr": rng.randrange(1 << 20) * size, "beats": rng.choice([1, 2, 15, 16, 17, 40, 200])} for _ in range(12)]
    jobs.append({"addr": (1 << 32) - 16 * size, "beats": 16})
    expected = []
    for job in jobs:
        for i in range(job["beats"]):
            word = memory.words.setdefault(job["addr"] // size + i, rng.getrandbits(config.axi_bits))
            expected.append((word, int(i == job["beats"] - 1)))
    memory.bad = set(rng.sample(sorted(memory.words), 3))
    errors = 0

    async def ask(ctx):
        await send(ctx, dut.jobs, jobs, rng, stall_user)

    async def take(ctx):
        got = await receive(ctx, dut.data, len(expected), rng, stall_user)
        assert [(x.data, x.last) for x in got] == expected
        await ctx.tick().repeat(3)
        assert ctx.get(dut.idle)

    async def watch(ctx):
        nonlocal errors
        while True:
            _, _, error = await ctx.tick().sample(dut.error)
            errors += error

    simulate(dut, ask, take, background=[memory.read, watch])
    assert errors == len([b for j in jobs for b in range(j["beats"]) if j["addr"] // size + b in memory.bad])
    if not stall_bus and not stall_user:
        assert memory.most_outstanding >= 2


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
