"""Clips through the Verilated machine, each beside the prediction of the cycle model."""

from __future__ import annotations

import time
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from math import prod

import numpy as np

from golden.integer import network
from golden.spec import descriptor
from golden.spec.config import Config
from golden.spec.model import ATTENTION, HEAD, MASK, Model
from golden.spec.registers import REGISTERS, SLOT_STATES, START, STATISTICS_BYTES
from sim.speed.report import Row
from sw.bundle import Bundle
from sw.cycles import Memory, predict
from sw.device.sim import SimDevice
from sw.driver import Driver
from sw.model_file import ModelFile
from sw.packing import Array
from sw.results import COMPUTING, LayerStatistics, Result


class WrongResultError(RuntimeError):
    """The machine made something else than the integer golden model: its cycles mean nothing."""


class WatchedDevice(SimDevice):
    """The Verilated machine; while it runs the counters of its memory port are read.

    Attributes
    ----------
    samples : list of (int, int, int)
        Cycle, beats read and beats written, since the start.
    started, ended : float
        Of the last run, by `time.perf_counter`.
    """

    slice = 256
    started = ended = 0.0

    def write_register(self, address: int, value: int) -> None:
        """Write a 32-bit register; a start begins new samples."""
        super().write_register(address, value)
        if address == REGISTERS["CONTROL"].address and value & START:
            self.samples = [(0, 0, 0)]
            self.started = time.perf_counter()

    def wait_interrupt(self, timeout: float) -> bool:
        """Simulate, slice by slice, until the interrupt line is high or ``timeout`` seconds have passed; the line's state."""
        end = time.monotonic() + timeout
        while True:
            done = super().wait_interrupt(0)
            cycle, read, written = (self.read_register(REGISTERS[x].address) for x in ("CYCLES_LO", "READ_BEATS", "WRITE_BEATS"))
            self.samples.append((cycle, read, written))
            self.ended = time.perf_counter()
            if done or time.monotonic() >= end:
                return done


@dataclass(frozen=True)
class Run:
    """One clip: what the machine did, what was predicted, what its memory port moved, seconds of the host before and after."""

    measured: Result
    predicted: Result
    samples: list[tuple[int, int, int]]
    host: tuple[float, float]


def run_clip(device: WatchedDevice, driver: Driver, bundle: Bundle, config: Config, source: ModelFile, clip: Array,
             memory: Memory) -> Run:
    """Run a clip on the machine, behind which this memory is, and predict its cycles.

    Raises
    ------
    WrongResultError
        If the result is not the integer golden model's.
    """
    begin = time.perf_counter()
    result = driver.run(clip)
    end = time.perf_counter()
    if not np.array_equal(result.output, network.run(source.model, source.tensors, clip)[source.model.result]):
        raise WrongResultError(f"'{source.model.name}' on {device.uri}: the result is not the integer golden model's; "
                               f"make verify finds the first value that differs")
    return Run(result, predict(bundle, config, clip, memory), device.samples, (device.started - begin, end - device.ended))


def traffic(bundle: Bundle, config: Config) -> dict[str, int]:
    """Bytes that the program ``run`` moves to and from external memory for one clip, by layer or kind of transfer.

    A layer's are the weights and parameters that its descriptors load, these, and their statistics records.
    """
    program = bundle.manifest.programs["run"]
    found: dict[str, int] = {}
    for step, d in zip(program.steps[:-1], bundle.descriptors("run"), strict=False):
        size = descriptor.BYTES + STATISTICS_BYTES
        if step.opcode in COMPUTING:
            size += ((d["weight_rows"] + d["count"]) * config.row_bits + d["param_beats"] * config.param_beat_bits) // 8
        else:
            size += d["count"] * (config.u_beat_bits if d["space"] else config.word) // 8
        name = step.layer if step.opcode in COMPUTING else step.opcode
        found[name] = found.get(name, 0) + size
    return found


def dense_macs(model: Model) -> dict[str, int]:
    """Multiplications of each layer for one clip if no input were 0, padding included: what other work counts as two operations.

    A value of several bits is one factor. Attention is K^T V and Q(K^T V), each tokens x channels x head width.
    """
    shapes = model.shapes()
    found = {}
    for layer in model.layers:
        out = shapes[next(x for x in (layer.spike_out, layer.u_out, layer.name) if x in shapes)]
        if layer.op == MASK:
            found[layer.name] = 0
        elif layer.op in ATTENTION:
            found[layer.name] = 2 * prod(out) * (layer.channels // layer.heads)
        elif layer.op == HEAD:
            found[layer.name] = sum(prod(shapes[x]) for x in layer.inputs) * layer.channels
        else:
            found[layer.name] = prod(out[:3]) * prod(layer.weight_shape(shapes))
    return found


def rows(runs: Iterable[Run], moved: Mapping[str, int], macs: Mapping[str, int]) -> tuple[Row, ...]:
    """Means over clips of one program, by layer."""
    clips = list(runs)

    def mean(name: str, key: str) -> float:
        return sum(getattr(x.measured.layers[name], key) for x in clips) / len(clips)

    def row(layer: LayerStatistics) -> Row:
        name = layer.name
        return Row(
            name=name, cycles=mean(name, "cycles"), predicted=sum(x.predicted.layers[name].cycles for x in clips) / len(clips),
            wait=mean(name, "wait"), sops=mean(name, "sops"), results=mean(name, "results"),
            slots={state: mean(name, state) for state in SLOT_STATES}, bytes=moved[name], macs=macs.get(name, 0))

    return tuple(row(x) for x in clips[0].measured.layers.values())

