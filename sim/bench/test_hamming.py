"""The Hamming engine against NumPy."""

from __future__ import annotations

import pytest

from hw.hamming import Hamming
from sim.lib.runner import CONFIGS, run


@pytest.mark.parametrize("name", CONFIGS)
def test_hamming(name: str) -> None:
    run(Hamming(CONFIGS[name]), "sim.bench.hamming_bench", CONFIGS[name], cases=16)
