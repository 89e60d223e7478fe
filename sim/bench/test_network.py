"""The whole network through the real driver, bit for bit at every layer boundary, with a stalling memory."""

from __future__ import annotations

import pytest

from sim.lib.runner import seed
from sim.whole import clips


@pytest.mark.parametrize(("preset", "count"), [
    ("small", 2),
    pytest.param("small", 8, marks=pytest.mark.slow),
    pytest.param("micro", 4, marks=pytest.mark.slow),
    pytest.param("base", 2, marks=pytest.mark.slow),
])
def test_network(preset: str, count: int) -> None:
    start = seed()
    print(f"TANDEM_SEED={start}")
    done = 0
    for clip in clips(preset, count, start, stall=100, latency=20):
        assert not clip.difference, clip.difference
        assert clip.result.cycles > 0 and clip.result.sops > 0
        done += 1
    assert done == count
