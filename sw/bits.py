"""Spikes copied and masked, with what a layer gathers before it reads: LINEAR with weights of 1 and neurons without memory."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from itertools import product

import numpy as np

from golden.spec.descriptor import Opcode
from golden.spec.model import Layer
from sw import packing
from sw.fields import Pass, Place, group_chunks, loading, spikes_to, walk
from sw.layouts import Layouts, SpikeTensor
from sw.packing import Bytes, round_up


def gather_passes(layouts: Layouts, layer: Layer) -> list[Pass]:
    """Copies of several inputs, or of an enlarged one, into the tensor that a ``conv`` or ``head`` reads; none if it needs none.

    Bit plane by bit plane, those included that an input has not, and once for each place that a value is repeated at. Whole
    words are written, so that the bits between the inputs are 0.
    """
    name, wide, _ = layouts.source(layer)
    if name in layouts.shapes:
        return []
    passes, first, size = [], 0, layer.upsample
    for source in layer.inputs:
        x = layouts.spikes(source)
        lanes = x.words * layouts.config.word
        for plane, dy, dx in product(range(wide.planes), range(size), range(size)):
            fields = walk(x, x.shape[1:3]) | spikes_to(wide, layouts) | {
                "origin": plane * x.words, "spike_dst": plane * wide.words + first,
            }
            if plane >= x.planes:
                fields |= {"origin": 0, "theta": 2}  # more than the one bit that is read
            copies = _lanewise(layouts, layer, fields, {"origin": source, "spike_dst": name}, lanes, x.shape[3])
            passes += [replace(x, at={"spike_dst": Place(dy, dx)}, scale=size) for x in copies]
        first += x.words
    return passes


def mask_passes(layouts: Layouts, layer: Layer) -> list[Pass]:
    """Two taps, one in each tensor, and neurons that fire at two spikes; before it, what repeats a smaller gate."""
    a, b = layer.inputs
    name, gate = layouts.gate(layer)
    _, h, w, channels = layouts.shapes[a]
    lanes = round_up(channels, layouts.config.lanes)
    passes = []
    if name != b and layouts.shapes[b][3] == channels:  # of one place
        x = layouts.spikes(b)
        fields = walk(x, (h, w)) | spikes_to(gate, layouts)
        still = _lanewise(layouts, layer, fields, {"origin": b, "spike_dst": name}, lanes, channels)
        passes += [replace(x, step=(0, 0)) for x in still]
    elif name != b:
        passes += _expand(layouts, layer, b, name, gate)
    fields = walk(gate, (h, w)) | spikes_to(gate, layouts) | {"kernel_w": 2, "theta": 2}
    bases = {"origin": a, "spike_dst": layer.spike_out}
    return passes + _lanewise(layouts, layer, fields, bases, lanes, channels, name)


def _expand(layouts: Layouts, layer: Layer, source: str, name: str, gate: SpikeTensor) -> list[Pass]:
    """A bit of each head to all channels of the head."""
    x, word, channels = layouts.spikes(source), layouts.config.word, gate.shape[3]
    head = np.arange(channels) // (channels // x.shape[3])

    def rows(lanes: range) -> Bytes:
        part = head[lanes.start : lanes.stop]
        weight = np.zeros((len(lanes), x.words * word, 1, 1), np.int8)
        weight[np.arange(len(part)), part] = 1
        return packing.broadcast_rows(weight, layouts.config.lanes, word, 1)

    fields = walk(x, x.shape[1:3]) | spikes_to(gate, layouts) | {
        "words": x.words, "slice_words": x.words, "mask_high": (x.shape[3] - 1) % word,
    }
    bases = {"origin": source, "spike_dst": name}
    bank_rows = x.words * layouts.config.rows_per_word
    return _passes(layouts, layer, fields, bases, round_up(channels, layouts.config.lanes), bank_rows, rows)


def _lanewise(
    layouts: Layouts, layer: Layer, fields: dict[str, int], bases: dict[str, str], lanes: int, channels: int, other: str = ""
) -> list[Pass]:
    """Passes in which every lane sees its own channel, those from ``channels`` to ``lanes`` nothing."""
    taps = fields["kernel_w"]

    def rows(part: range) -> Bytes:
        weight = np.zeros((len(part), 1, 1, taps), np.int8)
        weight[: max(channels - part.start, 0)] = 1
        return packing.lanewise_rows(weight, layouts.config.lanes)

    fields = fields | {"planes": 1, "lanewise": 1, "words": 1, "slice_words": taps, "mask_high": layouts.config.word - 1}
    return _passes(layouts, layer, fields, bases, lanes, taps, rows, other)


def _passes(
    layouts: Layouts, layer: Layer, fields: dict[str, int], bases: dict[str, str], lanes: int, group_rows: int,
    rows: Callable[[range], Bytes], other: str = "",
) -> list[Pass]:
    """Passes over the lane groups of ``lanes``; neurons forget, write one bit plane, and fire at one spike or at ``theta``."""
    c = layouts.config
    passes = []
    for groups in group_chunks(c, lanes // c.lanes, group_rows):
        part = range(groups.start * c.lanes, groups.stop * c.lanes)
        word = part.start // c.word
        moved = {"spike_dst": fields.get("spike_dst", 0) + word}
        if fields.get("lanewise"):
            moved["origin"] = fields.get("origin", 0) + word
        own = {"levels": 1, "out_planes": 1, "slices": 1, "groups": len(groups)}
        one = Pass(Opcode.LINEAR, layer.name, {"theta": 1, **fields, **moved, **own}, bases, other=other)
        nothing = np.zeros(len(part), np.int32)
        passes.append(loading(one, c, rows(part), nothing, nothing))
    return passes
