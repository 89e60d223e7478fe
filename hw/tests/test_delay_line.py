"""Delay lines, in registers and in memory."""

from __future__ import annotations

import pytest

from hw.delay_line import DelayLine
from hw.tests.bench import new_rng, simulate


@pytest.mark.parametrize("length", [1, 2, 4, 5, 8, 16, 17])
def test_order(length: int) -> None:
    """Every word comes out as many steps after it went in as the line is long, with pauses between."""
    rng, dut, words = new_rng(), DelayLine(8, length), [0] * length

    async def bench(ctx):
        for _ in range(8 * length + 40):
            step, word = rng.random() < 0.7, rng.getrandbits(8)
            ctx.set(dut.step, step)
            ctx.set(dut.data, word)
            await ctx.tick()
            if step:
                words.insert(0, word)
            assert (ctx.get(dut.newest), ctx.get(dut.oldest)) == (words[0], words[length - 1])

    simulate(dut, bench)
