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
from golden.spec.model import ATTENTION, FRAME, HARD, HEAD, INPUT, MASK, POSITION, SDHA, Layer, Model, ModelError, Shape
from golden.spec.rules import faults

ACC_BITS = 24  #: accumulator, bias, membrane and logit, signed
SHIFT_RANGE = (-8, 23)
U_BITS_MAX = 16  #: residual tensors are int16

Array = NDArray[np.integer]
Tensors = Mapping[str, Array]


@dataclass
class Count:
    """What one layer did on the clips run so far."""

    sop: int = 0  #: synaptic operations: set input bits (of Q, in attention) times the output channels each one feeds
    pairs: int = 0  #: additions that make KᵀV, which are the weights of attention
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
        under the head's name. In the order in which they are made; `Model.result` names what the network is run for.

    Raises
    ------
    ModelError
        If the clip has another shape or type, or values that its bit planes cannot hold.
    """
    if clip.shape != model.encoding.shape or clip.dtype != np.uint8:
        raise ModelError(f"the input is {clip.dtype} {list(clip.shape)}, not uint8 {list(model.encoding.shape)}")
    if clip.max() >> model.planes:
        raise ModelError(f"the input has values up to {clip.max()}, {model.planes} bit planes hold {(1 << model.planes) - 1}")
    known: dict[str, Array] = {INPUT: clip}
    for layer in model.layers:
        step(layer, tensors, known, model.u_bits, None if counts is None else counts.setdefault(layer.name, Count()))
    return known


def step(layer: Layer, tensors: Tensors, known: dict[str, Array], u_bits: int, count: Count | None = None) -> None:
    """Run one layer: what it makes is added to ``known``, what it does to ``count``."""
    if count is not None:
        tally(layer, known, count)
    if layer.op == MASK:
        a, b = (known[x] for x in layer.inputs)
        known[layer.spike_out] = ops.mask(a, b)
    else:
        acc = accumulate(layer, tensors, known)
        finish(layer, acc, tensors[f"{layer.name}.bias"], tensors[f"{layer.name}.shift"], known, u_bits, count)


def accumulate(layer: Layer, tensors: Tensors, known: Mapping[str, Array]) -> Array:
    """Accumulators [T, OH, OW, O] of one layer from the tensors before it ([1, 1, 1, O] of the head)."""
    if layer.op in ATTENTION:
        q, k, v = (known[x] for x in layer.inputs)
        return (ops.sdha if layer.op == SDHA else ops.ssa)(q, k, v, layer.heads, layer.scope)
    x = ops.join([known[name] for name in layer.inputs], layer.upsample)
    w = tensors[f"{layer.name}.weight"]
    return ops.head(x, w)[None, None, None] if layer.op == HEAD else ops.conv(x, w, layer.stride, layer.padding)


def tally(layer: Layer, known: Mapping[str, Array], count: Count) -> None:
    """Add the operations that one layer needs for the tensors before it to ``count``."""
    if layer.op == MASK:
        return
    if layer.op in ATTENTION:
        q, k, v = (known[x] for x in layer.inputs)
        count.sop += int(q.sum(dtype=np.int64)) * (layer.channels // layer.heads)
        count.pairs += ops.pairs(k, v, layer.heads)
        return
    x = ops.join([known[name] for name in layer.inputs], layer.upsample)
    if layer.op == HEAD:
        count.sop += int(ops.bit_count(x).sum(dtype=np.int64)) * layer.channels
    else:
        kernel, fan_out = (layer.kernel, layer.kernel), layer.channels // layer.groups
        count.sop += ops.synaptic_operations(x, kernel, layer.stride, layer.padding, fan_out)


def finish(
    layer: Layer, acc: Array, bias: Array, shift: Array, known: dict[str, Array], u_bits: int, count: Count | None = None
) -> None:
    """From accumulators to what the layer makes of them, which is added to ``known``; saturations are counted."""
    x: Array = ops.affine(acc, bias, shift)
    if layer.op == HEAD:
        known[layer.name] = x
        return
    if layer.residual or layer.u_out:  # whatever becomes a residual value saturates
        u = known[layer.residual] if layer.residual else np.zeros((), np.int16)
        x, saturated = ops.residual(u, x, u_bits)
        if count is not None:
            count.saturations += saturated
    if layer.u_out:
        known[layer.u_out] = x
    if layer.spike_out:
        known[layer.spike_out] = ops.lif(x, layer.theta, layer.leak, layer.reset, layer.levels, layer.step)


def classify(model: Model, known: Mapping[str, Array]) -> int:
    """Index of the largest logit, the lowest one on a tie."""
    return int(np.argmax(known[model.layers[-1].name]))


def accumulator_bounds(model: Model, tensors: Tensors) -> dict[str, Bound]:
    """Prove from the weights that no input at all can overflow an accumulator, bias sum, y or membrane.

    The bound of an accumulator is the sum of |w| times the largest input, so it holds for every partial sum in every
    order; that of a membrane follows the largest and the smallest input through all time steps.

    Raises
    ------
    ModelError
        If a bound does not fit ``ACC_BITS`` signed; the message shows the numbers of every such layer.
    """
    shapes, highs = model.shapes(), model.highs()
    limit = (1 << (ACC_BITS - 1)) - 1
    bounds, wrong = {}, []
    for layer in model.layers:
        if layer.op == MASK:
            continue
        per_channel = _largest_accumulators(layer, tensors, shapes, highs)
        total = per_channel + np.abs(tensors[f"{layer.name}.bias"].astype(np.int64))
        shift = tensors[f"{layer.name}.shift"].astype(np.int64)
        y = int(((total >> np.maximum(shift, 0)) + 1 << np.maximum(-shift, 0)).max())
        x = 1 << (model.u_bits - 1) if layer.residual or layer.u_out else y
        membrane = _largest_membrane(layer, x, shapes[layer.inputs[0]][0]) if layer.spike_out else 0
        bound = Bound(acc=int(per_channel.max()), affine=int(total.max()), y=y, membrane=membrane)
        bounds[layer.name] = bound
        for what in ("acc", "affine", "y", "membrane"):
            if getattr(bound, what) > limit:
                wrong.append(f"layer '{layer.name}': {what} can reach {getattr(bound, what)} > {limit}")
    if wrong:
        raise ModelError(f"{ACC_BITS} signed bits can overflow: " + "; ".join(wrong))
    return bounds


def _largest_accumulators(
    layer: Layer, tensors: Tensors, shapes: Mapping[str, Shape], highs: Mapping[str, int]
) -> NDArray[np.int64]:
    """Sum of |w| times the largest input of every output channel, [O]."""
    t, h, w, _ = shapes[layer.inputs[0]]
    if layer.op in ATTENTION:
        d = layer.channels // layer.heads
        n = {FRAME: h * w, POSITION: t}.get(layer.scope, t * h * w)
        # A <= n and d bits of Q; of Hamming attention |2M| <= 2n from d bits, and |colsum M| <= dn
        return np.full(layer.channels, (3 if layer.op == SDHA else 1) * d * n, np.int64)
    largest = np.concatenate([np.full(shapes[x][3], highs[x], np.int64) for x in layer.inputs]).reshape(layer.groups, -1)
    weight = np.abs(tensors[f"{layer.name}.weight"].astype(np.int64)).sum(axis=(2, 3)).reshape(layer.groups, -1, largest.shape[1])
    sums = np.einsum("goi,gi->go", weight, largest).reshape(-1)
    return sums * (t * h * w if layer.op == HEAD else 1)


def _largest_membrane(layer: Layer, x: int, steps: int) -> int:
    """Largest |h| of a neuron that sees at most |x| for ``steps`` time steps.

    Both ends of the interval follow h = floor(v * leak / 16) +- x. After the reset v is below theta: 0, or h where nothing fired,
    or (soft) h less all of its levels, and then at least theta - step; only what all levels do not take is carried on.
    """
    low = high = largest = 0
    for _ in range(steps):
        low, top = (low * layer.leak >> 4) - x, (high * layer.leak >> 4) + x
        largest = max(largest, top, -low)
        high = min(top, layer.theta - 1)
        if layer.reset != HARD:
            high = max(high, top - layer.levels * layer.spacing)
            low = min(low, layer.theta - layer.spacing)
    return largest


def check(model: Model, tensors: Tensors) -> None:
    """Check that the graph keeps the rules and that the tensors are those of the graph.

    Raises
    ------
    ModelError
        With the layer, what was found and what was expected.
    """
    if found := faults(model):
        raise ModelError("; ".join(f"layer '{name}': {text}" for name, text in found))
    if model.u_bits > U_BITS_MAX:
        raise ModelError(f"residual values of {model.u_bits} bits, at most {U_BITS_MAX} are possible")
    shapes = model.shapes()
    expected = set()
    for layer in model.layers:
        weight = 1 << (layer.weight_bits - 1)
        wanted: dict[str, tuple[type, tuple[int, ...], int, int]] = {
            "bias": (np.int32, (layer.channels,), -(1 << (ACC_BITS - 1)), (1 << (ACC_BITS - 1)) - 1),
            "shift": (np.int8, (layer.channels,), *SHIFT_RANGE),
            "weight": (np.int8, layer.weight_shape(shapes), -weight, weight - 1),
        }
        for part in layer.parts:
            dtype, shape, low, high = wanted[part]
            name = f"{layer.name}.{part}"
            expected.add(name)
            if name not in tensors:
                raise ModelError(f"layer '{layer.name}': tensor '{name}' is missing")
            value = tensors[name]
            if value.dtype != dtype or value.shape != shape:
                raise ModelError(f"tensor '{name}' is {value.dtype} {list(value.shape)}, not {np.dtype(dtype)} {list(shape)}")
            if value.min() < low or value.max() > high:
                raise ModelError(f"tensor '{name}' goes from {value.min()} to {value.max()}, outside {low}..{high}")
        if layer.op == HEAD and tensors[f"{layer.name}.shift"].any():
            raise ModelError(f"layer '{layer.name}': the logits are raw accumulators, but a shift is not 0")
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
    """Write a model file; checks it first.

    Raises
    ------
    ModelError
        If the model breaks a rule, or the file cannot be written.
    """
    check(model, tensors)
    accumulator_bounds(model, tensors)
    try:
        Path(path).parent.mkdir(parents=True, exist_ok=True)
        save_file({k: np.ascontiguousarray(v) for k, v in tensors.items()}, str(path), metadata={"model": model.to_json()})
    except (OSError, SafetensorError) as error:
        raise ModelError(f"cannot write model file '{path}': {error}") from error
