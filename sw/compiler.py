"""Model and configuration to a bundle: programs, weights and parameters as one image, and the manifest that explains it."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import asdict

import numpy as np

from golden.spec import descriptor
from golden.spec.config import Config
from golden.spec.descriptor import Opcode
from golden.spec.model import HEAD, INPUT, Layer, Model
from sw import passes, support
from sw.allocation import Region, place
from sw.bundle import LOGITS, RESIDUAL, SPIKES, Bundle, Manifest, Program, Step, Tensor
from sw.fields import Pass
from sw.layouts import Layouts, logit_beats, residual_beats
from sw.linear import head_parts
from sw.model_file import ModelFile
from sw.packing import Bytes, round_up

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
    words = Layouts(model, config).spikes(INPUT)
    manifest = Manifest(
        preset=config.name, config=config.digest, model=source.digest, name=model.name, classes=model.classes,
        encoding=asdict(model.encoding), planes=model.planes, cores=config.cores, lanes=config.lanes,
        neuron_lanes=config.neuron_lanes, word=config.word, peak_sop=config.peak_sop,
        input_bytes=words.bank_words * config.cores * config.word // 8, programs=programs,
    )
    return Bundle(manifest, image)


def _addresses(offsets: tuple[int, int], start: int) -> tuple[int, int]:
    return start + offsets[0], start + offsets[1]


def _lay_out(parts: list[Pass]) -> tuple[Bytes, dict[int, tuple[int, int]]]:
    """All weight and parameter images end to end, equal ones once, and the offsets of those of every pass."""
    pieces: list[Bytes] = []
    known: dict[bytes, int] = {}
    at = 0

    def offset(data: Bytes) -> int:
        nonlocal at
        key = data.tobytes()
        if key not in known:
            known[key] = at
            pieces.append(np.zeros(round_up(data.size, ALIGN), np.uint8))
            pieces[-1][: data.size] = data
            at += pieces[-1].size
        return known[key]

    offsets = {id(part): (offset(part.weights), offset(part.parameters)) for part in parts}
    return np.concatenate(pieces), offsets


class _ProgramBuilder:
    """Builds one program, descriptor by descriptor, and records what each one is for."""

    def __init__(self, model: Model, config: Config, traced: bool) -> None:
        self.model = model
        self.config = config
        self.traced = traced
        self.layouts = Layouts(model, config)
        self.bases = support.spike_memory(self.layouts, model.layers) | support.residual_memory(self.layouts, model.layers)
        self.words: list[int] = []
        self.steps: list[Step] = []
        self.tensors: dict[str, Tensor] = {}
        self.result_bytes = 0
        self.before = Region()

    def image(self) -> Bytes:
        """The descriptors as bytes."""
        return np.array(self.words, "<u4").view(np.uint8)

    def _kept(self, layer: Layer) -> list[tuple[str, str]]:
        """Name and layout of the tensors that are stored behind a layer, the result excepted."""
        made = ((layer.u_out, RESIDUAL), (layer.spike_out, SPIKES)) if self.traced else ()
        return [(name, kind) for name, kind in made if name and name != self.model.result]

    def count(self, layers: list[list[Pass]]) -> int:
        """Descriptors that `build` will make: of the layers and their stores, of the input, of the result, of the end."""
        return sum(len(parts) for parts in layers) + sum(len(self._kept(x)) for x in self.model.layers) + 3

    def build(self, layers: list[list[Pass]], offset: int, addresses: Callable[[Pass], tuple[int, int]]) -> Program:
        """The program at ``offset`` of the image: load the input, run all passes, store the result (and all else)."""
        last = self.model.layers[-1]
        self._reserve(self.model.result, LOGITS if last.op == HEAD else RESIDUAL)
        self._load_input()
        for layer, parts in zip(self.model.layers, layers, strict=True):
            for part in parts:
                self._pass(part, *addresses(part))
            for name, kind in self._kept(layer):
                self._reserve(name, kind)
                self._store(name, layer.name)
        self._store(self.model.result, last.name)
        self._emit(Opcode.END, {}, "end", (0, 1))
        return Program(offset, self.result_bytes, tuple(self.steps), self.tensors)

    def _emit(self, opcode: Opcode, fields: dict[str, int], layer: str, sop: tuple[int, int]) -> None:
        self.words += descriptor.encode(opcode, {**fields, "layer": len(self.steps)})
        self.steps.append(Step(opcode.name.lower(), layer, sop[0], sop[1]))

    def _reserve(self, name: str, kind: str) -> None:
        """Give a tensor its place in the result segment."""
        shape, parts, strides = self.layouts.shapes[name], 1, (0, 0)
        if kind == SPIKES:
            layout = self.layouts.spikes(name)
            size, parts = layout.bank_words * self.config.cores * self.config.word // 8, layout.planes
            strides = layout.y_stride, layout.x_stride
        elif kind == RESIDUAL:
            size = residual_beats(shape, self.config) * self.config.u_beat_bits // 8
        else:
            parts = head_parts(self.layouts)
            size = parts * logit_beats(shape[3], self.config) * self.config.u_beat_bits // 8
        self.tensors[name] = Tensor(kind, shape, self.result_bytes, size, parts, strides)
        self.result_bytes += round_up(size, ALIGN)

    def _load_input(self) -> None:
        layout = self.layouts.spikes(INPUT)
        self._emit(Opcode.LOAD, {
            "count": layout.bank_words * self.config.cores, "segment": INPUT_SEGMENT, "space": SPIKE_SPACE,
            "base": self.bases[INPUT], "step_stride": layout.step_words,
        }, INPUT, (0, 1))
        self.before = Region()

    def _store(self, name: str, layer: str) -> None:
        tensor = self.tensors[name]
        fields = {"offset": tensor.offset, "segment": RESULT_SEGMENT, "base": self.bases[name]}
        if tensor.kind == SPIKES:
            layout = self.layouts.spikes(name)
            fields |= {"count": layout.bank_words * self.config.cores, "space": SPIKE_SPACE, "step_stride": layout.y_stride}
        else:
            fields |= {"count": tensor.size * 8 // self.config.u_beat_bits, "space": RESIDUAL_SPACE, "step_stride": 1}
        self._emit(Opcode.STORE, fields, layer, (0, 1))
        self.before = Region()

    def _pass(self, part: Pass, weight_addr: int, param_addr: int) -> None:
        fields = dict(part.fields)
        for address, name in part.bases.items():
            fields[address] = fields.get(address, 0) + self.bases[name]
        if part.other:
            distance = self.bases[part.other] - self.bases[part.bases["origin"]]
            fields["origin"] += min(distance, 0)
            fields["x_stride"] = abs(distance)
        generated = not part.parameters.size  # by the HAMMING descriptor just before
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


