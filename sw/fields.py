"""One descriptor to be, and the fields that passes of every kind have in common."""

from __future__ import annotations

from dataclasses import dataclass, field, replace
from typing import NamedTuple

import numpy as np

from golden.spec.config import Config
from golden.spec.descriptor import FIELDS, Opcode
from golden.spec.model import HEAD, SOFT, Layer
from sw import packing
from sw.layouts import Layouts, SpikeTensor, chunks, residual_beats
from sw.packing import Array, Bytes, round_up

EMPTY = np.zeros(0, np.uint8)
GROUPS = FIELDS["groups"].high  #: lane groups of one pass


class Place(NamedTuple):
    """Row, column and copy of a tensor; rows and columns outside it are padding."""

    y: int = 0
    x: int = 0
    copy: int = 0


@dataclass
class Pass:
    """One descriptor to be, on all places of its output, wherever its tensors lie on chip (`sw.tiles` says that).

    ``bases`` names, for an address field, the tensor that it lies in, and ``at`` the place there that the descriptor begins
    with, (0, 0) where it says nothing; ``fields`` hold what is to be added within that place, and everything else but strides
    and padding. From one output place to the next it goes on by ``step`` (y, x) places of what it reads, and by ``scale``
    places of the spikes it writes. Its first output place is ``first`` among those that its layer makes.
    With ``other``, every place of the ``origin`` tensor is read together with the same place of this one: the
    descriptor starts from the lower of the two, and its ``x_stride`` is the way to the upper. With ``through`` the taps in x are
    not columns but copies of the tensor.
    ``rows`` are bank rows of weight memory in use, of which the image fills none where they are generated, and ``slot`` is where
    HAMMING makes them (`sw.overlap`); -1: wherever there is room.
    One row added (or, lanewise, one lane) stands for ``sop[0] / sop[1]`` synaptic operations.
    """

    opcode: Opcode
    layer: str
    fields: dict[str, int]
    bases: dict[str, str] = field(default_factory=dict)
    at: dict[str, Place] = field(default_factory=dict)
    step: tuple[int, int] = (1, 1)
    scale: int = 1
    first: tuple[int, int] = (0, 0)
    other: str = ""
    through: bool = False
    weights: Bytes = field(default_factory=lambda: EMPTY)
    parameters: Bytes = field(default_factory=lambda: EMPTY)
    rows: int = 0
    beats: int = 0
    slot: int = -1
    sop: tuple[int, int] = (0, 1)

    @property
    def names(self) -> list[str]:
        """All tensors that it reads or writes."""
        return list(dict.fromkeys([*self.bases.values(), *([self.other] if self.other else [])]))


def walk(source: SpikeTensor, out: tuple[int, int]) -> dict[str, int]:
    """Fields that read every place of a tensor once, for ``out`` places (a kernel of 1)."""
    return {
        "out_h": out[0], "out_w": out[1], "kernel_h": 1, "kernel_w": 1, "steps": source.steps, "planes": source.planes,
        "plane_stride": source.words, "step_stride": source.step_words,
    }


def spikes_to(target: SpikeTensor, layouts: Layouts) -> dict[str, int]:
    """Fields that say how the spikes lie that a pass makes."""
    return {
        "fire": 1, "dst_words": target.step_words, "dst_plane_stride": target.words, "out_planes": target.planes,
        **every_step(layouts),
    }


def every_step(layouts: Layouts) -> dict[str, int]:
    """Fields that say which time steps count: those that the model has."""
    return {"bank_mask": every_core(layouts.config), "idle": -layouts.model.encoding.timesteps % layouts.config.cores}


def every_core(config: Config) -> int:
    """Bank mask of all cores."""
    return (1 << config.cores) - 1


def neuron(layouts: Layouts, layer: Layer) -> dict[str, int]:
    """Fields that say what the neuron unit does and how its outputs lie."""
    fields = {"integrate": int(layer.op == HEAD), **every_step(layouts)}
    if layer.residual or layer.u_out:
        fields |= {"residual": int(bool(layer.residual)), "u_write": int(bool(layer.u_out)), **residual_strides(layouts, layer)}
    if layer.spike_out:
        fields |= spikes_to(layouts.spikes(layer.spike_out), layouts) | {
            "theta": layer.theta, "leak": layer.leak, "soft": int(layer.reset == SOFT), "levels": layer.levels,
            "step_shift": layer.spacing.bit_length() - 1,
        }
    return fields


def residual_strides(layouts: Layouts, layer: Layer) -> dict[str, int]:
    """Fields that say how residual values of a layer's shape lie."""
    shape = layouts.out_shape(layer)
    step = round_up(shape[3], layouts.config.lanes) // layouts.config.neuron_lanes
    return {"u_step": step, "u_pos_stride": residual_beats((shape[0], 1, 1, shape[3]), layouts.config)}


def bases(layer: Layer, source: str) -> dict[str, str]:
    """Which tensor each address field of a LINEAR descriptor starts from."""
    logits = layer.name if layer.op == HEAD else ""
    names = {"origin": source, "spike_dst": layer.spike_out, "u_src": layer.residual, "u_dst": layer.u_out or logits}
    return {address: name for address, name in names.items() if name}


def loading(part: Pass, config: Config, rows: Bytes, bias: Array, shift: Array) -> Pass:
    """A pass with the weight rows and the parameters that it loads."""
    lanewise = part.fields.get("lanewise", 0)  # then every bank has all rows
    rows = np.concatenate([rows, np.zeros((-len(rows) % config.issue, config.lanes), np.uint8)])
    bank_rows = len(rows) if lanewise else len(rows) // config.issue
    parameters = packing.pack_parameters(bias, shift, config.lanes)
    beats = parameters.size * 8 // config.param_beat_bits
    return replace(
        part, fields=part.fields | {"weight_rows": len(rows), "param_beats": beats}, weights=packing.pack_rows(rows),
        parameters=parameters, rows=round_up(bank_rows, config.rows_per_word), beats=beats,
    )


def group_chunks(config: Config, groups: int, rows: int) -> list[range]:
    """Lane groups of ``rows`` bank rows each, as many at a time as half the memories hold, whole spike words of them."""
    per_word = config.word // config.lanes
    most = min(GROUPS, config.weight_rows // 2 // max(rows, 1), config.param_beats // 2 // config.beats)
    return list(chunks(groups, max(most // per_word, 1) * per_word))


def lanewise_pass_words(config: Config, slices: int, taps: int) -> int:
    """Descriptor field ``pass_words`` of lanewise taps: as many as sums hold if all of them meet in one slot; 0 if they do."""
    most = (1 << config.sum_bits - 1) // (16 if slices > 1 else 8)
    return 0 if min(taps, 256) <= most else most
