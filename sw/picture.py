"""PNGs: of a run its frames, a spike raster per layer and the class scores; of many designs their area and cycles."""

from __future__ import annotations

from pathlib import Path

import matplotlib
import numpy as np
from matplotlib import pyplot as plt

from golden.encoding import Frames
from golden.spec.config import PRESETS
from sw.bundle import SPIKES, Manifest
from sw.driver import Result
from sw.explore import Candidate, pareto

matplotlib.use("Agg")  # no display is needed

NEURONS = 400  #: of a layer that the raster shows at most, evenly spaced


def draw(path: str | Path, title: str, frames: Frames, result: Result, manifest: Manifest) -> None:
    """Write the picture of a traced run."""
    spikes = [name for name, tensor in manifest.programs["trace"].tensors.items() if tensor.kind == SPIKES]
    rows = -(-len(spikes) // 4)
    figure = plt.figure(figsize=(13, 3 + 1.7 * rows), layout="constrained")
    grid = figure.add_gridspec(rows + 2, 4)
    strip = figure.add_subplot(grid[0, :])
    strip.imshow(np.hstack(list(frames)), cmap="gray", vmin=0, vmax=255, aspect="equal")
    strip.set_title(title, fontsize=10)
    strip.axis("off")
    for i, name in enumerate(spikes):
        axes = figure.add_subplot(grid[1 + i // 4, i % 4])
        _raster(axes, name, result.tensors[name])
    bars = figure.add_subplot(grid[rows + 1, :])
    order = np.argsort(result.scores)[::-1][:10]
    colors = ["C1" if i == result.index else "C0" for i in order]
    bars.bar([manifest.classes[i] for i in order], result.scores[order], color=colors)
    bars.set_ylabel("score")
    bars.tick_params(axis="x", labelsize=8)
    Path(path).parent.mkdir(parents=True, exist_ok=True)
    figure.savefig(path, dpi=110)
    plt.close(figure)


def _raster(axes: plt.Axes, name: str, spikes: np.ndarray) -> None:
    flat = spikes.reshape(len(spikes), -1)
    shown = flat[:, np.linspace(0, flat.shape[1] - 1, min(NEURONS, flat.shape[1])).astype(int)]
    t, neuron = np.nonzero(shown)
    axes.scatter(t, neuron, s=0.6, color="black", linewidths=0)
    axes.set_xlim(-0.5, len(spikes) - 0.5)
    axes.set_title(f"{name}  {flat.mean():.1%} fire", fontsize=8)
    axes.set_yticks([])
    axes.tick_params(labelsize=6)


def draw_designs(path: str | Path, title: str, candidates: list[Candidate]) -> None:
    """Write a picture of all candidates: a line joins the best, names are at these and at the presets."""
    figure, axes = plt.subplots(figsize=(9, 6), layout="constrained")
    axes.scatter([x.tables for x in candidates], [x.cycles for x in candidates], s=14, alpha=0.5)
    best = pareto(candidates)
    axes.step([x.tables for x in best], [x.cycles for x in best], where="post", linewidth=1)
    for x in {id(x): x for x in [*best, *(x for x in candidates if x.config.name in PRESETS)]}.values():
        axes.annotate(x.config.name, (x.tables, x.cycles), fontsize=6, rotation=40, xytext=(2, 2), textcoords="offset points")
    axes.set(xscale="log", yscale="log", xlabel="tables (LUT4)", ylabel="cycles of the clip", title=title)
    axes.grid(which="both", linewidth=0.3)
    figure.savefig(path, dpi=120)
    plt.close(figure)
