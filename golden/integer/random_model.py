"""Models with random weights in which spikes flow: for the compiler, the RTL and tests, with no training."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
from numpy.typing import NDArray

from golden.encoding import encode
from golden.integer.graph import svformer_graph
from golden.integer.network import Array, accumulate, finish
from golden.spec.encoding import EVENTS, RGB
from golden.spec.model import HEAD, INPUT, Encoding, Layer, Model

NANO = Encoding(height=32, width=32, timesteps=16, frames=2, patch=4)
RATE = (5, 25)  #: per cent of neurons that fire in each layer, aimed at


def random_clip(encoding: Encoding, rng: np.random.Generator) -> NDArray[np.uint8]:
    """Input tensor of a bright, noisy square that moves over a dark, noisy ground; of events, two where it is bright."""
    t, height, width = encoding.timesteps, encoding.height, encoding.width
    frames = rng.integers(0, 24, (t, height, width), np.uint8)
    size, y, x = height // 3, *rng.integers(0, height, 2)
    dy, dx = rng.integers(-3, 4, 2)
    for i in range(t):
        rows = (np.arange(size) + y + i * dy) % height
        columns = (np.arange(size) + x + i * dx) % width
        frames[i, rows[:, None], columns[None, :]] = rng.integers(120, 256, (size, size), np.uint8)
    if encoding.kind == RGB:
        frames = np.repeat(frames[..., None], 3, axis=-1)
    elif encoding.kind == EVENTS:
        frames = np.repeat(frames[..., None] // 64, 2, axis=-1) & (1 << encoding.bits) - 1
    return encode(frames, encoding)


def random_model(seed: int, encoding: Encoding = NANO, classes: int = 8, **sizes: int) -> tuple[Model, dict[str, Array]]:
    """A nano-shaped model with random 4-bit weights, shifts and biases that make 5 to 25 % of its neurons fire.

    Parameters
    ----------
    seed : int
        Same seed, same model.
    encoding : Encoding
        Shape of the input.
    classes : int
        Outputs of the head.
    **sizes : int
        Of `svformer_graph`: ``local``, ``wide``, ``heads``, ``blocks``, ``ratio``.
    """
    card = {"weights": "random", "command": f"python -m golden random --seed {seed}"}
    model = svformer_graph(
        name="random-nano", encoding=encoding, classes=tuple(f"class{i}" for i in range(classes)), card=card, **sizes
    )
    return replace(model, card={**model.card, "seed": str(seed)}), random_tensors(model, seed)


def random_tensors(model: Model, seed: int) -> dict[str, Array]:
    """Random weights, shifts and biases that make 5 to 25 % of a model's neurons fire, of which it has no masks."""
    rng = np.random.default_rng(seed)
    known: list[dict[str, Array]] = [{INPUT: random_clip(model.encoding, rng)} for _ in range(2)]
    tensors: dict[str, Array] = {}
    for layer in model.layers:
        calibrate(layer, tensors, known, rng, RATE, model.u_bits)
    return tensors


def calibrate(
    layer: Layer, tensors: dict[str, Array], known: list[dict[str, Array]], rng: np.random.Generator, rates: tuple[int, int],
    u_bits: int,
) -> None:
    """Draw the weights of a layer, choose shift and bias so that its neurons fire, and run it.

    Parameters
    ----------
    layer : Layer
        Anything but a mask.
    tensors : dict
        Receives the tensors of the layer.
    known : list of dict
        All tensors before the layer, of each clip; receives what the layer makes.
    rng : Generator
        Of the weights and the rate.
    rates : (int, int)
        Least and largest share of neurons that fire, per cent.
    u_bits : int
        Of the model.
    """
    if "weight" in layer.parts:
        high = 1 << (layer.weight_bits - 1)
        shape = layer.weight_shape({name: value.shape for name, value in known[0].items()})
        tensors[f"{layer.name}.weight"] = rng.integers(-high, high, shape, np.int8)
    acc = np.stack([accumulate(layer, tensors, k) for k in known])  # [clip, T, H, W, O]
    bias, shift = np.zeros(layer.channels, np.int32), np.zeros(layer.channels, np.int8)
    if layer.op != HEAD:
        top = layer.theta + (layer.levels - 1) * layer.spacing
        shift = np.array([_shift(acc[..., o], 2 * (top or 1 << 7)) for o in range(layer.channels)], np.int8)
        if layer.spike_out:
            bias = _bias(layer, acc, shift, known, int(rng.integers(rates[0] + 2, rates[1] - 2)), u_bits)
    tensors[f"{layer.name}.bias"] = bias
    tensors[f"{layer.name}.shift"] = shift
    for k, a in zip(known, acc, strict=True):
        finish(layer, a, bias, shift, k, u_bits)


def _shift(acc: Array, reach: int) -> int:
    """Shift that brings the largest accumulator of a channel to at most ``reach``, more than half of it."""
    largest = max(int(np.abs(acc).max()), 1)
    shift = 0
    while largest >> shift > reach:
        shift += 1
    while shift > -6 and (largest << -(shift - 1) if shift <= 0 else largest >> (shift - 1)) <= reach:
        shift -= 1
    return shift


def _bias(layer: Layer, acc: Array, shift: Array, known: list[dict[str, Array]], rate: int, u_bits: int) -> NDArray[np.int32]:
    """Bias of every channel that makes ``rate`` per cent of its neurons fire, by bisection on all channels at once."""
    span = (np.abs(acc).max() + (layer.theta << np.maximum(shift, 0).astype(np.int64))) * 2
    low, high = -span.astype(np.int32), span.astype(np.int32)
    neurons = replace(layer, u_out="")
    while (high - low).max() > 1:
        middle = (low + high) >> 1
        fired = np.zeros(shift.shape, np.int64)
        for a, k in zip(acc, known, strict=True):
            made = {layer.residual: k[layer.residual]} if layer.residual else {}
            finish(neurons, a, middle, shift, made, u_bits)
            fired += (made[layer.spike_out] > 0).sum(axis=(0, 1, 2), dtype=np.int64)
        many = fired * 100 > rate * acc[..., 0].size
        high = np.where(many, middle, high)
        low = np.where(many, low, middle)
    return low.astype(np.int32)
