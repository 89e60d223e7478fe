"""Pictures of training and evaluation, as PNG."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
from matplotlib.backends.backend_agg import FigureCanvasAgg
from matplotlib.figure import Figure
from numpy.typing import NDArray


def curves(path: Path, title: str, rows: Sequence[dict[str, Any]]) -> None:
    """Loss and accuracy over the epochs of all phases."""
    figure = Figure(figsize=(9, 3.6), layout="constrained")
    loss, accuracy = figure.subplots(1, 2)
    x = np.arange(1, len(rows) + 1)
    for axis, what, key in ((loss, "training (smoothed labels)", "loss"), (loss, "validation", "val_loss"),
                            (accuracy, "training (augmented)", "train_top1"), (accuracy, "validation", "val_top1")):
        axis.plot(x, [row[key] for row in rows], label=what)
    for key in ("frames", "places", "anchor"):
        if any(row[key] for row in rows):
            loss.plot(x, [row[key] for row in rows], label=f"distillation, {key}")
    for axis, name in ((loss, "cross entropy"), (accuracy, "top-1 accuracy")):
        for i, row in enumerate(rows):
            if i and row["phase"] != rows[i - 1]["phase"]:
                axis.axvline(i + 0.5, color="grey", lw=0.8, ls=":")
                axis.text(i + 0.8, 0.95, row["phase"].replace("qat", "QAT"), transform=axis.get_xaxis_transform())
        axis.set(xlabel="epoch", ylabel=name, title=title)
        axis.grid(alpha=0.3)
        axis.legend(frameon=False)
    _save(figure, path)


def confusion(path: Path, title: str, counts: NDArray[np.int64], classes: Sequence[str]) -> None:
    """Confusion matrix: rows are the true classes, in shares of each."""
    size = max(4.0, 0.32 * len(classes) + 2)
    figure = Figure(figsize=(size + 0.8, size), layout="constrained")
    axis = figure.subplots()
    shares = counts / np.maximum(counts.sum(axis=1, keepdims=True), 1)
    picture = axis.imshow(shares, cmap="magma", vmin=0, vmax=1)
    if len(classes) <= 30:
        for (row, column), value in np.ndenumerate(counts):
            if value:
                colour = "black" if shares[row, column] > 0.6 else "white"
                axis.text(column, row, str(value), ha="center", va="center", color=colour, fontsize=7)
    axis.set(xticks=range(len(classes)), yticks=range(len(classes)), xlabel="predicted", ylabel="true", title=title)
    axis.set_xticklabels(classes, rotation=90, fontsize=7)
    axis.set_yticklabels(classes, fontsize=7)
    figure.colorbar(picture, label="share of the true class", shrink=0.8)
    _save(figure, path)


def _save(figure: Figure, path: Path) -> None:
    FigureCanvasAgg(figure).print_png(str(path))
