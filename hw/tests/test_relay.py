"""A stream through registers loses nothing, keeps its order and goes on every cycle."""

from __future__ import annotations

import pytest

from hw.relay import Relay
from hw.tests.bench import Clock, new_rng, receive, send, simulate


@pytest.mark.parametrize("stalls", [(0.0, 0.0), (0.5, 0.0), (0.0, 0.5), (0.5, 0.5)])
def test_items(stalls: tuple[float, float]) -> None:
    """What goes in comes out in order, whoever stalls; one item a cycle where nobody does."""
    rng, dut, clock = new_rng(), Relay(8), Clock()
    items = [rng.getrandbits(8) for _ in range(200)]

    async def give(ctx):
        await send(ctx, dut.before, items, rng, stalls[0])

    async def take(ctx):
        assert await receive(ctx, dut.after, len(items), rng, stalls[1]) == items

    simulate(dut, give, take, background=[clock])
    assert any(stalls) or clock.cycles <= len(items) + 3, clock.cycles
