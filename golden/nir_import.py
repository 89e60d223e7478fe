"""NIR files to integer models: `golden.nir_chain` reads the chain, here it is quantised.

Pixels of an encoding with 8 bit planes count 1/256 each, bits and event counts 1. The class is the output that spikes most
often; where the graph ends in a synapse on one place, the output with the largest sum over time; where it ends in a synapse on
several places, there are no classes, and the result is its sums at each time step.
"""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from golden.integer import network
from golden.integer.network import SHIFT_RANGE, Array
from golden.nir_chain import Change, Floats, Plan, Stage, plan_of, read, unsupported
from golden.spec.encoding import LUMA, RGB, Encoding
from golden.spec.model import CONV, HEAD, INPUT, Layer, Model, ModelError

GRID = (8, 12)  #: least and most fraction bits of a membrane, whose threshold is 1
STEPS_MAX = 20  #: fraction bits of an accumulator
BIAS_BITS = 22  #: magnitude of a bias; weights so small that it does not fit are nothing beside it
U_BITS = 16  #: of a result that is no sum over time


def import_nir(
    path: str | Path, encoding: Encoding, weight_bits: int = 4, dt: float = 1e-4
) -> tuple[Model, dict[str, Array], list[Change]]:
    """Read a NIR file and make the integer model that is nearest to it.

    Parameters
    ----------
    path : path
        NIR file.
    encoding : Encoding
        What the graph's input is made of: shape (C, H, W), or (C,) where H = W = 1.
    weight_bits : int
        4 or 8; one power-of-two scale for each channel, round to nearest.
    dt : float
        Seconds of a time step.

    Returns
    -------
    Model, tensors by name, and what was approximated.

    Raises
    ------
    ModelError
        If the file cannot be read, with all nodes that have no counterpart in the contract, or if 24 bits could overflow.
    """
    graph = read(path)
    if reasons := unsupported(graph, dt):
        raise ModelError(f"'{path}' cannot be imported: " + "; ".join(reasons))
    plan = plan_of(graph, encoding, dt)
    model, tensors = _build(Path(path).stem, plan, encoding, weight_bits)
    network.check(model, tensors)
    network.accumulator_bounds(model, tensors)
    return model, tensors, plan.changes


def _build(name: str, plan: Plan, encoding: Encoding, weight_bits: int) -> tuple[Model, dict[str, Array]]:
    """Quantise every stage and make the graph."""
    layers: list[Layer] = []
    tensors: dict[str, Array] = {}
    source, classes, u_frac = INPUT, 0, 0
    unit = 8 if encoding.kind in (LUMA, RGB) else 0  # fraction bits of what a synapse reads
    high = ((1 << encoding.planes) - 1) / (1 << unit)  # and the largest value there

    def change(node: str, what: str, error: float) -> None:
        plan.changes.append(Change(f"node '{node}'", what, float(error)))

    def add(stage: Stage, weight: Array, steps: Array, bias: Floats, shift: Array, **fields: Any) -> None:
        """One layer; ``steps`` are the fraction bits of each channel's accumulator."""
        made = stage.synapse
        layers.append(Layer(**{
            "name": stage.name, "op": CONV, "inputs": (source,), "channels": len(weight), "kernel": weight.shape[2],
            "stride": made.stride, "padding": made.padding, "groups": made.groups, "weight_bits": weight_bits, **fields,
        }))
        tensors[f"{stage.name}.weight"] = weight.astype(np.int8)
        tensors[f"{stage.name}.bias"] = np.rint(bias * 2.0**steps).astype(np.int32)
        tensors[f"{stage.name}.shift"] = shift.astype(np.int8)
        used = weight / 2.0 ** (steps - unit)[:, None, None, None]
        largest = np.abs(made.weight).max()
        change(stage.name, f"weights of {weight_bits} bits, up to {largest:.4g}", np.abs(used - made.weight).max())
        change(stage.name, "bias", np.abs(tensors[f"{stage.name}.bias"] / 2.0**steps - bias).max())

    for stage in plan.stages:
        made = stage.synapse
        if stage.leak >= 0:
            weight, steps = _quantise(made.weight, made.bias, weight_bits, unit)
            grid = int(min(np.clip(steps.max(), *GRID), steps.min() - SHIFT_RANGE[0]))
            spikes, theta = f"{stage.name}.s", int(2.0**grid) + 1
            add(stage, weight, steps, made.bias, steps - grid, theta=theta, leak=stage.leak, spike_out=spikes)
            change(stage.name, f"sums and membranes floored to 2^-{grid} of the threshold", 2.0**-grid)
            source, unit, high = spikes, 0, 1.0
        elif stage.places == (1, 1):
            classes = len(made.weight)
            bias = made.bias * encoding.timesteps  # the head adds it once
            weight, steps = _quantise(made.weight, bias, weight_bits, unit, together=True)
            add(stage, weight, steps, bias, 0 * steps, op=HEAD)
        else:
            weight, steps = _quantise(made.weight, made.bias, weight_bits, unit)
            most = (np.abs(made.weight).sum(axis=(1, 2, 3)) * high + np.abs(made.bias)).max()
            u_frac = int(np.clip(np.floor(U_BITS - 1.01 - np.log2(most)), 0, steps.min() - SHIFT_RANGE[0]))
            add(stage, weight, steps, made.bias, steps - u_frac, u_out=f"{stage.name}.u")
    if layers[-1].spike_out:
        classes = layers[-1].channels
        layers.append(Layer(name="rate", op=HEAD, inputs=(source,), channels=classes))
        tensors |= {"rate.weight": np.eye(classes, dtype=np.int8)[:, :, None, None], "rate.bias": np.zeros(classes, np.int32),
                    "rate.shift": np.zeros(classes, np.int8)}
    return Model(name=name, encoding=encoding, u_frac=u_frac, u_bits=U_BITS, classes=tuple(map(str, range(classes))),
                 layers=tuple(layers), card={"weights": "imported from NIR"}), tensors


def _quantise(
    weight: Floats, bias: Floats, bits: int, unit: int, together: bool = False
) -> tuple[NDArray[np.int64], NDArray[np.int64]]:
    """Integer weights [O, I, K, K] and the fraction bits [O] of their accumulators, of inputs with ``unit`` fraction bits.

    The scale of a channel (of all of them ``together``) is the power of two with the smallest squared error, whether the largest
    weight fits or is just clipped, and at which the bias fits.
    """
    high = (1 << bits - 1) - 1
    rows = np.abs(weight).reshape(1 if together else len(weight), -1)
    limit = np.floor(BIAS_BITS - unit - np.log2(np.maximum(np.abs(bias).reshape(len(rows), -1).max(axis=1), 2.0**-BIAS_BITS)))
    fits = np.floor(np.log2(high / np.maximum(rows.max(axis=1), 2.0**-BIAS_BITS)))
    best, error = np.zeros(weight.shape), np.full(len(weight), np.inf)
    steps = np.zeros(len(weight))
    for more in (0, 1):
        scale = np.broadcast_to(np.minimum(fits + more, np.minimum(limit, STEPS_MAX - unit)), len(weight))
        found = np.clip(np.rint(weight * 2.0 ** scale[:, None, None, None]), -high - 1, high)
        wrong = ((found / 2.0 ** scale[:, None, None, None] - weight) ** 2).sum(axis=(1, 2, 3))
        better = np.full(len(weight), wrong.sum() < error.sum()) if together else wrong < error
        best = np.where(better[:, None, None, None], found, best)
        error, steps = np.where(better, wrong, error), np.where(better, scale, steps)
    return best.astype(np.int64), steps.astype(np.int64) + unit
