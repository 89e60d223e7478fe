"""Widen and Narrow against their definition: the first narrow item lies in the lowest bits."""

from __future__ import annotations

import pytest

from hw.gearbox import Narrow, Widen
from hw.tests.bench import new_rng, receive, send, simulate

WIDTHS = [(32, 32, None), (32, 128, None), (32, 64, 32), (64, 512, 64), (32, 256, 64)]


def cut(item: int, narrow: int, wide: int) -> list[int]:
    """The narrow items of a wide one."""
    return [item >> i & (1 << narrow) - 1 for i in range(0, wide, narrow)]


@pytest.mark.parametrize("narrow,wide,short", WIDTHS)
@pytest.mark.parametrize("stall", [0.0, 0.5])
@pytest.mark.parametrize("use_short", [False, True])
def test_widen(narrow: int, wide: int, short: int | None, stall: float, use_short: bool) -> None:
    """Items come whole and in order."""
    rng = new_rng()
    dut = Widen(narrow, wide, short)
    bits = short if use_short and short else wide
    items = [rng.getrandbits(bits) for _ in range(30)]
    parts = [p for x in items for p in cut(x, narrow, bits)]

    async def give(ctx):
        ctx.set(dut.short, use_short)
        await send(ctx, dut.narrow, parts, rng, stall)

    async def take(ctx):
        assert [x & (1 << bits) - 1 for x in await receive(ctx, dut.wide, len(items), rng, stall)] == items

    simulate(dut, give, take)


@pytest.mark.parametrize("narrow,wide,short", WIDTHS)
@pytest.mark.parametrize("stall", [0.0, 0.5])
@pytest.mark.parametrize("use_short", [False, True])
def test_narrow(narrow: int, wide: int, short: int | None, stall: float, use_short: bool) -> None:
    """Items are cut in order, without pauses where nobody stalls."""
    rng = new_rng()
    dut = Narrow(wide, narrow, short)
    bits = short if use_short and short else wide
    items = [rng.getrandbits(wide) for _ in range(30)]
    parts = [p for x in items for p in cut(x & (1 << bits) - 1, narrow, bits)]
    cycles = 0

    async def give(ctx):
        ctx.set(dut.short, use_short)
        await send(ctx, dut.wide, items, rng, stall)

    async def take(ctx):
        assert await receive(ctx, dut.narrow, len(parts), rng, stall) == parts

    async def count(ctx):
        nonlocal cycles
        while True:
            await ctx.tick()
            cycles += 1

    simulate(dut, give, take, background=[count])
    assert stall or cycles <= len(parts) + 3, cycles
