"""What a run leaves behind: its output, and statistics of every layer."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from fractions import Fraction
from math import lcm

import numpy as np
from numpy.typing import NDArray

from golden.spec import registers
from sw import packing
from sw.bundle import RESIDUAL, SPIKES, Bundle, Manifest, Program, Tensor
from sw.device.base import DeviceError
from sw.packing import Array, Bytes

COMPUTING = ("linear", "hamming")  #: opcodes that belong to a layer; the others are transfers
RECORD_WORDS = registers.STATISTICS_BYTES // 4


@dataclass
class LayerStatistics:
    """Sums over the descriptors of one layer, or over all transfers of one kind (``load``, ``store``)."""

    name: str
    cycles: int = 0
    adds: int = 0
    results: int = 0
    busy: int = 0
    neuron: int = 0
    imbalance: int = 0
    weights: int = 0
    queue: int = 0
    drain: int = 0
    wait: int = 0
    sops: int = 0  #: synaptic operations: set input bits times the output channels each one feeds


@dataclass(frozen=True)
class Result:
    """Outcome of one clip.

    Attributes
    ----------
    output : [1, 1, 1, O] int32 or [T, H, W, C] int16
        What the network is run for, as the machine made it: logits, or of a network without classes a residual tensor.
    index, label : int, str
        Class with the largest logit, the lowest index on a tie; -1 and "" without classes.
    logits : [O] int32
        Of all classes, of which there may be none.
    scores : [O] float
        Softmax of the logits over their standard deviation: for display, since logits have no scale of their own.
    cycles : int
        From start to end; 0 on the functional model.
    layers : dict
        Statistics by layer, in order of execution.
    utilisation : float
        Synaptic operations per cycle over the peak of the array.
    saturations : int
        Residual values that were clipped.
    tensors : dict
        [T, H, W, C] by name, where traced.
    words : [descriptors, words] uint32
        Statistics records as the machine wrote them.
    """

    output: Array = field(repr=False)
    index: int
    label: str
    logits: NDArray[np.int32]
    scores: NDArray[np.float64]
    cycles: int
    layers: dict[str, LayerStatistics]
    utilisation: float
    saturations: int
    tensors: dict[str, Array] = field(repr=False)
    words: NDArray[np.uint32] = field(repr=False)

    @property
    def records(self) -> list[dict[str, int]]:
        """Statistics of every descriptor but END, by the names in `golden.spec.registers.STATISTICS`, in the program's order."""
        return [dict(zip(registers.STATISTICS, row, strict=False)) for row in self.words.tolist()]

    @property
    def sops(self) -> int:
        """Synaptic operations of the whole clip."""
        return sum(x.sops for x in self.layers.values())


def spans(records: Iterable[Mapping[str, int]], beside: Iterable[int]) -> list[tuple[int, int]]:
    """First cycle of each descriptor, and the one after its last, from all records and that field of each descriptor in order.

    The record of each says how long after the end of the one before it began, or after its start where that is ``beside``.
    """
    found, at = [], 0
    for record, early in zip(records, beside, strict=False):
        begin = at + record["wait"]
        found.append((begin, begin + record["cycles"]))
        at = found[-1][0 if early else 1]
    return found


def poison(program: Program) -> bytes:
    """Statistics records that no machine writes, so that one which is not written is noticed; nearly all of it zeros."""
    records = np.zeros((len(program.steps), RECORD_WORDS), "<u4")
    records[:, 0] = 0xFFFFFFFF
    return records.tobytes()


class StatisticsReader:
    """Puts the statistics records of a program together by layer; what is the same for every clip is done once.

    Parameters
    ----------
    program : Program
    uri : str
        Of the device, for errors.
    """

    def __init__(self, program: Program, uri: str) -> None:
        self.uri, self.steps = uri, program.steps[:-1]  # END leaves none
        names = [step.layer if step.opcode in COMPUTING else step.opcode for step in self.steps]
        self.names = list(dict.fromkeys(names))
        self._groups = np.array([[name == x for x in names] for name in self.names], np.int64)
        self._members = [[i for i, name in enumerate(names) if name == x] for x in self.names]
        self._unit = lcm(*(step.sop_den for step in self.steps))  # all shares are whole numbers of 1 / unit
        self._shares = [int(Fraction(step.sop_num, step.sop_den) * self._unit) for step in self.steps]

    def read(self, data: Bytes) -> tuple[NDArray[np.uint32], dict[str, LayerStatistics]]:
        """Records [descriptors, words] of their bytes, and statistics by layer.

        Raises
        ------
        DeviceError
            If one has not been written.
        """
        records = data.view("<u4").reshape(len(self.steps), -1)
        missing = np.flatnonzero(records[:, 0] != np.arange(len(self.steps)))
        if missing.size:
            step = self.steps[int(missing[0])]
            raise DeviceError(f"{self.uri} left no statistics record for layer '{step.layer}' (descriptor {missing[0]})")
        keys = list(registers.STATISTICS)[1:]
        sums = self._groups @ records[:, 1 : len(keys) + 1].astype(np.int64)
        parts = [adds * share for adds, share in zip(records[:, 1 + keys.index("adds")].tolist(), self._shares, strict=True)]
        layers = {}
        for name, members, values in zip(self.names, self._members, sums.tolist(), strict=True):
            sops = sum(parts[i] for i in members) // self._unit
            layers[name] = LayerStatistics(name, **dict(zip(keys, values, strict=True)), sops=sops)
        return records, layers


def unpack(data: Bytes, tensor: Tensor, manifest: Manifest) -> Array:
    """A stored tensor, [T, H, W, C]."""
    if tensor.kind == SPIKES:
        if tensor.place_words:
            step = tensor.parts * packing.round_up(tensor.shape[3], manifest.word) // tensor.pieces // 8
            data = packing.join_banks(data, manifest.cores, tensor.place_words * manifest.word // 8, tensor.shape[0], step)
        return packing.unpack_spikes(data, tensor.shape, manifest.word, tensor.parts, tensor.pieces)
    if tensor.kind == RESIDUAL:
        return packing.unpack_residual(data, tensor.shape, manifest.lanes)
    return packing.unpack_logits(data, tensor.shape[3], manifest.neuron_lanes, tensor.parts)


def conclude(bundle: Bundle, output: Array, tensors: dict[str, Array],
             statistics: tuple[NDArray[np.uint32], dict[str, LayerStatistics]], cycles: int, saturations: int) -> Result:
    """The result of a clip out of what was read; ``statistics`` as `StatisticsReader.read` gives them."""
    manifest, (words, layers) = bundle.manifest, statistics
    sops = sum(x.sops for x in layers.values())
    utilisation = sops / (manifest.peak_sop * cycles) if cycles else 0.0
    logits, index, label, scores = np.zeros(0, np.int32), -1, "", np.zeros(0)
    if manifest.classes:
        logits = output.reshape(-1).astype(np.int32)
        index, scores = int(np.argmax(logits)), _scores(logits)
        label = manifest.classes[index]
    return Result(output, index, label, logits, scores, cycles, layers, utilisation, saturations, tensors, words)


def _scores(logits: NDArray[np.int32]) -> NDArray[np.float64]:
    spread = logits - logits.max()
    powers = np.exp(spread / (logits.std() or 1.0))
    return powers / powers.sum()
