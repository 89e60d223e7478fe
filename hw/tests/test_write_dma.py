"""WriteDma against an AXI memory with random stalls."""

from __future__ import annotations

import pytest

from golden.spec.config import BASE, MICRO, Config
from hw.tests.bench import Memory, new_rng, send, simulate
from hw.write_dma import WriteDma


@pytest.mark.parametrize("config", [MICRO, BASE], ids=lambda c: c.name)
@pytest.mark.parametrize("stall_bus,stall_user", [(0.0, 0.0), (0.5, 0.0), (0.0, 0.7), (0.4, 0.4)])
def test_jobs(config: Config, stall_bus: float, stall_user: float) -> None:
    """Every job is in memory when its ``done`` comes; an error response is reported by then."""
    rng = new_rng()
    dut = WriteDma(config)
    memory = Memory(None, dut.axi, config.axi_bits, rng, stall_bus)
    size = config.axi_bytes
    jobs = [{"addr": ((i << 10) + rng.randrange(500)) * size, "beats": rng.choice([1, 2, 15, 17, 40, 200])} for i in range(10)]
    words = [[rng.getrandbits(config.axi_bits) for _ in range(j["beats"])] for j in jobs]
    bad = rng.randrange(len(jobs))
    memory.bad = {jobs[bad]["addr"] // size + jobs[bad]["beats"] - 1}

    async def ask(ctx):
        for n, (job, expected) in enumerate(zip(jobs, words, strict=True)):
            await send(ctx, dut.jobs, [job], rng, stall_user)
            done = failed = 0
            while not done:
                _, _, done, error = await ctx.tick().sample(dut.done, dut.error)
                failed |= error
            assert failed == (n == bad)
            assert [memory.words[job["addr"] // size + i] for i in range(job["beats"])] == expected

    async def feed(ctx):
        await send(ctx, dut.data, [w for ws in words for w in ws], rng, stall_user)

    simulate(dut, ask, feed, background=[memory.write])


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
