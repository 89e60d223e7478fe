"""Proofs that no input whatsoever overflows, from the weights alone: sums of |w| times the largest input bound every value."""

from __future__ import annotations

from collections.abc import Mapping

import numpy as np
from numpy.typing import NDArray

from golden.spec.model import ATTENTION, HARD, HEAD, SDHA, Layer
from sw import attention, linear
from sw.addition import half
from sw.layouts import Layouts
from sw.packing import Array


def overflows(layouts: Layouts, layer: Layer, tensors: Mapping[str, Array]) -> list[str]:
    """What could overflow in a layer that is no mask, with the numbers.

    Sums wrap modulo two's complement, so only final values matter, and those that go through residual memory.
    """
    c = layouts.config
    bias, shift = (tensors[f"{layer.name}.{x}"].astype(np.int64) for x in ("bias", "shift"))
    if layer.op in ATTENTION:
        # d bits of Q: |2M| <= 2n makes 2dn, which the column sums, |M| <= n, bring back to dn; A <= n makes dn at once
        settled = np.full(layer.channels, layer.channels // layer.heads * attention.tokens(layouts, layer), np.int64)
        most = settled * (2 if layer.op == SDHA else 1)
    else:
        low, high = _accumulators(layouts, layer, tensors)
        most = settled = np.maximum(high, -low)
    total = np.maximum(most, settled + np.abs(bias))
    right = settled + np.abs(bias) + 1 >> np.maximum(shift, 0)
    y = int((right + 1 << np.maximum(-shift, 0)).max())
    residual = bool(layer.residual or layer.u_out)
    limit, x_limit, u_limit = ((1 << bits - 1) - 1 for bits in (c.acc_bits, c.x_bits, c.u_bits))
    found = [("accumulator", int(most.max()), limit)]
    if layer.op == HEAD:  # the neuron unit sums the time steps, with one more bit
        steps = layouts.shapes[layer.inputs[0]][0]
        found.append(("sum of all time steps and bias", int((steps * settled + np.abs(bias)).max()), 2 * limit + 1))
    else:
        found += [("accumulator and bias", int(total.max()), limit), ("y", y, x_limit)]
    if layer.spike_out:
        steps = layouts.out_shape(layer)[0]
        found.append(("membrane", _membrane(layer, u_limit + 1 if residual else y, steps), x_limit))
        found.append(("threshold", layer.theta + (layer.levels - 1) * layer.spacing, x_limit))
    if layer.op in ATTENTION and attention.raw(layouts, layer) and not residual:
        found.append(("y >> shift, which goes through residual memory,", int(right.max()), u_limit))
    if layer.op not in (*ATTENTION, HEAD) and linear.in_parts(layouts, layer):
        found.append(("a sum of parts", _partial_sums(layouts, layer, tensors), u_limit))
        if layer.residual:
            found.append(("y, which goes through residual memory,", y, min(u_limit, half(c) - 1)))
    return [f"{what} can reach {value} > {most}" for what, value, most in found if value > most]


def _accumulators(layouts: Layouts, layer: Layer, tensors: Mapping[str, Array]) -> tuple[NDArray[np.int64], NDArray[np.int64]]:
    """Smallest and largest accumulator of a time step of every output channel, [O], of what has stored weights."""
    reach = _reach(layouts, layer, tensors).sum(axis=(3, 4))  # [sign, O, I]
    _, h, w, _ = layouts.shapes[layer.inputs[0]]
    low, high = reach.sum(axis=2) * (h * w if layer.op == HEAD else 1)
    return low, high


def _reach(layouts: Layouts, layer: Layer, tensors: Mapping[str, Array]) -> NDArray[np.int64]:
    """What each weight can add at least and at most, [2, O, I, KH, KW]."""
    every = np.concatenate([np.full(layouts.shapes[x][3], layouts.highs[x], np.int64) for x in layer.inputs])
    weight = tensors[f"{layer.name}.weight"].astype(np.int64)
    group = np.arange(layer.channels) // (layer.channels // layer.groups)
    reach = weight * every.reshape(layer.groups, -1)[group][:, :, None, None]
    return np.stack([np.minimum(reach, 0), np.maximum(reach, 0)])


def _partial_sums(layouts: Layouts, layer: Layer, tensors: Mapping[str, Array]) -> int:
    """Largest sum that is written before the last part of a layer, bias included."""
    reach = _reach(layouts, layer, tensors)
    bits = layouts.source(layer)[2]
    word = bits.reshape(layer.groups, -1) // layouts.config.word  # [group, I]
    largest = 0
    for block in linear.blocks(layouts, layer):
        outputs = np.arange(block.outputs.start, block.outputs.stop)
        words = word[outputs // (layer.channels // layer.groups)]  # [o, I]
        sums = np.repeat(tensors[f"{layer.name}.bias"].astype(np.int64)[None, outputs], 2, axis=0)
        for part in block.parts[:-1]:
            inside = np.isin(words, part.words) if not layouts.in_lanes(layer) else np.ones_like(words, bool)
            some = reach[:, outputs, :, part.ky.start : part.ky.stop, part.kx.start : part.kx.stop].sum(axis=(3, 4))
            sums += (some * inside).sum(axis=2)
            largest = max(largest, int(sums[1].max()), int(-sums[0].min() - 1))
    return largest


def _membrane(layer: Layer, x: int, steps: int) -> int:
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
