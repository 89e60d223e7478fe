"""Gearboxes whose items are all of one width, and speed; their work in loader and mover is checked by sim.bench."""

from __future__ import annotations

import pytest

from hw.gearbox import Narrow, Widen
from hw.tests.bench import Clock, new_rng, receive, send, simulate


@pytest.mark.parametrize("kind", [Widen, Narrow])
@pytest.mark.parametrize("stall", [0.0, 0.5])
def test_wires(kind: type, stall: float) -> None:
    """Nothing changes on the way through a gearbox of ratio 1."""
    rng = new_rng()
    dut = kind(32, 32)
    given, taken = (dut.narrow, dut.wide) if kind is Widen else (dut.wide, dut.narrow)
    items = [rng.getrandbits(32) for _ in range(30)]

    async def give(ctx):
        await send(ctx, given, items, rng, stall)

    async def take(ctx):
        assert await receive(ctx, taken, len(items), rng, stall) == items

    simulate(dut, give, take)


@pytest.mark.parametrize("kind,first,second", [(Widen, 32, 128), (Narrow, 128, 32)])
def test_throughput(kind: type, first: int, second: int) -> None:
    """One narrow item a cycle where nobody stalls."""
    rng = new_rng()
    dut = kind(first, second)
    given, taken = (dut.narrow, dut.wide) if kind is Widen else (dut.wide, dut.narrow)
    clock = Clock()

    async def give(ctx):
        await send(ctx, given, [rng.getrandbits(first) for _ in range(120 * 32 // first)], rng)

    async def take(ctx):
        await receive(ctx, taken, 120 * 32 // second, rng)

    simulate(dut, give, take, background=[clock])
    assert clock.cycles <= 120 + 3, clock.cycles
