"""Every block of the memory side in Verilator, against its twin, with random stalls."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from typing import Any

import pytest

from golden.spec.config import BASE
from hw.control import Control
from hw.registers import RegisterBank
from sim.bench import systems
from sim.lib import runner
from sim.lib.runner import run

#: Buses of 32, 64 and 128 bits; words, rows and beats of one to many bus beats.
CONFIGS = {
    "micro": runner.CONFIGS["micro"], "small": runner.CONFIGS["small"],
    "base": replace(BASE, name="base", spike_words=1024, u_beats=1024),
    "broad": replace(BASE, name="broad", cores=8, issue=8, lanes=32, neuron_lanes=8, word=128, axi_bits=128, spike_words=1024,
                     u_beats=1024),
}

#: Component, cases of the full run, configuration of the quick run with its cases.
BLOCKS: dict[str, tuple[Callable[..., Any], int, str, int]] = {
    "gearbox": (systems.gearboxes, 60, "small", 20),
    "dma": (systems.engines, 40, "small", 10),
    "shares": (systems.shares, 60, "small", 20),
    "loader": (systems.loader, 300, "small", 100),
    "mover": (systems.mover, 150, "small", 40),
    "registers": (RegisterBank, 1000, "small", 300),
    "memory": (systems.memories, 30, "small", 5),
    "control": (Control, 30, "small", 20),
}

#: Of the full run; where all is as wide as the bus, gearboxes are wires.
CASES = [(block, name) for block in BLOCKS for name, c in CONFIGS.items()
         if block != "gearbox" or max(c.word, c.u_beat_bits) > c.axi_bits]


@pytest.mark.parametrize("block", BLOCKS)
def test_quick(block: str) -> None:
    component, _, name, cases = BLOCKS[block]
    run(component(CONFIGS[name]), f"sim.bench.{block}_bench", CONFIGS[name], cases)


@pytest.mark.slow
@pytest.mark.parametrize(("block", "name"), CASES)
def test_full(block: str, name: str) -> None:
    component, cases, *_ = BLOCKS[block]
    run(component(CONFIGS[name]), f"sim.bench.{block}_bench", CONFIGS[name], cases)
