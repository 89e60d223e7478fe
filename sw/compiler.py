"""Model and configuration to a bundle: programs, weights and parameters as one image, and the manifest that explains it."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import asdict

import numpy as np

from golden.spec import descriptor
from golden.spec.config import Config
from golden.spec.descriptor import Opcode
from golden.spec.model import INPUT, Model
from sw import passes, support
from sw.allocation import Region, place
from sw.bundle import LOGITS, RESIDUAL, SPIKES, Bundle, Manifest, Program, Step, Tensor
from sw.model_file import ModelFile
from sw.packing import Bytes, round_up
from sw.passes import Pass

ALIGN = 64  #: of every offset in a segment
SPIKE_SPACE, RESIDUAL_SPACE = 0, 1
INPUT_SEGMENT, RESULT_SEGMENT = 1, 2


def compile_model(source: ModelFile, config: Config) -> Bundle:
    """Compile a model for one configuration.

    Raises
    ------
    UnsupportedError
        If the machine cannot run it, with every reason.
    """
    model = source.model
    support.check(model, source.tensors, config)
    layers = [passes.layer_passes(model, layer, source.tensors, config) for layer in model.layers]
    images, offsets = _lay_out([part for parts in layers for part in parts])
    run, trace = (_ProgramBuilder(model, config, traced) for traced in (False, True))
    run_size, trace_size = (builder.count(layers) * descriptor.BYTES for builder in (run, trace))
    start = run_size + trace_size
    programs = {
        "run": run.build(layers, 0, lambda part: _addresses(offsets[id(part)], start)),
        "trace": trace.build(layers, run_size, lambda part: _addresses(offsets[id(part)], start)),
    }
    image = np.concatenate([run.image(), trace.image(), images])
    words = passes.spike_tensor(model, model.shapes(), INPUT, config)
    manifest = Manifest(
        preset=config.name, config=config.digest, model=source.digest, name=model.name, classes=model.classes,
        encoding=asdict(model.encoding), planes=model.planes, lanes=config.lanes, word=config.word, peak_sop=config.peak_sop,
        input_bytes=words.bank_words * config.cores * config.word // 8, programs=programs,
    )
    return Bundle(manifest, image)


def _addresses(offsets: tuple[int, int], start: int) -> tuple[int, int]:
    return start + offsets[0], start + offsets[1]


def _lay_out(parts: list[Pass]) -> tuple[Bytes, dict[int, tuple[int, int]]]:
    """All weight and parameter images end to end, and the offsets of those of every pass."""
    pieces: list[Bytes] = []
    offsets: dict[int, tuple[int, int]] = {}
    at = 0
    for part in parts:
        starts = []
        for data in (part.weights, part.parameters):
            starts.append(at)
            padded = np.zeros(round_up(data.size, ALIGN), np.uint8)
            padded[: data.size] = data
            pieces.append(padded)
            at += padded.size
        offsets[id(part)] = (starts[0], starts[1])
    return np.concatenate(pieces), offsets


class _ProgramBuilder:
    """Builds one program, descriptor by descriptor, and records what each one is for."""

    def __init__(self, model: Model, config: Config, traced: bool) -> None:
        self.model = model
        self.config = config
        self.traced = traced
        self.shapes = model.shapes()
        self.bases = {**support.spike_memory(model, config), **support.residual_memory(model, config)}
        self.words: list[int] = []
        self.steps: list[Step] = []
        self.tensors: dict[str, Tensor] = {}
        self.result_bytes = 0
        self.before = Region()

    def image(self) -> Bytes:
        """The descriptors as bytes."""
        return np.array(self.words, "<u4").view(np.uint8)

    def count(self, layers: list[list[Pass]]) -> int:
        """Descriptors that `build` will make."""
        stores = sum(bool(x.spike_out) + bool(x.u_out) for x in self.model.layers) if self.traced else 0
        return 1 + sum(len(parts) for parts in layers) + stores + 2

    def build(self, layers: list[list[Pass]], offset: int, addresses: Callable[[Pass], tuple[int, int]]) -> Program:
        """The program at ``offset`` of the image: load the input, run all passes, store the logits (and all else)."""
        head = self.model.layers[-1]
        self._reserve(head.name, LOGITS)
        self._load_input()
        for layer, parts in zip(self.model.layers, layers, strict=True):
            for part in parts:
                self._pass(part, *addresses(part))
            if self.traced:
                for name, kind in ((layer.u_out, RESIDUAL), (layer.spike_out, SPIKES)):
                    if name:
                        self._reserve(name, kind)
                        self._store(name, layer.name)
        self._store(head.name, head.name)
        self._emit(Opcode.END, {}, "end", (0, 1))
        return Program(offset, self.result_bytes, tuple(self.steps), self.tensors)

    def _emit(self, opcode: Opcode, fields: dict[str, int], layer: str, sop: tuple[int, int]) -> None:
        self.words += descriptor.encode(opcode, {**fields, "layer": len(self.steps)})
        self.steps.append(Step(opcode.name.lower(), layer, sop[0], sop[1]))

    def _reserve(self, name: str, kind: str) -> None:
        """Give a tensor its place in the result segment."""
        shape = self.shapes[name]
        if kind == SPIKES:
            layout = passes.spike_tensor(self.model, self.shapes, name, self.config)
            size = layout.bank_words * self.config.cores * self.config.word // 8
        elif kind == RESIDUAL:
            size = passes.residual_beats(shape, self.config) * self.config.u_beat_bits // 8
        else:
            size = passes.logit_beats(shape[3], self.config) * self.config.u_beat_bits // 8
        self.tensors[name] = Tensor(kind, shape, self.result_bytes, size)
        self.result_bytes += round_up(size, ALIGN)

    def _load_input(self) -> None:
        layout = passes.spike_tensor(self.model, self.shapes, INPUT, self.config)
        self._emit(Opcode.LOAD, {
            "count": layout.bank_words * self.config.cores, "segment": INPUT_SEGMENT, "space": SPIKE_SPACE,
            "base": self.bases[INPUT], "step_stride": layout.step_words,
        }, INPUT, (0, 1))
        self.before = Region()

    def _store(self, name: str, layer: str) -> None:
        tensor = self.tensors[name]
        fields = {"offset": tensor.offset, "segment": RESULT_SEGMENT, "base": self.bases[name]}
        if tensor.kind == SPIKES:
            layout = passes.spike_tensor(self.model, self.shapes, name, self.config)
            fields |= {"count": layout.bank_words * self.config.cores, "space": SPIKE_SPACE, "step_stride": layout.step_words}
        else:
            fields |= {"count": tensor.size * 8 // self.config.u_beat_bits, "space": RESIDUAL_SPACE, "step_stride": 1}
        self._emit(Opcode.STORE, fields, layer, (0, 1))
        self.before = Region()

    def _pass(self, part: Pass, weight_addr: int, param_addr: int) -> None:
        fields = dict(part.fields)
        for address, name in part.bases.items():
            fields[address] = fields.get(address, 0) + self.bases[name]
        generated = part.opcode == Opcode.LINEAR and not part.weights.size  # by the HAMMING descriptor just before
        if not generated:
            region, rows_apart, beats_apart = place(self.config, part.rows, part.beats, self.before)
            loads_rows = bool(part.weights.size)
            fields["prefetch"] = int(beats_apart and (rows_apart or not loads_rows))
            fields["param_addr"] = param_addr
            if loads_rows:
                fields["weight_addr"] = weight_addr
            self.before = region
        else:
            fields["param_beats"] = 0
        fields |= {"weight_base": self.before.row, "param_base": self.before.beat}
        self._emit(part.opcode, fields, part.layer, part.sop)


