"""Convolutions and the head as passes: dense, in groups, or channel by channel; in parts where the weights do not fit."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from itertools import product
from math import lcm

import numpy as np

from golden.spec.descriptor import FIELDS, Opcode
from golden.spec.model import HEAD, Layer
from sw import packing
from sw.addition import addition_passes
from sw.fields import GROUPS, Pass, Place, bases, lanewise_pass_words, loading, neuron, residual_strides, walk
from sw.layouts import Layouts, chunks, logit_beats
from sw.packing import Array, Bytes


@dataclass(frozen=True)
class Part:
    """Taps and input words (of the tensor) that one pass reads."""

    ky: range
    kx: range
    words: range


@dataclass(frozen=True)
class Block:
    """Output channels, from a whole lane group on, and the input channels that they see; no other output sees these."""

    outputs: range
    inputs: range
    parts: tuple[Part, ...]  #: each is one pass; their sums are added up in residual memory, those of the head by the host
    groups: int  #: lane groups of a pass


def in_lanes(layouts: Layouts, layer: Layer) -> bool:
    """Whether every output channel sees the input channel of its own bit only."""
    bits = layouts.source(layer)[2]
    return len(bits) == layer.channels == layer.groups > 1 and bool((bits == np.arange(len(bits))).all())


def blocks(layouts: Layouts, layer: Layer) -> list[Block]:
    """The blocks of a ``conv`` or ``head``, as small as groups of channels and lane groups allow."""
    c = layouts.config
    _, _, bits = layouts.source(layer)
    outputs, inputs = layer.channels // layer.groups, len(bits) // layer.groups
    lanewise = in_lanes(layouts, layer)
    size = layer.channels if lanewise else lcm(outputs, c.lanes)
    found = []
    for part in chunks(layer.channels, size):
        seen = range(part.start // outputs * inputs, -(-part.stop // outputs) * inputs)
        found.append(Block(part, seen, *_split(layouts, layer, range(bits[seen[0]] // c.word, bits[seen[-1]] // c.word + 1))))
    return found


def in_parts(layouts: Layouts, layer: Layer) -> bool:
    """Whether sums of a layer go through residual memory."""
    return any(len(block.parts) > 1 for block in blocks(layouts, layer))


def head_parts(layouts: Layouts) -> int:
    """Numbers whose sum is a logit: as many as the head has parts."""
    return len(blocks(layouts, layouts.model.layers[-1])[0].parts)


def _split(layouts: Layouts, layer: Layer, words: range) -> tuple[tuple[Part, ...], int]:
    """Parts of ``words`` and all taps, and the lane groups whose weights and parameters are on chip together.

    Half a memory if that is enough for one lane group, so that the next descriptor's weights can load meanwhile; it costs no
    time, since each group reads the input anyway. Else all of it, else parts that fit half of it: of the words, and where one
    word is too much, of the taps. A head has parts for its rows, too, where it does not read them all at a time.
    """
    c = layouts.config
    ky, kx = _taps(layouts, layer)
    lanewise = in_lanes(layouts, layer)
    unit = layer.weight_bits // packing.SLICE_BITS * (1 if lanewise else c.word)  # rows of one word and tap
    taps = 1 if layer.op == HEAD else len(ky) * len(kx)
    words = range(1) if lanewise else words
    whole = GROUPS
    if layouts.pieces.intersection((layouts.source(layer)[0], layer.spike_out)):
        whole = c.word // c.lanes  # a pass reads or writes one piece
    rows = [ky[i.start : i.stop] for i in chunks(len(ky), layouts.head_rows or len(ky))] if layer.op == HEAD else [ky]
    for share in (2, 1):
        depth = c.weight_rows // share // c.rows_per_word * c.rows_per_word * (1 if lanewise else c.issue)
        most = min(c.param_beats // share // c.beats, whole)
        groups = min(depth // (unit * taps * len(words)), most)
        if groups and taps * len(words) <= FIELDS["slice_words"].high:
            return tuple(Part(some, kx, words) for some in rows), groups
        if share == 2:
            fit = min(depth // unit, FIELDS["slice_words"].high)  # taps and words at a time
    fit = max(fit, 1)
    wide = [words[i.start : i.stop] for i in chunks(len(words), max(fit // taps, 1))]
    tall = [ky[i.start : i.stop] for i in chunks(len(ky), max(fit // len(kx), 1))] if fit < taps else rows
    broad = [kx[i.start : i.stop] for i in chunks(len(kx), fit)] if fit < min(len(kx), taps) else [kx]
    return tuple(Part(*x) for x in product(tall, broad, wide)), 1


def _taps(layouts: Layouts, layer: Layer) -> tuple[range, range]:
    """Taps in y and x that see any place of the input; a head has one for each place."""
    shape, out = layouts.source(layer)[1].shape, layouts.out_shape(layer)
    if layer.op == HEAD:
        return range(shape[1]), range(shape[2])
    seen = []
    for size, places in zip(shape[1:3], out[1:3], strict=True):
        taps = [k for k in range(layer.kernel) if any(0 <= o * layer.stride - layer.padding + k < size for o in range(places))]
        seen.append(range(taps[0], taps[-1] + 1) if taps else range(1))
    return seen[0], seen[1]


def linear_passes(layouts: Layouts, layer: Layer, tensors: Mapping[str, Array]) -> list[Pass]:
    """Passes of a convolution or of the head: over blocks, lane groups and parts."""
    c = layouts.config
    name, source, _ = layouts.source(layer)
    bias, shift = (tensors[f"{layer.name}.{x}"] for x in ("bias", "shift"))
    shape = layouts.out_shape(layer)
    step, padding = ((1, 1), 0) if layer.op == HEAD else ((layer.stride, layer.stride), layer.padding)
    lanewise, slices = in_lanes(layouts, layer), layer.weight_bits // packing.SLICE_BITS
    passes = []
    for block in blocks(layouts, layer):
        for start in range(block.outputs.start, block.outputs.stop, block.groups * c.lanes):
            outputs = range(start, min(start + block.groups * c.lanes, block.outputs.stop))
            groups = -(-len(outputs) // c.lanes)
            sop = (1, slices) if lanewise else (_fan_out(layer, block, outputs), groups * slices)
            for i, part in enumerate(block.parts):
                last = i == len(block.parts) - 1
                rows, masks = _weights(layouts, layer, block, outputs, part, tensors[f"{layer.name}.weight"])
                fields = walk(source, shape[1:3]) | neuron(layouts, layer) | masks | {
                    "kernel_h": len(part.ky), "kernel_w": len(part.kx), "origin": 0 if lanewise else part.words.start,
                    "groups": groups, "first_group": start // c.lanes, "slices": slices, "lanewise": int(lanewise),
                    "shared_taps": int(layer.op == HEAD),
                }
                where = bases(layer, name)
                at = {"origin": Place(part.ky.start - padding, part.kx.start - padding)}
                if name in layouts.pieces:  # the machine adds the word of the lane group
                    at["origin"] = at["origin"]._replace(copy=start // c.word)
                    fields["origin"] = -(start // c.word)
                if layer.spike_out in layouts.pieces:
                    at["spike_dst"] = Place(copy=start // c.word)
                    fields["first_group"] = start % c.word // c.lanes
                if layer.op == HEAD:
                    fields["u_dst"] = i * logit_beats(layer.channels, c)
                elif len(block.parts) > 1:
                    _add_up(layouts, layer, fields, where, i == 0, last)
                some, nothing = slice(outputs.start, outputs.stop), np.zeros(len(outputs), np.int32)
                passes.append(loading(
                    Pass(Opcode.LINEAR, layer.name, fields, where, at, step, sop=sop), c, rows,
                    nothing if i else bias[some], shift[some] if last else nothing,
                ))
    if layer.residual and in_parts(layouts, layer):
        passes += addition_passes(layouts, layer, sums(layer))
    return passes


def sums(layer: Layer) -> str:
    """Residual tensor in which the parts of a layer add up: the one that it makes, or one of its own."""
    return layer.u_out if layer.u_out and not layer.residual else f"sum of {layer.name}"


def _add_up(layouts: Layouts, layer: Layer, fields: dict[str, int], where: dict[str, str], first: bool, last: bool) -> None:
    """Make a pass one of several whose sums add up: all but the first read the sum, all but the last only write it.

    Of a layer that adds to a residual tensor all do, and what the last writes is y.
    """
    fields |= residual_strides(layouts, layer) | {"partial": int(not first), "residual": 0}
    where |= {} if first else {"u_src": sums(layer)}
    if not last or layer.residual:
        fields |= {"u_write": 1, "fire": 0}
        where["u_dst"] = sums(layer)


def _fan_out(layer: Layer, block: Block, outputs: range) -> int:
    """Output channels that each input of a pass is counted for: of a group that lies in several passes, all in the first."""
    each = layer.channels // layer.groups
    if len(block.outputs) <= each:
        return len(outputs)
    return each if outputs.start == block.outputs.start else 0


def _weights(
    layouts: Layouts, layer: Layer, block: Block, outputs: range, part: Part, weight: Array
) -> tuple[Bytes, dict[str, int]]:
    """Weight rows of a pass, 0 where an output does not see a channel; and the fields that say which bits it reads."""
    c = layouts.config
    some = weight[outputs.start : outputs.stop]
    if layer.op != HEAD:
        some = some[:, :, part.ky.start : part.ky.stop, part.kx.start : part.kx.stop]
    slices, taps = layer.weight_bits // packing.SLICE_BITS, some.shape[2] * some.shape[3]
    if in_lanes(layouts, layer):
        return packing.lanewise_rows(some, c.lanes, slices), {
            "words": 1, "slice_words": taps, "mask_high": c.word - 1, "pass_words": lanewise_pass_words(c, slices, taps),
        }
    bits = layouts.source(layer)[2]
    each = len(bits) // layer.groups
    group = np.array(outputs) // (layer.channels // layer.groups)
    at = bits[group[:, None] * each + np.arange(each)] - part.words.start * c.word  # [output, channel of its group]
    output, channel = np.nonzero((at >= 0) & (at < len(part.words) * c.word))
    dense = np.zeros((len(outputs), len(part.words) * c.word, *some.shape[2:]), some.dtype)
    dense[output, at[output, channel]] = some[output, channel]
    low, high = int(bits[block.inputs[0]]), int(bits[block.inputs[-1]])
    words = len(part.words)
    rows = packing.rotate(packing.broadcast_rows(dense, c.lanes, c.word, slices), taps, words * c.word, c.issue)
    return rows, {
        "words": words, "slice_words": taps * words,
        "pass_words": packing.pass_words(rows, slices, taps * words, c, len(part.ky) * len(part.kx) // taps),
        "mask_low": low % c.word if low // c.word in part.words[:1] else 0,
        "mask_high": high % c.word if high // c.word in part.words[-1:] else c.word - 1,
    }
