"""The LINEAR unit: array and neuron unit together, against NumPy."""

from __future__ import annotations

import pytest

from hw.linear import Linear
from sim.lib.runner import CONFIGS, run


@pytest.mark.parametrize("name", CONFIGS)
def test_linear(name: str) -> None:
    run(Linear(CONFIGS[name]), "sim.bench.linear_bench", CONFIGS[name], cases=16)
