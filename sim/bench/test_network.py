"""The whole network through the real driver, bit for bit at every layer boundary, with a stalling memory."""

from __future__ import annotations

import pytest

from sim.lib.runner import seed
from sim.whole import Checker, Settings


@pytest.mark.parametrize(("preset", "count"), [
    ("small", 2),
    pytest.param("small", 8, marks=pytest.mark.slow),
    pytest.param("micro", 4, marks=pytest.mark.slow),
    pytest.param("base", 2, marks=pytest.mark.slow),
])
def test_network(preset: str, count: int) -> None:
    start = seed()
    print(f"TANDEM_SEED={start}")
    checker = Checker(Settings(preset=preset, seed=start))
    assert checker.ways.startswith("quantised torch")
    for i in range(count):
        outcome = checker.check(i)
        assert not outcome.difference, outcome.difference
        assert outcome.cycles > 0 and outcome.sops > 0
