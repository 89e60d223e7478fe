"""Supervisor: how runs begin and end."""

from __future__ import annotations

import pytest

from golden.spec.registers import ErrorCode
from hw.supervisor import Supervisor
from hw.tests.bench import simulate


async def pulse(ctx, signal) -> None:
    """One cycle."""
    ctx.set(signal, 1)
    await ctx.tick()
    ctx.set(signal, 0)


async def begins(ctx, dut) -> None:
    """In the cycle after ``start``, or after draining: a run begins, and everybody knows before ``go`` comes, once."""
    assert ctx.get(dut.busy) and not ctx.get(dut.stop)
    seen = []
    for _ in range(6):
        seen.append((ctx.get(dut.flush), ctx.get(dut.go)))
        await ctx.tick()
    assert seen == [(1, 0), (0, 0), (0, 0), (0, 1), (0, 0), (0, 0)] and Supervisor.START == 4


@pytest.mark.parametrize("drains", [0, 5, 40])
@pytest.mark.parametrize("cause,code,layer", [
    ("illegal", ErrorCode.DESCRIPTOR, 8), ("read_error", ErrorCode.READ, 7), ("write_error", ErrorCode.WRITE, 7),
])
def test_errors(cause: str, code: ErrorCode, layer: int, drains: int) -> None:
    """An error ends the run in its own cycle; the bus drains; a start waits for that, and for the reset."""
    dut = Supervisor()

    async def test(ctx):
        ctx.set(dut.layer, 7)
        ctx.set(dut.loader_layer, 8)
        assert ctx.get(dut.flush) and not ctx.get(dut.busy)
        await pulse(ctx, dut.start)
        await begins(ctx, dut)
        ctx.set(getattr(dut, cause), 1)
        assert ctx.get(dut.error) and ctx.get(dut.code) == code and ctx.get(dut.error_layer) == layer
        await ctx.tick()  # errors while draining are nobody's
        assert not ctx.get(dut.error) and not ctx.get(dut.busy) and ctx.get(dut.stop)
        ctx.set(getattr(dut, cause), 0)
        await pulse(ctx, dut.start)
        flushed = 0
        while ctx.get(dut.stop):
            ctx.set(dut.drained, flushed >= drains)
            assert ctx.get(dut.busy) and ctx.get(dut.flush) and not ctx.get(dut.go)
            flushed += 1
            await ctx.tick()
        assert max(drains, Supervisor.HOLD - 1) <= flushed <= max(drains, Supervisor.HOLD) + 1
        await begins(ctx, dut)
        await pulse(ctx, dut.finished)
        assert not ctx.get(dut.busy)

    simulate(dut, test)


@pytest.mark.parametrize("limit", [0, 1, 10])
def test_watchdog(limit: int) -> None:
    """It counts cycles without progress, also of a run that waits for the bus; an abort then resets the engines."""
    dut = Supervisor()

    async def failed_after(ctx):
        for cycle in range(40):
            if ctx.get(dut.error):
                return cycle
            await ctx.tick()
        return None

    async def test(ctx):
        ctx.set(dut.watchdog, limit)
        ctx.set(dut.progress, 1)
        await pulse(ctx, dut.start)
        await ctx.tick().repeat(40)
        assert ctx.get(dut.busy)
        ctx.set(dut.progress, 0)
        first = await failed_after(ctx)
        assert (first is None) == (limit == 0)
        if limit:
            assert limit <= first <= limit + 2 and ctx.get(dut.code) == ErrorCode.WATCHDOG
            await ctx.tick()
            await pulse(ctx, dut.start)
            assert ctx.get(dut.busy) and ctx.get(dut.flush)
            assert limit <= await failed_after(ctx) <= limit + 2
            await ctx.tick()
            assert not ctx.get(dut.busy)
        else:
            await pulse(ctx, dut.abort)
            assert not ctx.get(dut.busy) and ctx.get(dut.stop) and not ctx.get(dut.kill)
        await pulse(ctx, dut.abort)
        assert ctx.get(dut.kill)
        ctx.set(dut.drained, 1)
        await ctx.tick()
        assert not ctx.get(dut.kill)
        await ctx.tick().repeat(Supervisor.HOLD)
        assert not ctx.get(dut.stop) and ctx.get(dut.flush)
        ctx.set(dut.progress, 1)
        await pulse(ctx, dut.start)
        await begins(ctx, dut)

    simulate(dut, test)


def test_abort_of_a_waiting_start() -> None:
    """It leaves the engines alone: memory that answers gets all that it is owed, however soon runs begin and end."""
    dut = Supervisor()

    async def test(ctx):
        for _ in range(3):
            await pulse(ctx, dut.start)
            await ctx.tick()
            await pulse(ctx, dut.abort)
            assert not ctx.get(dut.busy) and ctx.get(dut.stop) and not ctx.get(dut.kill)
        ctx.set(dut.drained, 1)
        await ctx.tick().repeat(Supervisor.HOLD)
        await pulse(ctx, dut.start)
        await begins(ctx, dut)

    simulate(dut, test)
