"""Which sizes of the machine are worth building: cycles of one clip against area.

Cycles are predicted by `sw.cycles`, area by a model of each block whose terms are what the block repeats, fitted to synthesised
points (``python -m sim.area``).
"""

from __future__ import annotations

import json
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, replace
from itertools import product
from pathlib import Path
from typing import Any

import numpy as np

from golden.spec.config import BASE, PRESETS, Config
from sw.compiler import compile_model
from sw.cycles import MEMORY, Memory, predict
from sw.model_file import ModelFile
from sw.packing import Array
from sw.support import UnsupportedError

POINTS = Path(__file__).with_name("area_points.json")
Sizes = Mapping[str, int]

#: What a block's lookup tables grow with; the last term is what it has in any case. Slots that share have one accumulator.
TERMS: dict[str, Callable[[Sizes], tuple[int, ...]]] = {
    "core": lambda c: (
        c["lanes"] * c["issue"], c["lanes"] * c["issue"] // c["sharing"], c["lanes"] * c["taps"], c["word"], 1),
    "neuron": lambda c: (c["neuron_lanes"], c["neuron_lanes"] * c["any_neuron"], c["cores"] * c["lanes"], 1),
    "hamming": lambda c: (c["lanes"] * c["ham_tokens"], c["lanes"], c["word"] * c["ham_tokens"], 1),
    "walker": lambda c: (c["cores"] * c["word"], c["taps"], 1),
    "control": lambda c: (c["neuron_lanes"], 1),
}


class AreaModel:
    """Tables (LUT4 and their equivalents in carry chains and small memories) of the machine's blocks.

    Parameters
    ----------
    points : Path
        What ``python -m sim.area`` wrote.

    Raises
    ------
    ValueError
        If a block has no point there.
    """

    def __init__(self, points: Path = POINTS) -> None:
        self._weights: dict[str, np.ndarray] = {}
        self.errors: dict[str, float] = {}  #: largest relative error of the model at a block's points, and at whole machines
        measured = json.loads(points.read_text())["points"]
        for block, terms in TERMS.items():
            mine = [p for p in measured if p["block"] == block]
            if not mine:
                raise ValueError(f"no point of '{block}' in '{points}'; python -m sim.area measures them")
            a, b = np.array([terms(p) for p in mine], float), np.array([p["tables"] for p in mine], float)
            self._weights[block] = _fit(a / b[:, None])
            self.errors[block] = float(np.abs(a @ self._weights[block] / b - 1).max())
        self.errors["machine"] = max(abs(self._all(p) / p["tables"] - 1) for p in measured if p["block"] == "machine")

    def tables(self, config: Config) -> int:
        """Tables of all blocks of a configuration."""
        return self._all(vars(config))

    def _all(self, sizes: Sizes) -> int:
        return round(sum(
            (sizes["cores"] if block == "core" else 1) * float(np.array(terms(sizes)) @ self._weights[block])
            for block, terms in TERMS.items()))


def _fit(a: np.ndarray) -> np.ndarray:
    """Smallest relative squares: the x with ``a @ x`` closest to 1 and no negative entry (nothing takes less than no area)."""
    kept = np.ones(a.shape[1], bool)
    while True:
        x = np.zeros(a.shape[1])
        x[kept] = np.linalg.lstsq(a[:, kept], np.ones(len(a)), rcond=None)[0]
        if (x >= 0).all():
            return x
        kept[x.argmin()] = False


@dataclass(frozen=True)
class Candidate:
    """One design, with the cycles of the clip and the share of the array's peak that real synaptic operations are of it."""

    config: Config
    tables: int
    cycles: int
    utilisation: float


def configurations() -> list[Config]:
    """The presets and what lies between and around them, with memories in which every layer is one pass."""
    roomy: dict[str, Any] = {"weight_rows": 1 << 14, "param_beats": 1 << 12, "spike_words": 1 << 16, "u_beats": 1 << 17}
    found = [replace(preset, **roomy) for preset in PRESETS.values()]
    for cores, lanes, issue, share in product((1, 2, 4), (16, 32, 64), (2, 4), (1, 2, 4)):
        found.append(replace(
            BASE, name=f"{cores}x{lanes}x{issue} n{lanes // share}", cores=cores, lanes=lanes, issue=issue, taps=issue,
            word=max(32, lanes), neuron_lanes=lanes // share, ham_tokens=max(8, lanes // 4), axi_bits=max(32, lanes),
            queue_depth=16, **roomy))
    return found


DESIGNS = configurations()


def explore(source: ModelFile, clip: Array, area: AreaModel, memory: Memory = MEMORY) -> Iterator[Candidate]:
    """Every design that can run the model, as it is predicted for one clip.

    Parameters
    ----------
    source : ModelFile
        The network.
    clip : [T, H, W, C] uint8
        Its input.
    area : AreaModel
        For the tables.
    memory : Memory
        Behind the machines.
    """
    for config in DESIGNS:
        try:
            bundle = compile_model(source, config)
        except UnsupportedError:
            continue
        result = predict(bundle, config, clip, memory)
        yield Candidate(config, area.tables(config), result.cycles, result.utilisation)


def pareto(candidates: list[Candidate]) -> list[Candidate]:
    """Those that no other beats in both area and cycles, from the smallest to the fastest."""
    best: list[Candidate] = []
    for x in sorted(candidates, key=lambda x: (x.tables, x.cycles)):
        if not best or x.cycles < best[-1].cycles:
            best.append(x)
    return best
