"""One program of a bundle: a plan as descriptors, with what each of them is for and where results are stored."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from fractions import Fraction

import numpy as np

from golden.spec import descriptor
from golden.spec.config import Config
from golden.spec.descriptor import Opcode
from golden.spec.model import HEAD, INPUT, Layer
from sw.ahead import least_cycles, load_ahead
from sw.allocation import Region, Slots, overlap, place
from sw.bundle import LOGITS, RESIDUAL, SPIKES, Program, Step, Tensor
from sw.cuts import MOVE, Cut
from sw.fields import Pass, Place
from sw.linear import head_parts
from sw.packing import Bytes, round_up
from sw.passes import Stage
from sw.spilling import Plan
from sw.tiles import OTHER, READS, SPIKE_SPACE, Box, Buffer, needed, placed, share

ALIGN = 64  #: of every offset in a segment
SHARE = 64  #: parts of a descriptor's places, where some of them are counted: those that were made before are not
IMAGE_SEGMENT, INPUT_SEGMENT, RESULT_SEGMENT = 0, 1, 2


@dataclass(frozen=True)
class Made:
    """A descriptor without the offsets of images, the layer that it is for, what one of its adds stands for, what it moves."""

    opcode: Opcode
    fields: Mapping[str, int]
    layer: str
    sop: tuple[int, int] = (0, 1)
    tensor: str = ""

    def marked(self, **flags: bool) -> Made:
        """The same, with some of its flags."""
        return replace(self, fields={**self.fields, **{name: int(value) for name, value in flags.items()}})


@dataclass
class _Item:
    """Descriptors that compute, one after the other, what is loaded for them, and what is stored once they have ended."""

    loads: list[Made]
    computes: list[Made]
    stores: list[Made]


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
        self._descriptors: list[Made] = []
        self.tensors: dict[str, Tensor] = {}
        self.result_bytes = 0
        self._before = Region()  # what the last descriptor uses of weight and parameter memory
        self._made = Region()  # where the last HAMMING has made weights
        self._build()

    @property
    def size(self) -> int:
        """Bytes of the program."""
        return len(self._descriptors) * descriptor.BYTES

    @property
    def moves(self) -> list[Made]:
        """All LOADs and STOREs."""
        return [x for x in self._descriptors if x.tensor]

    def image(self, images: int, spill: int) -> Bytes:
        """The descriptors as bytes, where ``images`` and ``spill`` are the offsets in segment 0 of the first image and of the
        memory behind them all that tensors go to.
        """
        words: list[int] = []
        for number, one in enumerate(self._descriptors):
            moved = dict.fromkeys(("weight_addr", "param_addr"), images)
            if one.opcode in (Opcode.LOAD, Opcode.STORE) and one.fields["segment"] == IMAGE_SEGMENT:
                moved["offset"] = spill
            elif one.opcode in (Opcode.LINEAR, Opcode.HAMMING):
                moved["offset"] = images
            fields = {name: value + moved.get(name, 0) for name, value in one.fields.items()}
            words += descriptor.encode(one.opcode, {**fields, "layer": number})
            descriptor.check_limits(descriptor.decode(words[-descriptor.WORDS:]), self.config)
        return np.array(words, "<u4").view(np.uint8)

    def program(self, offset: int) -> Program:
        """What the manifest says of it; its first descriptor is at ``offset`` of the image."""
        steps = tuple(Step(x.opcode.name.lower(), x.layer, *x.sop) for x in self._descriptors)
        return Program(offset, self.result_bytes, steps, self.tensors)

    def _build(self) -> None:
        """Load the input, run all stages, store the result (and all else that the model names)."""
        model, plan = self.layouts.model, self.plan
        last = model.layers[-1]
        self._reserve(model.result, LOGITS if last.op == HEAD else RESIDUAL, last)
        for layer in model.layers if self.traced else ():
            for name, kind in ((layer.u_out, RESIDUAL), (layer.spike_out, SPIKES)):
                if name and name != model.result:
                    self._reserve(name, kind, layer)
        if INPUT not in plan.outside:
            self._emit(*self._transfer(Opcode.LOAD, INPUT, self._whole(INPUT), INPUT))
        for number, stage in enumerate(plan.stages):
            self._stage(number, stage)
            if number + 1 == len(plan.stages) or plan.stages[number + 1].layer != stage.layer:
                for layer in stage.layers:
                    self._keep(layer)
        program = [(x.opcode, dict(x.fields)) for x in self._descriptors]
        if not self.config.lean:
            load_ahead(self.config, program)
        self._descriptors = [replace(x, fields=d) for x, (_, d) in zip(self._descriptors, program, strict=True)]
        self._emit(Made(Opcode.END, {}, "end"))

    def _keep(self, layer: Layer) -> None:
        """Store what a layer has made and what is still on chip only."""
        for name in (layer.u_out, layer.spike_out, layer.name if layer.op == HEAD else ""):
            if name in self.tensors and self.plan.root.get(name, name) in self.plan.bases:
                self._emit(*self._transfer(Opcode.STORE, name, self._whole(name), layer.name))

    def _emit(self, *some: Made) -> None:
        self._descriptors += some

    def _reserve(self, name: str, kind: str, layer: Layer) -> None:
        """Give a tensor its place in the result segment."""
        shape, form, parts, place_words = self.layouts.shapes[name], self.plan.forms[name], 1, 0
        if kind == SPIKES:
            tensor = self.layouts.spikes(name)
            parts, place_words = tensor.planes, form.unit if tensor.x_gap else 0
        elif kind == LOGITS:
            parts = head_parts(self.layouts)
        size = form.units * form.size
        self.tensors[name] = Tensor(layer.name, kind, shape, self.result_bytes, size, parts, form.copies, place_words)
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

    def _transfer(self, opcode: Opcode, name: str, buffer: Buffer, layer: str) -> list[Made]:
        """Move what a buffer has room for: rows together where these are whole, copies where they are."""
        form, (rows, columns) = buffer.form, buffer.box
        segment, offset = self._home(name)
        banks = self.config.cores if form.space == SPIKE_SPACE else 1
        starts = [Place(y, columns.start, copy) for copy in buffer.copies for y in rows]
        if len(columns) == form.width and buffer.row == form.width * form.unit:
            starts = starts[:: len(rows)] if len(rows) < form.height else starts[:1]
        moves = []
        for start in starts:
            places = len(buffer.copies) * buffer.box.places // len(starts)
            first = (start.copy * form.height + start.y) * form.width + start.x
            moves.append(Made(opcode, {
                "count": places * form.unit * banks, "segment": segment, "offset": offset + first * form.unit * form.size,
                "space": form.space, "base": buffer.address(start), "step_stride": form.run,
            }, layer, tensor=name))
        self._before = Region()
        return moves

    def _stage(self, number: int, stage: Stage) -> None:
        """All passes of a stage for one tile after the other, with what these need and what they make."""
        cut = self.plan.cuts[number]
        buffers = _Buffers(self.plan, number)
        regions = self._stack(stage) if len(cut) > 1 else {}
        done: set[int] = set()
        items: list[_Item] = []
        for tile in cut.tiles():
            made: dict[str, tuple[Buffer, str]] = {}
            buffers.turn()
            for i, part in enumerate(stage.passes):
                own = stage.tile(part, tile)
                if not share(part, own).places or (part.opcode == Opcode.HAMMING and regions and i in done):
                    continue
                # what LINEAR reads is loaded before HAMMING, too: that makes weights for the very next descriptor
                loads: list[Made] = []
                for some in stage.passes[i : i + 1 + (part.opcode == Opcode.HAMMING)]:
                    for name, buffer in buffers.fetch(some, own):
                        loads += self._transfer(Opcode.LOAD, name, buffer, part.layer)
                there = buffers.of(part, own)
                made |= {name: (there[name], part.layer) for address, name in part.bases.items() if address not in READS}
                if loads or not items or items[-1].stores:
                    items.append(_Item(loads, [], []))
                made_now = self._pass(part, placed(part, own, there), regions.get(i), i in done, stage.slots)
                items[-1].computes.append(_counted(made_now, stage, cut, tile) if stage.ways.get(part.layer) else made_now)
                done.add(i)
            kept = stage.held.intersection(self.tensors).difference(self.plan.bases)
            for name, (buffer, layer) in made.items():
                if name in kept or buffers.root(name) in self.plan.outside:
                    items[-1].stores += self._transfer(Opcode.STORE, name, buffer, layer)
        # where a trace stores what never leaves the chip else, there is no second buffer for that
        beside = cut.second and not (self.traced and stage.held)
        for one in _beside(items, self.config) if beside else (y for x in items for y in (*x.loads, *x.computes, *x.stores)):
            self._emit(one)

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

    def _pass(
        self, part: Pass, fields: dict[str, int], stacked: tuple[Region, bool] | None, again: bool, slots: Slots
    ) -> Made:
        """A pass with its weights and parameters: loaded, there already, or (no parameters) made by HAMMING before it."""
        loads = bool(part.parameters.size)
        if stacked:
            region, apart = stacked
        elif part.slot >= 0:
            region = slots.region(self.config, part.slot)
            apart = not (loads and overlap(region.beat, region.beats, self._before.beat, self._before.beats))
        elif loads:
            region, rows_apart, beats_apart = place(self.config, part.rows, part.beats, self._before, slots.whole)
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
        return Made(part.opcode, fields | {"weight_base": region.row, "param_base": region.beat}, part.layer, part.sop)


def _counted(made: Made, stage: Stage, cut: Cut, tile: Box) -> Made:
    """The same, with operations for its share of places that no tile before has made."""
    share = Fraction(1)
    for places, some, all_ in ((stage.rows, tile.rows, cut.rows), (stage.columns, tile.columns, cut.columns)):
        at = all_.index(some)
        own, before = places(made.layer, some), places(made.layer, all_[at - 1]).stop if at else 0
        share *= Fraction(len(range(max(own.start, before), own.stop)), len(own))
    return replace(made, sop=(made.sop[0] * round(share * SHARE), made.sop[1] * SHARE))


class _Buffers:
    """What is in the buffers of a stage."""

    def __init__(self, plan: Plan, number: int) -> None:
        self.plan, self.number = plan, number
        passes = plan.stages[number].passes
        self._written = {self.root(name) for x in passes for address, name in x.bases.items() if address not in READS}
        self._there: dict[str, tuple[str, range, Box]] = {}
        self._second: dict[str, bool] = {}  # which buffer of a tensor is in use

    def root(self, name: str) -> str:
        """The tensor in whose memory one lies."""
        return self.plan.root.get(name, name)

    def turn(self) -> None:
        """A tile begins: what is written goes to the other buffer."""
        for name in self._written:
            self._second[name] = not self._second.get(name, True)

    def fetch(self, part: Pass, tile: Box) -> Iterator[tuple[str, Buffer]]:
        """Tensors and the places of them that a pass needs and that are not there yet: to be loaded, into the other buffer."""
        for address, name in _tensors(part):
            root, content = self.root(name), (name, self._copies(part, address, name), self._box(part, address, name, tile))
            if address not in (*READS, OTHER) or root not in self.plan.outside or self._there.get(root) == content:
                continue
            if root not in self._written:
                self._second[root] = not self._second.get(root, True)
            self._there[root] = content
            if content[2].places:
                yield name, self._buffer(part, address, name, tile)

    def of(self, part: Pass, tile: Box) -> dict[str, Buffer]:
        """Where all tensors of a pass are, by name."""
        return {name: self._buffer(part, address, name, tile) for address, name in _tensors(part)}

    def _buffer(self, part: Pass, address: str, name: str, tile: Box) -> Buffer:
        copies, box = self._copies(part, address, name), self._box(part, address, name, tile)
        return self.plan.buffer(self.number, name, copies, box, self._second.get(self.root(name), False))

    def _copies(self, part: Pass, address: str, name: str) -> range:
        """All copies of what the stage writes, of what it only reads the one that a pass needs."""
        if self.root(name) in self._written:
            return range(self.plan.forms[name].copies)
        copy = part.at.get(address, Place()).copy
        return range(copy, copy + 1)

    def _box(self, part: Pass, address: str, name: str, tile: Box) -> Box:
        return needed(part, address, self.plan.forms[name], tile)


def _tensors(part: Pass) -> list[tuple[str, str]]:
    """Address fields of a pass and the tensors that they lie in, with that of the second tensor."""
    return [*part.bases.items(), *([(OTHER, part.other)] if part.other else [])]


def _beside(items: Sequence[_Item], config: Config) -> Iterator[Made]:
    """Descriptors such that, while an item computes, the results of the one before are stored, and what the next needs is loaded.

    These are in other buffers. All of that has ended when the next one starts to compute, and what computes when the next one
    has started. Beside the last one nothing moves, so that its results can wait for its end.
    """
    nothing = _Item([], [], [])
    yield from items[0].loads
    moved = False
    for before, item, after in zip([nothing, *items], items[:-1], items[1:], strict=False):
        moves = [*before.stores, *after.loads]
        first, *others = item.computes
        yield first.marked(after_move=moved, beside=bool(moves))
        yield from (x.marked(beside=True) for x in _mixed(first, others, moves, config)) if moves else others
        moved = bool(moves)
    first, *others = items[-1].computes
    yield first.marked(after_move=moved)
    yield from others
    yield from (x for item in items[-2:] for x in item.stores)


def _mixed(first: Made, computes: Sequence[Made], moves: Sequence[Made], config: Config) -> Iterator[Made]:
    """Both in an order in which each descriptor starts about when its unit is free, while the first one computes already."""
    waiting, moving = list(computes), list(moves)
    computed, moved = least_cycles(config, first.opcode, first.fields), 0
    while waiting or moving:
        if moving and (moved <= computed or not waiting):
            one = moving.pop(0)
            moved += one.fields["count"] * (config.u_beat_bits if one.fields["space"] else config.word) // config.axi_bits + MOVE
        else:
            one = waiting.pop(0)
            computed += least_cycles(config, one.opcode, one.fields)
        yield one
