"""One program of a bundle: a plan as descriptors, with what each of them is for and where results are stored."""

from __future__ import annotations

from collections.abc import Mapping

import numpy as np

from golden.spec import descriptor
from golden.spec.descriptor import Opcode
from golden.spec.model import HEAD, INPUT, Layer
from sw.ahead import load_ahead
from sw.allocation import Region, place
from sw.bands import in_bands
from sw.bundle import LOGITS, RESIDUAL, SPIKES, Program, Step, Tensor
from sw.fields import Pass, Place
from sw.linear import head_parts
from sw.packing import Bytes, round_up
from sw.passes import Stage
from sw.spilling import Plan
from sw.tiles import OTHER, READS, SPIKE_SPACE, Box, Buffer, needed, placed, share

ALIGN = 64  #: of every offset in a segment
IMAGE_SEGMENT, INPUT_SEGMENT, RESULT_SEGMENT = 0, 1, 2


class ProgramBuilder:
    """Builds one program, descriptor by descriptor, and records what each one is for.

    Parameters
    ----------
    plan : Plan
        What lies where.
    offsets : mapping
        Offsets of the weight and the parameter image of each pass, by its id, among all images.
    traced : bool
        Whether it stores all tensors that the model names, and not only the result.
    """

    def __init__(self, plan: Plan, offsets: Mapping[int, tuple[int, int]], traced: bool) -> None:
        self.plan, self.traced = plan, traced
        self.layouts, self.config = plan.layouts, plan.layouts.config
        self._offsets = offsets
        self._descriptors: list[tuple[Opcode, dict[str, int]]] = []
        self.steps: list[Step] = []
        self.tensors: dict[str, Tensor] = {}
        self.result_bytes = 0
        self._before = Region()  # what the last descriptor uses of weight and parameter memory
        self._made = Region()  # where the last HAMMING has made weights
        self._build()

    @property
    def size(self) -> int:
        """Bytes of the program."""
        return len(self._descriptors) * descriptor.BYTES

    def image(self, images: int, spill: int) -> Bytes:
        """The descriptors as bytes, where ``images`` and ``spill`` are the offsets in segment 0 of the first image and of the
        memory behind them all that tensors go to.
        """
        words: list[int] = []
        for number, (opcode, fields) in enumerate(self._descriptors):
            moved = dict.fromkeys(("weight_addr", "param_addr"), images)
            if opcode in (Opcode.LOAD, Opcode.STORE) and fields["segment"] == IMAGE_SEGMENT:
                moved["offset"] = spill
            elif opcode in (Opcode.LINEAR, Opcode.HAMMING):
                moved["offset"] = images
            at = {name: value + moved.get(name, 0) for name, value in fields.items()}
            words += descriptor.encode(opcode, {**at, "layer": number})
        return np.array(words, "<u4").view(np.uint8)

    def program(self, offset: int) -> Program:
        """What the manifest says of it; its first descriptor is at ``offset`` of the image."""
        return Program(offset, self.result_bytes, tuple(self.steps), self.tensors)

    def _build(self) -> None:
        """Load the input, run all stages, store the result (and all else that the model names)."""
        model, plan = self.layouts.model, self.plan
        last = model.layers[-1]
        self._reserve(model.result, LOGITS if last.op == HEAD else RESIDUAL)
        for layer in model.layers if self.traced else ():
            for name, kind in ((layer.u_out, RESIDUAL), (layer.spike_out, SPIKES)):
                if name and name != model.result:
                    self._reserve(name, kind)
        if INPUT not in plan.outside:
            self._transfer(Opcode.LOAD, INPUT, self._whole(INPUT), INPUT)
        for number, stage in enumerate(plan.stages):
            self._stage(number, stage)
            if number + 1 == len(plan.stages) or plan.stages[number + 1].layer != stage.layer:
                self._keep(stage.layer)
        if INPUT not in plan.outside:
            some = in_bands(self.config, *self._descriptors[:2])
            steps = {opcode: step for (opcode, _), step in zip(self._descriptors[:2], self.steps, strict=False)}
            self._descriptors[:2], self.steps[:2] = some, [steps[opcode] for opcode, _ in some]
        load_ahead(self.config, self._descriptors)
        self._emit(Opcode.END, {}, "end", (0, 1))

    def _keep(self, layer: Layer) -> None:
        """Store what a layer has made and what is still on chip only."""
        for name in (layer.u_out, layer.spike_out, layer.name if layer.op == HEAD else ""):
            if name in self.tensors and self.plan.root.get(name, name) not in self.plan.outside:
                self._transfer(Opcode.STORE, name, self._whole(name), layer.name)

    def _emit(self, opcode: Opcode, fields: dict[str, int], layer: str, sop: tuple[int, int]) -> None:
        self._descriptors.append((opcode, fields))
        self.steps.append(Step(opcode.name.lower(), layer, *sop))

    def _reserve(self, name: str, kind: str) -> None:
        """Give a tensor its place in the result segment."""
        shape, form, parts = self.layouts.shapes[name], self.plan.forms[name], 1
        if kind == SPIKES:
            parts = self.layouts.spikes(name).planes
        elif kind == LOGITS:
            parts = head_parts(self.layouts)
        size = form.units * form.size
        self.tensors[name] = Tensor(kind, shape, self.result_bytes, size, parts, form.copies)
        self.result_bytes += round_up(size, ALIGN)

    def _home(self, name: str) -> tuple[int, int]:
        """Segment and offset of a tensor in external memory."""
        if name == INPUT:
            return INPUT_SEGMENT, 0
        if name in self.tensors:
            return RESULT_SEGMENT, self.tensors[name].offset
        return IMAGE_SEGMENT, self.plan.homes[self.plan.root.get(name, name)]

    def _whole(self, name: str) -> Buffer:
        """Where a tensor lies that stays on chip."""
        form = self.plan.forms[name]
        return Buffer(form, self.plan.bases[self.plan.root.get(name, name)], form.box, range(form.copies))

    def _transfer(self, opcode: Opcode, name: str, buffer: Buffer, layer: str) -> None:
        """Move what a buffer has room for: rows together where these are whole, copies where they are."""
        form, (rows, columns) = buffer.form, buffer.box
        segment, offset = self._home(name)
        banks = self.config.cores if form.space == SPIKE_SPACE else 1
        starts = [Place(y, columns.start, copy) for copy in buffer.copies for y in rows]
        if len(columns) == form.width:
            starts = starts[:: len(rows)] if len(rows) < form.height else starts[:1]
        for start in starts:
            places = len(buffer.copies) * buffer.box.places // len(starts)
            first = (start.copy * form.height + start.y) * form.width + start.x
            self._emit(opcode, {
                "count": places * form.unit * banks, "segment": segment, "offset": offset + first * form.unit * form.size,
                "space": form.space, "base": buffer.address(start), "step_stride": form.run,
            }, layer, (0, 1))
        self._before = Region()

    def _stage(self, number: int, stage: Stage) -> None:
        """All passes of a stage for one tile after the other, with what these need and what they make."""
        cut, there = self.plan.cuts[number], dict[str, Buffer]()
        written = {self._root(name) for part in stage.passes for address, name in part.bases.items() if address not in READS}
        regions = self._stack(stage) if len(cut) > 1 else {}
        done: set[int] = set()
        for tile in cut.tiles():
            made: dict[str, Buffer] = {}
            for i, part in enumerate(stage.passes):
                if not share(part, tile).places or (part.opcode == Opcode.HAMMING and regions and i in done):
                    continue
                buffers = {name: self._buffer(number, part, address, name, tile, written) for address, name in _tensors(part)}
                # what LINEAR reads is loaded before HAMMING, too: that makes weights for the very next descriptor
                for some in stage.passes[i : i + 1 + (part.opcode == Opcode.HAMMING)]:
                    for address, name in _tensors(some):
                        if address in (*READS, OTHER):
                            self._fetch(name, self._buffer(number, some, address, name, tile, written), there, stage)
                made |= {name: buffers[name] for address, name in part.bases.items() if address not in READS}
                self._pass(part, placed(part, tile, buffers), regions.get(i), i in done)
                done.add(i)
            for name, buffer in made.items():
                if self._root(name) in self.plan.outside:
                    self._transfer(Opcode.STORE, name, buffer, stage.layer.name)

    def _root(self, name: str) -> str:
        return self.plan.root.get(name, name)

    def _buffer(self, number: int, part: Pass, address: str, name: str, tile: Box, written: set[str]) -> Buffer:
        """Where a pass finds a tensor, or a part of it: of what the stage only reads, one copy."""
        form = self.plan.forms[name]
        copy = part.at.get(address, Place()).copy
        copies = range(form.copies) if self._root(name) in written else range(copy, copy + 1)
        return self.plan.buffer(number, name, copies, needed(part, address, form, tile))

    def _fetch(self, name: str, buffer: Buffer, there: dict[str, Buffer], stage: Stage) -> None:
        """Load a tensor that lies outside, unless this part of it is there already."""
        root = self._root(name)
        if root in self.plan.outside and there.get(root) != buffer and buffer.box.places:
            self._transfer(Opcode.LOAD, name, buffer, stage.layer.name)
            there[root] = buffer

    def _stack(self, stage: Stage) -> dict[int, tuple[Region, bool]]:
        """Where weights and parameters of all passes lie together, and whether they may load early; empty if they do not fit."""
        loading = [(i, x) for i, x in enumerate(stage.passes) if x.parameters.size]
        rows, beats = sum(x.rows for _, x in loading), sum(x.beats for _, x in loading)
        if rows > self.config.weight_rows or beats > self.config.param_beats:
            return {}
        whole, rows_apart, beats_apart = place(self.config, rows, beats, self._before)
        found: dict[int, tuple[Region, bool]] = {}
        row, beat = whole.row, whole.beat
        for i, x in loading:
            found[i] = Region(row, x.rows, beat, x.beats), bool(found) or (beats_apart and (rows_apart or not rows))
            if x.opcode == Opcode.HAMMING:
                found[i + 1] = found[i]
            row, beat = row + x.rows, beat + x.beats
        return found

    def _pass(self, part: Pass, fields: dict[str, int], stacked: tuple[Region, bool] | None, again: bool) -> None:
        """A pass with its weights and parameters: loaded, there already, or (no parameters) made by HAMMING before it."""
        loads = bool(part.parameters.size)
        if stacked:
            region, apart = stacked
        elif loads:
            region, rows_apart, beats_apart = place(self.config, part.rows, part.beats, self._before)
            apart = beats_apart and (rows_apart or not part.weights.size)
        else:
            region = self._made
        if loads and not (stacked and again):
            weight_addr, param_addr = self._offsets[id(part)]
            fields |= {"prefetch": int(apart), "param_addr": param_addr}
            if part.weights.size:
                fields["weight_addr"] = weight_addr
        else:
            fields |= {"param_beats": 0, "weight_rows": 0}
        if part.opcode == Opcode.HAMMING:
            self._made = region
        self._before = region
        self._emit(part.opcode, fields | {"weight_base": region.row, "param_base": region.beat}, part.layer, part.sop)


def _tensors(part: Pass) -> list[tuple[str, str]]:
    """Address fields of a pass and the tensors that they lie in, with that of the second tensor."""
    return [*part.bases.items(), *([(OTHER, part.other)] if part.other else [])]
