"""The roofline: what the array and the memory port allow each layer, and what it does."""

from __future__ import annotations

from pathlib import Path

import matplotlib
import numpy as np
from matplotlib import pyplot as plt

from sim.speed.report import Report

matplotlib.use("Agg")  # no display is needed


def draw(path: Path, report: Report) -> None:
    """Write the picture: synaptic operations a cycle against those for each byte of external memory, a point a layer.

    A layer's cycles are also those in which it waited for its weights. It can lie above the roof all the same, where they were
    loaded while the layers before ran.
    """
    layers = [x for x in report.layers if x.sops]
    rates = [x.sops / (x.cycles + x.wait) for x in layers]
    intensity = np.array([x.sops / x.bytes for x in layers])
    figure, axes = plt.subplots(figsize=(9, 6), layout="constrained")
    ridge = report.peak / report.axi_bytes
    reach = np.geomspace(min(intensity.min(), ridge) / 3, max(intensity.max(), ridge) * 3, 200)
    axes.plot(reach, np.minimum(report.peak, reach * report.axi_bytes), color="black", linewidth=1)
    axes.scatter(intensity, rates, s=18)
    for x, at, rate in zip(layers, intensity, rates, strict=True):
        axes.annotate(x.name, (at, rate), fontsize=6, xytext=(3, 2), textcoords="offset points")
    axes.set(xscale="log", yscale="log", xlabel="synaptic operations per byte of external memory",
             ylabel="synaptic operations per cycle, waits for weights included",
             title=f"{report.network} on {report.preset}: {report.peak} a cycle, {report.axi_bytes} bytes a cycle")
    axes.grid(which="both", linewidth=0.3)
    path.parent.mkdir(parents=True, exist_ok=True)
    figure.savefig(path, dpi=120)
    plt.close(figure)
