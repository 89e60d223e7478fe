"""Every compute block in Verilator, against its twin or NumPy, with random stalls.

The quick part runs few cases of each block on one configuration, so that each Verilator build is needed once.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pytest

from hw.array import Array
from hw.core import Core
from hw.hamming import Hamming
from hw.linear import Linear
from hw.neuron import Neuron
from hw.walker import Walker
from sim.bench.gated_decoder import GatedDecoder
from sim.lib.runner import CONFIGS, run

#: Component, bench, cases of the full run, configuration of the quick run with its cases.
BLOCKS: dict[str, tuple[Callable[..., Any], int, str, int]] = {
    "decoder": (GatedDecoder, 24, "wide", 8),
    "core": (Core, 24, "wide", 8),
    "walker": (Walker, 48, "wide", 16),
    "neuron": (Neuron, 64, "small", 24),
    "array": (Array, 32, "micro", 8),
    "hamming": (Hamming, 48, "wide", 12),
    "linear": (Linear, 80, "small", 24),
}


@pytest.mark.parametrize("block", BLOCKS)
def test_quick(block: str) -> None:
    component, _, name, cases = BLOCKS[block]
    run(component(CONFIGS[name]), f"sim.bench.{block}_bench", CONFIGS[name], cases)


@pytest.mark.parametrize("block", ["linear", "hamming"])
def test_lean(block: str) -> None:
    """Spikes of one bit, a queue in block RAM, one beat at a time in the neuron unit, one lane at a time in HAMMING."""
    component, _, _, cases = BLOCKS[block]
    run(component(CONFIGS["pico"]), f"sim.bench.{block}_bench", CONFIGS["pico"], cases)


@pytest.mark.parametrize("block", ["core"])
def test_shared(block: str) -> None:
    """Four slots add into the same accumulators."""
    component, _, _, cases = BLOCKS[block]
    run(component(CONFIGS["shared"]), f"sim.bench.{block}_bench", CONFIGS["shared"], cases)


@pytest.mark.slow
@pytest.mark.parametrize("name", CONFIGS)
@pytest.mark.parametrize("block", BLOCKS)
def test_full(block: str, name: str) -> None:
    component, cases, *_ = BLOCKS[block]
    run(component(CONFIGS[name]), f"sim.bench.{block}_bench", CONFIGS[name], cases)
