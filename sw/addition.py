"""The sum of two residual tensors: one becomes multi-level spikes, digit by digit, which LINEAR adds to the other.

The machine adds accumulators to residual values, but never two of these. So y, from -2^(bn-1) up, is taken apart from the top:
neurons without memory, with 2^b - 1 thresholds 2^(bj) apart, make digit j, and the next pass takes it away from y.
"""

from __future__ import annotations

from dataclasses import replace

import numpy as np

from golden.spec.config import Config
from golden.spec.descriptor import Opcode
from golden.spec.model import Layer
from sw import packing
from sw.fields import Pass, Place, bases, group_chunks, lanewise_pass_words, loading, neuron, residual_strides, spikes_to, walk
from sw.layouts import Layouts, SpikeTensor
from sw.packing import Array

SLICES = 4  #: of weights up to 2^(b(n-1)), signed


def _sizes(config: Config) -> tuple[int, int]:
    """Bits of a digit (b), and as many digits as the weights allow within 16 bits (n)."""
    b = config.levels_max.bit_length()
    return b, min(16, packing.SLICE_BITS * SLICES - 2 + b) // b


def half(config: Config) -> int:
    """2^(bn-1), which y must be less than."""
    b, n = _sizes(config)
    return 1 << b * n - 1


def digits(layouts: Layouts, layer: Layer) -> tuple[str, SpikeTensor]:
    """Name and layout of the n tensors that a sum is taken apart into, the lowest digit first, as its copies."""
    b, n = _sizes(layouts.config)
    return f"digits of {layer.name}", replace(layouts.like(layer, b), copies=n)


def addition_passes(layouts: Layouts, layer: Layer, source: str) -> list[Pass]:
    """Passes that add residual tensor ``source``, which they use up, to the layer's, and go on with that as the layer does."""
    name = digits(layouts, layer)[0]
    b, n = _sizes(layouts.config)
    digit = layouts.like(layer, b)
    _, h, w, _ = digit.shape
    every = walk(digit, (h, w)) | residual_strides(layouts, layer)
    passes = []
    for j in reversed(range(n)):
        taken = -1 << b * (j + 1) if j < n - 1 else 0  # what the digit that the pass before has made stands for
        fields = every | spikes_to(digit, layouts) | {
            "partial": 1, "u_write": 1, "levels": (1 << b) - 1, "theta": (1 << b * j) - half(layouts.config), "step_shift": b * j,
        }
        where = {"spike_dst": name, "u_src": source, "u_dst": source}
        if j < n - 1:
            where["origin"] = name
        at = {"origin": Place(copy=j + 1), "spike_dst": Place(copy=j)}
        passes += [replace(x, at=at) for x in _passes(layouts, layer, fields, where, np.array([taken]), 0)]
    every |= neuron(layouts, layer)
    total = _passes(layouts, layer, every, bases(layer, name), 1 << b * np.arange(n), -half(layouts.config))
    return passes + [replace(x, through=True) for x in total]


def _passes(
    layouts: Layouts, layer: Layer, fields: dict[str, int], where: dict[str, str], weights: Array, bias: int
) -> list[Pass]:
    """Passes lanewise whose taps have the same ``weights`` in all channels."""
    c, taps = layouts.config, len(weights)
    passes = []
    for groups in group_chunks(c, -(-layer.channels // c.lanes), taps * SLICES):
        lanes = len(groups) * c.lanes
        own = {
            "lanewise": 1, "words": 1, "mask_high": c.word - 1, "slices": SLICES, "kernel_w": taps, "slice_words": taps,
            "pass_words": lanewise_pass_words(c, SLICES, taps), "groups": len(groups), "first_group": groups.start,
        }
        rows = packing.lanewise_rows(np.broadcast_to(weights, (lanes, 1, 1, taps)), c.lanes, SLICES)
        passes.append(loading(
            Pass(Opcode.LINEAR, layer.name, fields | own, where), c, rows, np.full(lanes, bias), np.zeros(lanes, np.int8)))
    return passes
