"""What a run leaves behind: its output, and statistics of every layer."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from fractions import Fraction
from functools import cached_property
from math import lcm

import numpy as np
from numpy.typing import NDArray

from golden.spec import registers
from sw import packing
from sw.bundle import LOGITS, SPIKES, Bundle, Manifest, Program, Tensor
from sw.device.base import DeviceError
from sw.packing import Array, Bytes

COMPUTING = ("linear", "hamming")  #: opcodes that belong to a layer; the others are transfers
RECORD_WORDS = registers.STATISTICS_BYTES // 4
KEYS = list(registers.STATISTICS)[1:]  #: of a record, behind the index of its descriptor
ADDS = 1 + KEYS.index("adds")  #: place of a record's weight rows


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
    sops: int = 0  #: synaptic operations: set input bits times the output channels each one feeds; of places that several
    # tiles make (`sw.chains`) by the share of new ones, so that they are about right there


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
    cycles : int
        From start to end; 0 on the functional model.
    utilisation : float
        Synaptic operations per cycle over the peak of the array.
    saturations : int
        Residual values that were clipped.
    sops : int
        Synaptic operations of the whole clip, see `LayerStatistics`.
    tensors : dict
        [T, H, W, C] by name, where traced.
    words : [descriptors, words] uint32
        Statistics records as the machine wrote them.
    reader : StatisticsReader
        Of the program.
    """

    output: Array = field(repr=False)
    index: int
    label: str
    logits: NDArray[np.int32]
    cycles: int
    utilisation: float
    saturations: int
    sops: int
    tensors: dict[str, Array] = field(repr=False)
    words: NDArray[np.uint32] = field(repr=False)
    reader: StatisticsReader = field(repr=False)

    @cached_property
    def scores(self) -> NDArray[np.float64]:
        """Softmax [O] of the logits over their standard deviation: for display, since logits have no scale of their own."""
        if not self.logits.size:
            return np.zeros(0)
        powers = np.exp((self.logits - self.logits.max()) / (self.logits.std() or 1.0))
        return powers / powers.sum()

    @cached_property
    def layers(self) -> dict[str, LayerStatistics]:
        """Statistics by layer, in order of execution; made when they are asked for, since few streams ask."""
        return self.reader.layers(self.words)

    @property
    def records(self) -> list[dict[str, int]]:
        """Statistics of every descriptor but END, by the names in `golden.spec.registers.STATISTICS`, in the program's order."""
        return [dict(zip(registers.STATISTICS, row, strict=False)) for row in self.words.tolist()]


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


def poison(program: Program, recorded: bool) -> bytes:
    """Statistics records that no machine writes, so that one which is not written is noticed; nearly all of it zeros. Nothing,
    where the machine leaves none.
    """
    if not recorded:
        return b""
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
    recorded : bool
        The machine leaves records; of one that leaves none all statistics are 0.
    """

    def __init__(self, program: Program, uri: str, recorded: bool) -> None:
        self.uri, self.steps, self.recorded = uri, program.steps[:-1], recorded  # END leaves none
        names = [step.layer if step.opcode in COMPUTING else step.opcode for step in self.steps]
        self.names = list(dict.fromkeys(names))
        self._order = np.arange(len(self.steps))
        places = [self.names.index(name) for name in names]
        self._grouped = np.argsort(places, kind="stable")  # descriptors by name
        self._first = np.searchsorted(np.sort(places), np.arange(len(self.names)))  # of each name there
        self._unit = lcm(*(step.sop_den for step in self.steps))  # all shares are whole numbers of 1 / unit
        shares = [int(Fraction(step.sop_num, step.sop_den) * self._unit) for step in self.steps]
        self._shares = np.array(shares, np.int64 if sum(shares) < 1 << 31 else object)  # of up to 2^32 adds each

    def read(self, data: Bytes) -> NDArray[np.uint32]:
        """Records [descriptors, words] of their bytes.

        Raises
        ------
        DeviceError
            If one has not been written.
        """
        if not self.recorded:
            return np.zeros((len(self.steps), RECORD_WORDS), np.uint32)
        records = data.view("<u4").reshape(len(self.steps), -1)
        missing = np.flatnonzero(records[:, 0] != self._order)
        if missing.size:
            step = self.steps[int(missing[0])]
            raise DeviceError(f"{self.uri} left no statistics record for layer '{step.layer}' (descriptor {missing[0]})")
        return records

    def sops(self, records: NDArray[np.uint32]) -> list[int]:
        """Synaptic operations of each layer, in the order of ``names``."""
        return (self._sums(records[:, ADDS] * self._shares) // self._unit).tolist()

    def _sums(self, values: Array) -> Array:
        """Of what each descriptor has, [descriptors, ...], for each of ``names``."""
        return np.add.reduceat(values[self._grouped], self._first, axis=0)

    def layers(self, records: NDArray[np.uint32]) -> dict[str, LayerStatistics]:
        """Statistics by layer."""
        sums = self._sums(records[:, 1 : len(KEYS) + 1].astype(np.int64)).tolist()
        return {
            name: LayerStatistics(name, **dict(zip(KEYS, values, strict=True)), sops=sops)
            for name, values, sops in zip(self.names, sums, self.sops(records), strict=True)
        }


def unpack(data: Bytes, tensor: Tensor, manifest: Manifest) -> Array:
    """A stored tensor, [T, H, W, C]."""
    if tensor.kind == LOGITS:
        return packing.unpack_logits(data, tensor.shape[3], manifest.neuron_lanes, tensor.parts)
    steps = tensor.shape[0]
    shape = packing.round_up(steps, manifest.cores), *tensor.shape[1:]
    if tensor.kind == SPIKES:
        if tensor.place_words:
            step = tensor.parts * packing.round_up(tensor.shape[3], manifest.word) // tensor.pieces // 8
            data = packing.join_banks(data, manifest.cores, tensor.place_words * manifest.word // 8, shape[0], step)
        return packing.unpack_spikes(data, shape, manifest.word, tensor.parts, tensor.pieces)[:steps]
    return packing.unpack_residual(data, shape, manifest.lanes)[:steps]


def conclude(bundle: Bundle, output: Array, tensors: dict[str, Array], reader: StatisticsReader, words: NDArray[np.uint32],
             cycles: int, saturations: int) -> Result:
    """The result of a clip out of what was read; ``words`` as `StatisticsReader.read` gives them."""
    manifest = bundle.manifest
    sops = sum(reader.sops(words))
    utilisation = sops / (manifest.peak_sop * cycles) if cycles else 0.0
    logits, index, label = np.zeros(0, np.int32), -1, ""
    if manifest.classes:
        logits = output.reshape(-1).astype(np.int32)
        index = int(logits.argmax())
        label = manifest.classes[index]
    return Result(output, index, label, logits, cycles, utilisation, saturations, sops, tensors, words, reader)
