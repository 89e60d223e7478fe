"""The driver: a bundle and clips in, classes, tensors and statistics out, on any device."""

from __future__ import annotations

import contextlib
import time
from collections.abc import Callable
from dataclasses import dataclass, field
from fractions import Fraction

import numpy as np
from numpy.typing import NDArray

from golden.spec import registers
from golden.spec.config import PRESETS
from golden.spec.registers import REGISTERS
from sw import packing
from sw.bundle import RESIDUAL, SPIKES, Bundle, Program, Tensor
from sw.device.base import Device, DeviceError, DeviceMismatchError, DeviceTimeoutError, RunError
from sw.packing import Array

LOOK = 0.1  #: seconds between looks at the progress of a run
COMPUTING = ("linear", "hamming")  #: opcodes that belong to a layer; the others are transfers

Progress = Callable[[int, int, str], None]  #: descriptors done, descriptors in all, layer being executed


class ClipError(ValueError):
    """An input tensor that the loaded network does not take."""


@dataclass(frozen=True)
class Info:
    """What a device says of itself. ``preset`` is empty where no preset has its digest."""

    version: int
    digest: str
    preset: str


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
    records : list of dict
        Statistics of every descriptor but END, by the names in `golden.spec.registers.STATISTICS`, in the order of the program.
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
    records: list[dict[str, int]] = field(repr=False)

    @property
    def sops(self) -> int:
        """Synaptic operations of the whole clip."""
        return sum(x.sops for x in self.layers.values())


class Driver:
    """Runs a bundle on a device.

    Parameters
    ----------
    device : Device
        Any transport.
    timeout : float
        Seconds after which a run is given up.
    watchdog : int
        Cycles without progress after which the machine itself gives up; 0 for never.
    """

    def __init__(self, device: Device, timeout: float = 600.0, watchdog: int = 100_000) -> None:
        self.device = device
        self.timeout = timeout
        self.watchdog = watchdog
        self._bundle: Bundle | None = None
        self._stale = True

    def info(self) -> Info:
        """Ask the device what it is.

        Raises
        ------
        DeviceMismatchError
            If it is no accelerator of this project, or one of another register map.
        """
        found = self._read("ID")
        if found != registers.ID_VALUE:
            raise DeviceMismatchError(f"{self.device.uri} is no tANDem: its ID is {found:#010x}, not {registers.ID_VALUE:#010x}")
        version = self._read("VERSION")
        if version != registers.VERSION:
            raise DeviceMismatchError(f"{self.device.uri} has register map {version}, this software knows {registers.VERSION}")
        digest = "".join(f"{self._read(f'DIGEST{i}'):08x}" for i in range(4))
        return Info(version, digest, next((c.name for c in PRESETS.values() if c.digest == digest), ""))

    def load(self, bundle: Bundle) -> None:
        """Make a bundle ready to run.

        Raises
        ------
        DeviceMismatchError
            If it was compiled for another configuration, naming both digests.
        DeviceError
            If it does not fit the device's memory.
        """
        info = self.info()
        wanted = bundle.manifest
        if info.digest != wanted.config:
            raise DeviceMismatchError(
                f"bundle '{wanted.name}' was compiled for config '{wanted.preset}' {wanted.config}, "
                f"but {self.device.uri} is '{info.preset or 'unknown'}' {info.digest}"
            )
        needed = max(self._segments(bundle, program)[-1] for program in wanted.programs.values())
        if needed > self.device.memory_bytes:
            raise DeviceError(f"bundle '{wanted.name}' needs {needed} bytes, {self.device.uri} has {self.device.memory_bytes}")
        self._bundle = bundle
        self._stale = True

    def run(self, clip: Array, progress: Progress | None = None) -> Result:
        """Run an input tensor [T, H, W, C] uint8.

        Raises
        ------
        ClipError
            If the network does not take it.
        RunError
            If the machine reports an error; the device takes the next clip.
        DeviceTimeoutError
            If it does not finish in time; it has been aborted.
        """
        return self._run("run", clip, progress)

    def trace(self, clip: Array, progress: Progress | None = None) -> Result:
        """Like `run`, with every tensor that the layers make."""
        return self._run("trace", clip, progress)

    @staticmethod
    def _segments(bundle: Bundle, program: Program) -> tuple[int, int, int, int, int]:
        """Addresses of segments 0 to 3, and the end."""
        sizes = (
            bundle.image.size, bundle.manifest.input_bytes, program.result_bytes, len(program.steps) * registers.STATISTICS_BYTES
        )
        at = [0]
        for size in sizes:
            at.append(packing.round_up(at[-1] + size, registers.SEGMENT_ALIGN))
        return (at[0], at[1], at[2], at[3], at[4])

    def _run(self, name: str, clip: Array, progress: Progress | None) -> Result:
        if self._bundle is None:
            raise DeviceError("no bundle is loaded")
        bundle, manifest = self._bundle, self._bundle.manifest
        program = manifest.programs[name]
        shape = manifest.video.shape
        if clip.dtype != np.uint8 or clip.shape != shape:
            raise ClipError(f"the input is {clip.dtype} {list(clip.shape)}, '{manifest.name}' takes uint8 {list(shape)}")
        segments = self._segments(bundle, program)
        if self._stale:
            self.device.write_memory(segments[0], bundle.image.tobytes())
            self._stale = False
        self.device.write_memory(segments[1], packing.pack_spikes(clip, manifest.word, manifest.planes).tobytes())
        self.device.write_memory(segments[3], b"\xff" * (len(program.steps) * registers.STATISTICS_BYTES))
        try:
            self._execute(program, segments, progress)
        except DeviceError:
            self._stale = True  # whatever happened, the next run starts from a good image
            with contextlib.suppress(DeviceError):  # the first error is the one to tell
                self._stop()
            raise
        tensors = {key: self._fetch(segments[2], value) for key, value in program.tensors.items()}
        output = tensors[program.result]
        logits = (output.reshape(-1) if manifest.classes else np.zeros(0)).astype(np.int32)
        records = self._records(program, segments[3])
        layers = _by_layer(program, records)
        cycles = self._read("CYCLES_LO") | self._read("CYCLES_HI") << 32
        sops = sum(x.sops for x in layers.values())
        index, scores = (int(np.argmax(logits)), _scores(logits)) if manifest.classes else (-1, np.zeros(0))
        return Result(
            output, index, manifest.classes[index] if manifest.classes else "", logits, scores, cycles, layers,
            sops / (manifest.peak_sop * cycles) if cycles else 0.0, self._read("SATURATIONS"),
            tensors if name == "trace" else {}, records,
        )

    def _execute(self, program: Program, segments: tuple[int, ...], progress: Progress | None) -> None:
        """Start the program and wait for its end, for a bounded time."""
        for i in range(4):
            self._write(f"SEGMENT{i}", segments[i])
        self._write("PROGRAM", program.offset)
        self._write("WATCHDOG", self.watchdog)
        self._write("IRQ_ENABLE", 1)
        self._write("CONTROL", registers.START)
        end = time.monotonic() + self.timeout
        while not self.device.wait_interrupt(min(LOOK, max(end - time.monotonic(), 0))):
            index = self._read("LAYER")
            if progress:
                progress(index, len(program.steps), _layer(program, index))
            if time.monotonic() >= end:
                raise DeviceTimeoutError(
                    f"{self.device.uri} did not finish within {self.timeout:g} s; it was in layer '{_layer(program, index)}' "
                    f"(descriptor {index})"
                )
        if self._read("STATUS") & registers.FAILED:
            error = self._read("ERROR")
            raise RunError(error & 0xFF, error >> 16, _layer(program, error >> 16))
        if progress:
            progress(len(program.steps), len(program.steps), _layer(program, len(program.steps) - 1))

    def _stop(self) -> None:
        """End a run that is still going on.

        One that has ended is left alone: the machine still takes what the memory owes it, so that the next run does not
        get answers meant for this one, and an abort meanwhile would cut that short.
        """
        if self._read("STATUS") & registers.BUSY:
            self._write("CONTROL", registers.ABORT)

    def _fetch(self, base: int, tensor: Tensor) -> Array:
        assert self._bundle is not None
        data = np.frombuffer(self.device.read_memory(base + tensor.offset, tensor.size), np.uint8)
        if tensor.kind == SPIKES:
            return packing.unpack_spikes(data, tensor.shape, self._bundle.manifest.word, tensor.parts)
        if tensor.kind == RESIDUAL:
            return packing.unpack_residual(data, tensor.shape, self._bundle.manifest.lanes)
        return packing.unpack_logits(data, tensor.shape[3], self._bundle.manifest.neuron_lanes, tensor.parts)

    def _records(self, program: Program, base: int) -> list[dict[str, int]]:
        """Statistics records by name; END leaves none."""
        size = (len(program.steps) - 1) * registers.STATISTICS_BYTES
        words = np.frombuffer(self.device.read_memory(base, size), "<u4").reshape(len(program.steps) - 1, -1)
        records = [dict(zip(registers.STATISTICS, map(int, row), strict=False)) for row in words]
        for i, (step, record) in enumerate(zip(program.steps, records, strict=False)):
            if record["layer"] != i:
                raise DeviceError(f"{self.device.uri} left no statistics record for layer '{step.layer}' (descriptor {i})")
        return records

    def _read(self, name: str) -> int:
        return self.device.read_register(REGISTERS[name].address)

    def _write(self, name: str, value: int) -> None:
        self.device.write_register(REGISTERS[name].address, value)


def _layer(program: Program, index: int) -> str:
    return program.steps[index].layer if index < len(program.steps) else "unknown"


def _by_layer(program: Program, records: list[dict[str, int]]) -> dict[str, LayerStatistics]:
    """Statistics records put together by layer."""
    layers: dict[str, LayerStatistics] = {}
    sops: dict[str, Fraction] = {}
    for step, record in zip(program.steps, records, strict=False):
        name = step.layer if step.opcode in COMPUTING else step.opcode
        total = layers.setdefault(name, LayerStatistics(name))
        for key in registers.STATISTICS:
            if key != "layer":
                setattr(total, key, getattr(total, key) + record[key])
        sops[name] = sops.get(name, Fraction()) + Fraction(record["adds"] * step.sop_num, step.sop_den)
    for name, count in sops.items():
        layers[name].sops = int(count)
    return layers


def _scores(logits: Array) -> NDArray[np.float64]:
    spread = logits - logits.max()
    powers = np.exp(spread / (logits.std() or 1.0))
    return powers / powers.sum()
