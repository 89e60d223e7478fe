"""A model file, checked and run on integers, layer by layer, with its operations and saturations counted."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from numpy.typing import NDArray
from safetensors import SafetensorError, safe_open
from safetensors.numpy import save_file

from golden.integer import ops
from golden.spec.model import CONV, HEAD, INPUT, SDHA, Layer, Model, ModelError

ACC_BITS = 24  #: accumulator, bias, membrane and logit, signed
SHIFT_RANGE = (-8, 23)

Array = NDArray[np.integer]
Tensors = Mapping[str, Array]


@dataclass
class Count:
    """What one layer did on the clips run so far."""

    sop: int = 0  #: synaptic operations: set input bits times the output channels each one feeds
    saturations: int = 0  #: residual values that did not fit and were clipped


@dataclass(frozen=True)
class Bound:
    """Largest magnitudes one layer can reach on any input whatsoever."""

    acc: int  #: accumulator, in any order of addition
    affine: int  #: acc + bias
    y: int  #: after the shift
    membrane: int  #: h of the neuron; 0 where there is none


def run(model: Model, tensors: Tensors, clip: Array, counts: dict[str, Count] | None = None) -> dict[str, Array]:
    """Every tensor of the graph for one clip.

    Parameters
    ----------
    model, tensors
        As `load` gives them.
    clip : [T, H, W, C] uint8
        The encoded input, of shape ``model.encoding.shape``.
    counts : dict, optional
        Receives one `Count` per layer by name; an entry that is there already is added to.

    Returns
    -------
    dict
        By name: the input and spikes uint8 and residual values int16, [T, H, W, C]; the logits int32, [1, 1, 1, O],
        under the head's name. In the order in which they are made.

    Raises
    ------
    ModelError
        If the clip has another shape or type.
    """
    if clip.shape != model.encoding.shape or clip.dtype != np.uint8:
        raise ModelError(f"the input is {clip.dtype} {list(clip.shape)}, not uint8 {list(model.encoding.shape)}")
    known: dict[str, Array] = {INPUT: clip}
    for layer in model.layers:
        count = Count() if counts is None else counts.setdefault(layer.name, Count())
        acc = accumulate(layer, tensors, known, count if counts is not None else None)
        x: Array
        y = ops.affine(acc, tensors[f"{layer.name}.bias"], tensors[f"{layer.name}.shift"])
        if layer.op == HEAD:
            known[layer.name] = y
            continue
        if layer.residual or layer.u_out:  # whatever becomes a residual value saturates
            u = known[layer.residual] if layer.residual else np.zeros(y.shape, np.int16)
            x, saturated = ops.residual(u, y, model.u_bits)
            count.saturations += saturated
        else:
            x = y
        if layer.u_out:
            known[layer.u_out] = x
        if layer.spike_out:
            known[layer.spike_out] = ops.lif(x, layer.theta)
    return known


def accumulate(layer: Layer, tensors: Tensors, known: Mapping[str, Array], count: Count | None = None) -> Array:
    """Accumulators [T, OH, OW, O] of one layer from the tensors before it."""
    x = known[layer.inputs[0]]
    if layer.op == SDHA:
        if count is not None:
            count.sop += int(x.sum(dtype=np.int64)) * (layer.channels // layer.heads)
        return ops.sdha(x, known[layer.inputs[1]], known[layer.inputs[2]], layer.heads)
    w = tensors[f"{layer.name}.weight"]
    if layer.op == HEAD:
        if count is not None:
            count.sop += int(ops.bit_count(x).sum(dtype=np.int64)) * layer.channels
        return ops.head(x, w)[None, None, None]
    if count is not None:
        count.sop += ops.synaptic_operations(x, w, layer.stride, layer.padding, layer.depthwise)
    return ops.conv(x, w, layer.stride, layer.padding, layer.depthwise)


def classify(model: Model, known: Mapping[str, Array]) -> int:
    """Index of the largest logit, the lowest one on a tie."""
    return int(np.argmax(known[model.layers[-1].name]))


def accumulator_bounds(model: Model, tensors: Tensors) -> dict[str, Bound]:
    """Prove from the weights that no input at all can overflow an accumulator, bias sum, y or membrane.

    The bound of an accumulator is the sum of |w| times the largest input, so it holds for every partial sum in every
    order. A membrane lies between -2 max|x| and theta / 2 + max|x|: h = floor(v / 2) + x with v < theta.

    Raises
    ------
    ModelError
        If a bound does not fit ``ACC_BITS`` signed; the message shows the numbers of every such layer.
    """
    shapes = model.shapes()
    limit = (1 << (ACC_BITS - 1)) - 1
    u_max = 1 << (model.u_bits - 1)
    bounds, wrong = {}, []
    for layer in model.layers:
        t, h, w, _ = shapes[layer.inputs[0]]
        if layer.op == SDHA:
            d = layer.channels // layer.heads
            per_channel = np.full(layer.channels, 3 * d * t * h * w, np.int64)  # |2M| <= 2N from d bits, |colsum M| <= dN
        else:
            weight = np.abs(tensors[f"{layer.name}.weight"].astype(np.int64))
            per_channel = weight.reshape(layer.channels, -1).sum(axis=1)
            per_channel *= ((1 << model.planes) - 1) if layer.inputs[0] == INPUT else 1
            per_channel *= t * h * w if layer.op == HEAD else 1
        total = per_channel + np.abs(tensors[f"{layer.name}.bias"].astype(np.int64))
        shift = tensors[f"{layer.name}.shift"].astype(np.int64)
        y = int(((total >> np.maximum(shift, 0)) + 1 << np.maximum(-shift, 0)).max())
        x = u_max if layer.residual or layer.u_out else y
        membrane = max(2 * x, x + max(layer.theta, 0) // 2) if layer.spike_out else 0
        bound = Bound(acc=int(per_channel.max()), affine=int(total.max()), y=y, membrane=membrane)
        bounds[layer.name] = bound
        for what in ("acc", "affine", "y", "membrane"):
            if getattr(bound, what) > limit:
                wrong.append(f"layer '{layer.name}': {what} can reach {getattr(bound, what)} > {limit}")
    if wrong:
        raise ModelError(f"{ACC_BITS} signed bits can overflow: " + "; ".join(wrong))
    return bounds


def check(model: Model, tensors: Tensors) -> None:
    """Check that the tensors are those of the graph and the graph one that the machine's operations can run.

    Raises
    ------
    ModelError
        With the layer, what was found and what was expected.
    """
    shapes = model.shapes()
    expected = set()
    for layer in model.layers:
        where = f"layer '{layer.name}'"
        if layer.op not in (CONV, SDHA, HEAD):
            raise ModelError(f"{where}: no operation '{layer.op}'")
        if layer.op != CONV and (layer.kernel, layer.stride, layer.padding) != (1, 1, 0):
            raise ModelError(f"{where}: kernel {layer.kernel}, stride {layer.stride}, padding {layer.padding}, "
                             "but it is no convolution")
        c = shapes[layer.inputs[0]][-1]
        wanted: dict[str, tuple[type, tuple[int, ...]]] = {
            "bias": (np.int32, (layer.channels,)), "shift": (np.int8, (layer.channels,)),
        }
        if layer.op == SDHA:
            qkv = [shapes[x] for x in layer.inputs]
            if len(qkv) != 3 or len(set(qkv)) != 1 or c != layer.channels or layer.channels % layer.heads:
                raise ModelError(f"{where}: q, k, v of shapes {qkv} do not make {layer.channels} channels of {layer.heads} heads")
        else:
            if layer.depthwise and c != layer.channels:
                raise ModelError(f"{where}: depthwise from {c} to {layer.channels} channels")
            wanted["weight"] = (np.int8, (layer.channels, 1 if layer.depthwise else c, layer.kernel, layer.kernel))
        for part, (dtype, shape) in wanted.items():
            name = f"{layer.name}.{part}"
            expected.add(name)
            if name not in tensors:
                raise ModelError(f"{where}: tensor '{name}' is missing")
            value = tensors[name]
            if value.dtype != dtype or value.shape != shape:
                raise ModelError(f"tensor '{name}' is {value.dtype} {list(value.shape)}, not {np.dtype(dtype)} {list(shape)}")
        if layer.weight_bits not in (4, 8):
            raise ModelError(f"{where}: weight_bits = {layer.weight_bits} is not 4 or 8")
        ranges = [("bias", -(1 << (ACC_BITS - 1)), (1 << (ACC_BITS - 1)) - 1), ("shift", *SHIFT_RANGE)]
        if layer.op != SDHA:
            ranges.append(("weight", -(1 << (layer.weight_bits - 1)), (1 << (layer.weight_bits - 1)) - 1))
        for part, low, high in ranges:
            value = tensors[f"{layer.name}.{part}"]
            if value.min() < low or value.max() > high:
                raise ModelError(f"tensor '{layer.name}.{part}' goes from {value.min()} to {value.max()}, outside {low}..{high}")
        if layer.op == HEAD and tensors[f"{layer.name}.shift"].any():
            raise ModelError(f"{where}: the logits are raw accumulators, but a shift is not 0")
        if layer.spike_out and layer.theta < 1:
            raise ModelError(f"{where}: theta = {layer.theta} fires without input")
    if surplus := set(tensors) - expected:
        raise ModelError(f"tensors of no layer: {', '.join(sorted(surplus))}")


def load(path: str | Path) -> tuple[Model, dict[str, Array]]:
    """Graph and tensors of a model file, checked.

    Raises
    ------
    ModelError
        If the file is missing, damaged, inconsistent, or could overflow.
    """
    try:
        with safe_open(str(path), framework="numpy") as file:
            text = (file.metadata() or {}).get("model")
            tensors = {name: file.get_tensor(name) for name in file.keys()}
    except (OSError, SafetensorError, TypeError, ValueError) as error:
        raise ModelError(f"cannot read model file '{path}': {error}") from error
    if text is None:
        raise ModelError(f"'{path}' is no model file: metadata key 'model' is missing")
    model = Model.from_json(text)
    check(model, tensors)
    accumulator_bounds(model, tensors)
    return model, tensors


def save(path: str | Path, model: Model, tensors: Tensors) -> None:
    """Write a model file; checks it first (`ModelError`)."""
    check(model, tensors)
    accumulator_bounds(model, tensors)
    Path(path).parent.mkdir(parents=True, exist_ok=True)
    save_file({k: np.ascontiguousarray(v) for k, v in tensors.items()}, str(path), metadata={"model": model.to_json()})
