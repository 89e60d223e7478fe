"""A layer as passes of the machine: descriptor fields, weight and parameter images, all but the addresses."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field

import numpy as np

from golden.spec.config import Config
from golden.spec.descriptor import Opcode
from golden.spec.model import HEAD, INPUT, SDHA, SOFT, Layer, Model
from sw import packing
from sw.packing import Array, Bytes, round_up

Shape = tuple[int, int, int, int]
EMPTY = np.zeros(0, np.uint8)


@dataclass(frozen=True)
class SpikeTensor:
    """How a spike tensor (or the input, with ``planes`` bits a value) lies in the banks."""

    shape: Shape
    planes: int
    words: int
    steps: int

    @property
    def step_words(self) -> int:
        """Bank words of one time step of one position."""
        return self.planes * self.words

    @property
    def x_stride(self) -> int:
        """Bank words of one position."""
        return self.steps * self.step_words

    @property
    def y_stride(self) -> int:
        """Bank words of one row of positions."""
        return self.shape[2] * self.x_stride

    @property
    def bank_words(self) -> int:
        """Words of the whole tensor in one bank."""
        return self.shape[1] * self.y_stride


@dataclass
class Pass:
    """One descriptor to be.

    ``fields`` hold everything but addresses; ``bases`` names, for an address field, the tensor whose base is to be
    added to it. ``rows`` are bank rows of weight memory in use, of which the image fills none where they are generated.
    One row added (or, lanewise, one lane) stands for ``sop[0] / sop[1]`` synaptic operations.
    """

    opcode: Opcode
    layer: str
    fields: dict[str, int]
    bases: dict[str, str] = field(default_factory=dict)
    weights: Bytes = field(default_factory=lambda: EMPTY)
    parameters: Bytes = field(default_factory=lambda: EMPTY)
    rows: int = 0
    beats: int = 0
    sop: tuple[int, int] = (0, 1)


def spike_tensor(model: Model, shapes: Mapping[str, Shape], name: str, config: Config) -> SpikeTensor:
    """Layout of tensor ``name`` in the banks."""
    shape = shapes[name]
    planes = model.planes if name == INPUT else 1
    return SpikeTensor(shape, planes, -(-shape[3] // config.word), shape[0] // config.cores)


def residual_beats(shape: Shape, config: Config) -> int:
    """Beats of residual memory of a residual tensor."""
    t, h, w, c = shape
    return t * h * w * round_up(c, config.lanes) // config.neuron_lanes


def logit_beats(classes: int, config: Config) -> int:
    """Beats of residual memory of the logits, which take 32 bits."""
    return 2 * round_up(classes, config.lanes) // config.neuron_lanes


def slices_for(low: int, high: int) -> int:
    """Four-bit slices of a signed number from ``low`` to ``high``."""
    bits = max((~low if low < 0 else low).bit_length(), (~high if high < 0 else high).bit_length()) + 1
    return -(-bits // packing.SLICE_BITS)


def group_rows(layer: Layer, channels: int, config: Config) -> int:
    """Weight rows, of all banks together, of one lane group of a layer with stored weights."""
    taps = layer.kernel**2
    if layer.depthwise:
        return taps
    return layer.weight_bits // packing.SLICE_BITS * taps * round_up(channels, config.word)


def groups_per_pass(layer: Layer, channels: int, config: Config) -> int:
    """Lane groups whose weights and parameters are on chip together: half a memory if that is enough for one group.

    Half, so that the next descriptor's weights can load meanwhile; it costs no time, since each group reads the input
    anyway. 0 if not even one group fits.
    """
    rows = group_rows(layer, channels, config)
    for share in (2, 1):
        depth = config.weight_rows // share // config.rows_per_word * config.rows_per_word
        fit = min(depth * config.issue // rows, config.param_beats // share // config.beats, 255)
        if fit:
            return fit
    return 0


def linear_passes(model: Model, layer: Layer, tensors: Mapping[str, Array], config: Config) -> list[Pass]:
    """Passes of a convolution or of the head: one, or several over lane groups where the weights are too many."""
    shapes = model.shapes()
    source = spike_tensor(model, shapes, layer.inputs[0], config)
    weight, bias, shift = (tensors[f"{layer.name}.{x}"] for x in ("weight", "bias", "shift"))
    slices = layer.weight_bits // packing.SLICE_BITS
    if layer.op == HEAD:
        kernel = source.shape[1:3]
        taps = 1
    else:
        kernel = (layer.kernel, layer.kernel)
        taps = layer.kernel**2
    per_pass = groups_per_pass(layer, source.shape[3], config)
    every = -(-layer.channels // config.lanes)
    passes = []
    for first in range(0, every, per_pass):
        groups = min(per_pass, every - first)
        part = slice(first * config.lanes, (first + groups) * config.lanes)
        if layer.depthwise:
            rows = packing.lanewise_rows(weight[part], config.lanes)
            rows = np.concatenate([rows, np.zeros((-len(rows) % config.issue, config.lanes), np.uint8)])
        else:
            rows = packing.broadcast_rows(weight[part], config.lanes, config.word, slices)
            rows = packing.rotate(rows, taps, source.words * config.word, config.issue)
        words = 1 if layer.depthwise else source.words
        repeat = kernel[0] * kernel[1] // taps
        fields = {
            **_walk(layer, shapes, source, kernel),
            **_neuron(layer, shapes, config),
            "groups": groups, "first_group": first, "words": words, "slices": slices,
            "pass_words": 0 if layer.depthwise else packing.pass_words(rows, slices, taps * words, config, repeat),
            "slice_words": taps * words, "lanewise": int(layer.depthwise), "shared_taps": int(layer.op == HEAD),
            "mask_high": config.word - 1 if layer.depthwise else (source.shape[3] - 1) % config.word,
            "weight_rows": len(rows), "param_beats": groups * config.beats,
        }
        passes.append(Pass(
            Opcode.LINEAR, layer.name, fields, _bases(layer, layer.inputs[0]),
            packing.pack_rows(rows), packing.pack_parameters(bias[part], shift[part], config.lanes),
            rows=round_up(len(rows) // config.issue, config.rows_per_word), beats=groups * config.beats,
            sop=(1, 1) if layer.depthwise else (min(len(bias[part]), groups * config.lanes), groups * slices),
        ))
    return passes


def attention_passes(model: Model, layer: Layer, tensors: Mapping[str, Array], config: Config) -> list[Pass]:
    """Passes of Hamming attention: a HAMMING and a LINEAR descriptor for each bundle of heads."""
    shapes = model.shapes()
    source = spike_tensor(model, shapes, layer.inputs[0], config)
    t, h, w, c = source.shape
    bias, shift = (tensors[f"{layer.name}.{x}"] for x in ("bias", "shift"))
    head = layer.channels // layer.heads
    width = max(head, config.lanes)
    groups, beats = width // config.lanes, width // config.neuron_lanes
    slices = slices_for(-2 * t * h * w, 2 * t * h * w)
    passes = []
    for first in range(0, c, width):
        offset, low = divmod(first, config.word)
        words = -(-(low + width) // config.word)
        image_rows = groups * slices * words * config.word
        heads = {
            "groups": groups, "slices": slices, "words": words, "planes": 1, "steps": source.steps,
            "mask_low": low, "mask_high": (low + width - 1) % config.word,
            "step_stride": source.step_words, "plane_stride": source.words, "slice_words": words,
            "kernel_h": 1, "kernel_w": 1,
        }
        rows = round_up(image_rows // config.issue, config.rows_per_word)
        part = slice(first, first + width)
        passes.append(Pass(
            Opcode.HAMMING, layer.name,
            {**heads, "bank_mask": (1 << config.cores) - 1, "k_src": offset, "v_src": offset, "width": width,
             "bank_tokens": h * w * source.steps, "param_beats": beats,
             "head_mask": (width - 1) & ~(head - 1) if width > head else 0},
            {"k_src": layer.inputs[1], "v_src": layer.inputs[2]},
            parameters=packing.pack_parameters(bias[part], shift[part], config.lanes), rows=rows, beats=beats,
        ))
        fields = {**_walk(layer, shapes, source, (1, 1)), **_neuron(layer, shapes, config), **heads}
        fields["origin"] += offset
        fields["pass_words"] = ((1 << config.sum_bits - 1) - 1) // config.most_sum
        fields["first_group"] = first // config.lanes
        passes.append(Pass(
            Opcode.LINEAR, layer.name, fields, _bases(layer, layer.inputs[0]), rows=rows, beats=beats, sop=(head, groups * slices)
        ))
    return passes


def layer_passes(model: Model, layer: Layer, tensors: Mapping[str, Array], config: Config) -> list[Pass]:
    """Passes of any layer that the support check accepts."""
    return (attention_passes if layer.op == SDHA else linear_passes)(model, layer, tensors, config)


def _walk(layer: Layer, shapes: Mapping[str, Shape], source: SpikeTensor, kernel: tuple[int, int]) -> dict[str, int]:
    """Fields that say which words a LINEAR descriptor reads."""
    padding = 0 if layer.op == HEAD else layer.padding
    stride = 1 if layer.op == HEAD else layer.stride
    return {
        "out_h": 1 if layer.op == HEAD else layer.out_size(source.shape[1]),
        "out_w": 1 if layer.op == HEAD else layer.out_size(source.shape[2]),
        "in_h": source.shape[1], "in_w": source.shape[2], "kernel_h": kernel[0], "kernel_w": kernel[1],
        "stride": stride, "padding": padding, "padding_y": padding, "steps": source.steps, "planes": source.planes,
        "origin": -padding * (source.y_stride + source.x_stride), "x_stride": source.x_stride, "y_stride": source.y_stride,
        "ox_stride": stride * source.x_stride, "oy_stride": stride * source.y_stride,
        "step_stride": source.step_words, "plane_stride": source.words,
    }


def _neuron(layer: Layer, shapes: Mapping[str, Shape], config: Config) -> dict[str, int]:
    """Fields that say what the neuron unit does and how its outputs lie."""
    t = shapes[layer.inputs[0]][0]
    words = -(-layer.channels // config.word)
    step = round_up(layer.channels, config.lanes) // config.neuron_lanes
    residual = bool(layer.residual or layer.u_out)
    return {
        "residual": int(bool(layer.residual)), "u_write": int(bool(layer.u_out)), "fire": int(bool(layer.spike_out)),
        "integrate": int(layer.op == HEAD), "theta": layer.theta if layer.spike_out else 0,
        "dst_words": words if layer.spike_out else 0, "dst_pos_stride": t // config.cores * words if layer.spike_out else 0,
        "leak": layer.leak, "soft": int(layer.reset == SOFT), "out_planes": layer.levels.bit_length(), "levels": layer.levels,
        "step_shift": layer.spacing.bit_length() - 1 if layer.levels > 1 else 0, "bank_mask": (1 << config.cores) - 1,
        "u_step": step if residual else 0, "u_pos_stride": t * step if residual else 0,
    }


def _bases(layer: Layer, source: str) -> dict[str, str]:
    """Which tensor each address field of a LINEAR descriptor starts from."""
    logits = layer.name if layer.op == HEAD else ""
    names = {"origin": source, "spike_dst": layer.spike_out, "u_src": layer.residual, "u_dst": layer.u_out or logits}
    return {address: name for address, name in names.items() if name}
