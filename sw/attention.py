"""Attention as passes: a HAMMING descriptor makes weights of K and V, a LINEAR one applies them to Q."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from itertools import product

import numpy as np

from golden.spec.descriptor import Opcode
from golden.spec.model import FRAME, JOINT, SDHA, Layer
from sw import packing
from sw.fields import Pass, Place, bases, every_core, group_chunks, loading, neuron, residual_strides, walk
from sw.layouts import Layouts
from sw.packing import Array, round_up


@dataclass(frozen=True)
class _Scene:
    """Tokens that see each other: all of them, or those of a time step or of a place."""

    step: int  #: time steps of a core from the first to that of the first token
    times: int  #: how often each bit of Q is read: a core without tokens runs idle, on those of other scenes
    place: tuple[int, int] | None  #: row and column of the only place; None for all places
    tokens: int  #: of each core
    stride: int  #: bank words from one token to the next
    fields: dict[str, int]  #: of the LINEAR descriptor, where it is not the whole tensor
    cores: int  #: mask of those that have tokens


def tokens(layouts: Layouts, layer: Layer) -> int:
    """Tokens that see each other."""
    t, h, w, _ = layouts.out_shape(layer)
    return {JOINT: t * h * w, FRAME: h * w}.get(layer.scope, t)


def slices(layouts: Layouts, layer: Layer) -> int:
    """Weight slices that hold what HAMMING makes: 2M from -2n to 2n, or A up to n."""
    n = tokens(layouts, layer)
    bits = (2 * n if layer.op == SDHA else n).bit_length() + 1
    return -(-bits // packing.SLICE_BITS)


def bundle(layouts: Layouts, layer: Layer) -> int:
    """Channels of the heads that are made together: one head, or as many as fill the lanes."""
    return max(layer.channels // layer.heads, layouts.config.lanes)


def raw(layouts: Layouts, layer: Layer) -> str:
    """Residual tensor from which the neurons of attention among the tokens of a time step get what they see; "" for none.

    There each time step has a descriptor of its own, and membranes do not outlive a descriptor. It is the layer's U; where there
    is none, what left shifts have not made large yet.
    """
    if layer.scope != FRAME or not layer.spike_out or not layer.leak or layouts.out_shape(layer)[0] == 1:
        return ""
    return layer.u_out or f"sum of {layer.name}"


def _scenes(layouts: Layouts, layer: Layer) -> Iterator[_Scene]:
    """The tokens that see each other, scene by scene."""
    c = layouts.config
    q = layouts.spikes(layer.inputs[0])
    t, h, w, _ = q.shape
    if layer.scope == JOINT:
        yield _Scene(0, 1, None, h * w * q.steps, q.step_words, {}, every_core(c))
    elif layer.scope == FRAME:
        for i in range(t):
            step, core = divmod(i, c.cores)
            own = {"steps": 1, "bank_mask": 1 << core, "idle": 0}
            if i == t - 1:  # the cores behind it have no time step: they are idle
                own |= {"bank_mask": every_core(c) & -1 << core, "idle": c.cores - 1 - core}
            yield _Scene(step, min(c.cores, t - step * c.cores), None, h * w, q.x_stride, own, 1 << core)
    else:
        for place in product(range(h), range(w)):
            yield _Scene(0, 1, place, q.steps, q.step_words, {"out_h": 1, "out_w": 1}, every_core(c))


def attention_passes(layouts: Layouts, layer: Layer, tensors: Mapping[str, Array]) -> list[Pass]:
    """A HAMMING and a LINEAR descriptor for each scene and bundle of heads, then neurons where they could not be there."""
    c = layouts.config
    q = layouts.spikes(layer.inputs[0])
    bias, shift = (tensors[f"{layer.name}.{x}"] for x in ("bias", "shift"))
    own = raw(layouts, layer)
    left = np.minimum(shift, 0) if own and not (layer.residual or layer.u_out) else np.zeros_like(shift)
    shift = shift - left
    head, width, high = layer.channels // layer.heads, bundle(layouts, layer), slices(layouts, layer)
    groups, beats = width // c.lanes, width // c.neuron_lanes
    out = neuron(layouts, layer) | (residual_strides(layouts, layer) | {"u_write": 1, "fire": 0} if own else {})
    where = bases(layer, layer.inputs[0]) | ({"u_dst": own} if own else {})
    passes = []
    for scene in _scenes(layouts, layer):
        for first in range(0, layer.channels, width):
            offset, low = divmod(first, c.word)
            words = -(-(low + width) // c.word)
            rows = round_up(groups * high * words * c.word // c.issue, c.rows_per_word)
            part = slice(first, first + width)
            shared = {
                "groups": groups, "slices": high, "words": words, "slice_words": words, "planes": 1,
                "mask_low": low, "mask_high": (low + width - 1) % c.word,
            }
            word, first_place = scene.step * q.step_words + offset, scene.place or (0, 0)
            passes.append(Pass(
                Opcode.HAMMING, layer.name,
                {**shared, "dot": int(layer.op != SDHA), "bank_mask": scene.cores, "k_src": word, "v_src": word, "width": width,
                 "bank_tokens": scene.tokens, "step_stride": scene.stride, "plane_stride": q.words, "param_beats": beats,
                 "head_mask": (width - 1) & ~(head - 1) if width > head else 0},
                {"k_src": layer.inputs[1], "v_src": layer.inputs[2]},
                {x: Place(*scene.place) for x in ("k_src", "v_src") if scene.place}, first=first_place,
                parameters=packing.pack_parameters(bias[part], shift[part], c.lanes), rows=rows, beats=beats,
            ))
            fields = walk(q, q.shape[1:3]) | out | shared | scene.fields
            u = scene.step * c.cores * out.get("u_step", 0)
            fields |= {
                "first_group": first // c.lanes, "pass_words": ((1 << c.sum_bits - 1) - 1) // c.most_sum,
                "origin": word, "u_src": u, "u_dst": u, "spike_dst": scene.step * out.get("dst_words", 0),
            }
            passes.append(Pass(
                Opcode.LINEAR, layer.name, fields, where, {x: Place(*first_place) for x in where}, first=first_place,
                rows=rows, beats=beats, sop=(head, groups * high * scene.times),
            ))
    return passes + (_neuron_passes(layouts, layer, own, left) if own else [])


def _neuron_passes(layouts: Layouts, layer: Layer, source: str, shift: Array) -> list[Pass]:
    """Neurons on a whole residual tensor, shifted: the accumulators are 0, since no tap is within an input of no size."""
    c = layouts.config
    q = layouts.spikes(layer.inputs[0])
    fields = walk(q, q.shape[1:3]) | residual_strides(layouts, layer) | neuron(layouts, layer) | {
        "planes": 1, "slices": 1, "words": 1, "slice_words": 1, "residual": 0, "u_write": 0, "partial": 1,
    }
    passes = []
    for groups in group_chunks(c, -(-layer.channels // c.lanes), 0):
        some = shift[groups.start * c.lanes : groups.stop * c.lanes]
        one = Pass(
            Opcode.LINEAR, layer.name, fields | {"groups": len(groups), "first_group": groups.start},
            {"u_src": source, "spike_dst": layer.spike_out},
        )
        passes.append(loading(one, c, np.zeros((0, c.lanes), np.uint8), np.zeros(len(some), np.int32), some))
    return passes
