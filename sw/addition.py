"""The sum of two residual tensors: one becomes multi-level spikes, digit by digit, which LINEAR adds to the other.

The machine adds accumulators to residual values, but never two of these. So y, from -2^(bn-1) up, is taken apart from the top:
neurons without memory, with 2^b - 1 thresholds 2^(bj) apart, make digit j, and the next pass takes it away from y.
"""

from __future__ import annotations

import numpy as np

from golden.spec.descriptor import FIELDS, Opcode
from golden.spec.model import Layer
from sw import packing
from sw.fields import Pass, bases, group_chunks, lanewise_pass_words, loading, neuron, residual_strides, spikes_to, walk
from sw.layouts import Layouts, SpikeTensor
from sw.packing import Array

BITS = FIELDS["levels"].high.bit_length()  #: b
SLICES = 4  #: of weights up to 2^(b(n-1)), signed
DIGITS = min(16, packing.SLICE_BITS * SLICES - 2 + BITS) // BITS  #: n
HALF = 1 << BITS * DIGITS - 1  #: y is less


def digits(layouts: Layouts, layer: Layer) -> tuple[str, SpikeTensor]:
    """Name and layout of the `DIGITS` tensors that a sum is taken apart into, the lowest digit first: as one of so many rows."""
    one = layouts.like(layer, BITS)
    t, h, w, c = one.shape
    return f"digits of {layer.name}", SpikeTensor((t, DIGITS * h, w, c), BITS, one.words, one.steps)


def addition_passes(layouts: Layouts, layer: Layer, source: str) -> list[Pass]:
    """Passes that add residual tensor ``source``, which they use up, to the layer's, and go on with that as the layer does."""
    name = digits(layouts, layer)[0]
    digit = layouts.like(layer, BITS)
    size, (_, h, w, _) = digit.bank_words, digit.shape
    every = walk(digit, (h, w)) | residual_strides(layouts, layer)
    passes = []
    for j in reversed(range(DIGITS)):
        taken = -1 << BITS * (j + 1)  # what a digit that the pass before has made stands for
        fields = every | spikes_to(digit, layouts.config) | {
            "partial": 1, "u_write": 1, "levels": (1 << BITS) - 1, "theta": (1 << BITS * j) - HALF, "step_shift": BITS * j,
            "origin": (j + 1) * size, "spike_dst": j * size,
        }
        if j == DIGITS - 1:
            taken, fields = 0, fields | {"in_h": 0, "in_w": 0, "origin": 0}
        where = {"origin": name, "spike_dst": name, "u_src": source, "u_dst": source}
        passes += _passes(layouts, layer, fields, where, np.array([taken]), 0)
    fields = every | neuron(layouts, layer) | {"x_stride": size, "in_w": w + DIGITS - 1}
    return passes + _passes(layouts, layer, fields, bases(layer, name), 1 << BITS * np.arange(DIGITS), -HALF)


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
