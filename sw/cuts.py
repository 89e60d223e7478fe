"""Tiles of a stage: what each way to cut it takes of the memories on chip, and how many cycles it costs about."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from functools import cached_property
from itertools import product

from golden.spec.config import Config
from golden.spec.descriptor import Opcode
from sw.fields import Pass
from sw.layouts import chunks
from sw.passes import Stage
from sw.tiles import OTHER, READS, RESIDUAL_SPACE, Box, Form, Use, uses

MOVE = 60  #: cycles of a LOAD or STORE beside its beats
STORED = 3  #: cycles more for each residual beat that is stored (hw/mover.py)
ANSWER = 0.5  #: cycles more for each beat of the bus that is stored: every 64 of them wait for the memory's answer
DENSE, SPARSE = 0.5, 0.2  #: bits set, about, with the slots' waiting for the fullest of them; of sparse tensors
PASS = 50  #: cycles of a LINEAR descriptor beside its results
MAKE = 1000  #: cycles of a HAMMING descriptor, about


@dataclass(frozen=True)
class Read:
    """Places of a copy of a tensor that a pass of a layer needs."""

    name: str
    layer: str
    copy: int
    y: Use
    x: Use

    @property
    def once(self) -> bool:
        """Whether all tiles need the same places."""
        return not (self.y.step or self.x.step)


@dataclass(frozen=True)
class Cut:
    """Tiles of a stage: ranges of output rows and columns, and where its buffers lie, by tensor.

    Tensors in ``second`` have two buffers: what a tile needs is loaded, and what one has made is stored, beside another tile.
    """

    rows: Sequence[range]
    columns: Sequence[range]
    bases: Mapping[str, int] = field(default_factory=dict)
    second: Mapping[str, int] = field(default_factory=dict)

    def tiles(self) -> Iterator[Box]:
        """All tiles, row by row."""
        return (Box(*x) for x in product(self.rows, self.columns))

    def __len__(self) -> int:
        return len(self.rows) * len(self.columns)


@dataclass(frozen=True)
class Need:
    """What a cut takes: units of a buffer of each tensor, which of them have two, cycles that the stage takes so."""

    cut: Cut
    units: Mapping[str, int]
    twice: frozenset[str]
    cycles: float


class Work:
    """A stage as the plan sees it.

    Parameters
    ----------
    stage : Stage
    forms : mapping
        How its tensors lie.
    root : mapping
        The tensor whose memory one takes over, by name.
    inner : frozenset of str
        Tensors that one stage alone makes and needs.
    sparse : frozenset of str
        Tensors with few bits set: of one level, or made by a depthwise layer.
    config : Config
    """

    def __init__(self, stage: Stage, forms: Mapping[str, Form], root: Mapping[str, str], inner: frozenset[str],
                 sparse: frozenset[str], config: Config) -> None:
        self.stage, self.forms, self.inner, self.config = stage, forms, inner, config
        self.reads: dict[Read, None] = {}
        self.writes: dict[str, tuple[int, str]] = {}  #: scale, and the layer that does it, by tensor
        self.alike: list[set[str]] = []  #: tensors without gaps, or with the same ones, behind the rows of a tile
        for part in stage.passes:
            for address, name in {**part.bases, **({OTHER: part.other} if part.other else {})}.items():
                own = root.get(name, name)
                if address not in (*READS, OTHER):
                    self.writes[own] = (part.scale if address == "spike_dst" else 1), part.layer
                elif own not in inner:
                    copy = part.at[address].copy if address in part.at else 0
                    self.reads[Read(own, part.layer, copy, *uses(part, address, forms[name]))] = None
                if address in ("u_src", "u_dst"):
                    self.alike.append({own})
            if part.other:
                self.alike.append({root.get(x, x) for x in (part.bases["origin"], part.other)})
        loading = [x for x in stage.passes if x.parameters.size]
        self.stays = sum(x.rows for x in loading) <= config.weight_rows and sum(x.beats for x in loading) <= config.param_beats
        making = sum(x.opcode == Opcode.HAMMING for x in stage.passes)
        self.makes = 0 if stage.slots.count else making  # beside LINEAR
        self.each = {x.name: 0.0 for x in stage.layers}  #: cycles of all places of a layer, made once
        for x in stage.passes:
            density = SPARSE if x.bases.get("origin") in sparse else DENSE
            self.each[x.layer] = self.each.get(x.layer, 0) + _cycles(x, config, forms, density)

    @cached_property
    def names(self) -> dict[str, None]:
        """Tensors of the stage that others know."""
        return dict.fromkeys(x for x in (*(x.name for x in self.reads), *self.writes) if x not in self.inner)

    def cuts(self) -> Iterator[tuple[Sequence[range], Sequence[range]]]:
        """Rows and columns of all cuts into tiles of about equal size."""
        most = [1 if self.stage.slots.count else n for n in self.stage.size]
        sizes = [sorted({-(-n // i) for i in range(1, m + 1)}, reverse=True) for n, m in zip(self.stage.size, most, strict=True)]
        for rows, columns in product(*sizes):
            yield chunks(self.stage.size[0], rows), chunks(self.stage.size[1], columns)

    def needs(self, rows: Sequence[range], columns: Sequence[range], outside: frozenset[str]) -> Iterator[Need]:
        """What a cut takes if the tensors of ``outside`` (and the inner ones) are in buffers only, in one each or in two."""
        units: dict[str, int] = {}
        moving, tiles, bus = 0.0, len(rows) * len(columns), self.config.axi_bytes
        for read in (x for x in self.reads if x.name in outside):
            form = self.forms[read.name]
            tall = [len(read.y.of(self.stage.rows(read.layer, x), form.height)) for x in rows]
            broad = [len(read.x.of(self.stage.columns(read.layer, x), form.width)) for x in columns]
            if read.once:
                tall, broad = tall[:1], broad[:1]
            units[read.name] = max(units.get(read.name, 0), max(tall) * form.row(max(broad)))
            whole = sum(x == form.width and not form.window for x in broad)  # rows that follow each other are one LOAD
            moving += sum(tall) * sum(broad) * form.unit * form.size / bus
            moving += (len(tall) * whole + sum(tall) * (len(broad) - whole)) * MOVE
        for name, (scale, layer) in self.writes.items():
            if name in outside or name in self.inner:
                form = self.forms[name]
                most = [max(len(x) for x in some) * scale for some in self._made(layer, rows, columns)]
                units[name] = max(units.get(name, 0), form.copies * most[0] * form.row(most[1]))
            if name in outside:
                whole = len(columns) == 1 and not form.window
                runs = form.copies * (len(rows) if whole else self.stage.size[0] * scale * len(columns))
                moving += form.units * (form.size / bus * (1 + ANSWER) + STORED * (form.space == RESIDUAL_SPACE)) + runs * MOVE
        computing = self.computing(rows, columns) + (tiles - 1) * (0 if self.stays else self._again())
        cut = Cut(rows, columns)
        yield Need(cut, units, frozenset(), computing + moving)
        twice = frozenset(x.name for x in self.reads if not x.once) | frozenset(self.writes)
        if tiles > 1 and self.stays and not self.makes and moving:
            yield Need(cut, units, twice & outside, max(computing, moving) + moving / tiles)

    def _made(self, layer: str, rows: Sequence[range], columns: Sequence[range]) -> tuple[list[range], list[range]]:
        """Rows and columns that a layer makes for each tile."""
        return [self.stage.rows(layer, x) for x in rows], [self.stage.columns(layer, x) for x in columns]

    def computing(self, rows: Sequence[range], columns: Sequence[range]) -> float:
        """Cycles of all passes, of places that several tiles need as often as they do."""
        cycles = float(self.makes * MAKE + len(rows) * len(columns) * len(self.stage.passes) * PASS)
        for layer, each in self.each.items():
            tall, broad = (sum(len(x) for x in some) for some in self._made(layer, rows, columns))
            height, width = self.stage.places(layer)
            cycles += each * tall * broad / (height * width)
        return cycles

    def _again(self) -> float:
        """Cycles in which all weights are loaded or made."""
        return sum(x.weights.size + x.parameters.size for x in self.stage.passes) / self.config.axi_bytes + self.makes * MAKE

    def allowed(self, rows: Sequence[range], columns: Sequence[range], outside: frozenset[str]) -> bool:
        """Whether descriptors can go over these tiles: of tensors that are `alike` all are in buffers, or several on chip."""
        if len(columns) == 1 or len(rows[0]) == 1:
            return True
        buffers = outside | self.inner
        return all(names <= buffers or (len(names) > 1 and not names & buffers) for names in self.alike)


def _cycles(part: Pass, config: Config, forms: Mapping[str, Form], density: float) -> float:
    """Cycles that a LINEAR descriptor takes, about: words to fetch, rows to add, or sums that the neuron unit takes and planes
    that it writes.
    """
    if part.opcode != Opcode.LINEAR:
        return 0
    d = part.fields
    results = d["out_h"] * d["out_w"] * d["steps"] * d["groups"]
    gaps = d.get("lanewise") and "origin" in part.bases and forms[part.bases["origin"]].window == d["kernel_w"]
    taps = -(-d["kernel_h"] * d["kernel_w"] // (config.taps if gaps else 1))
    passes, turn = d["slices"] * d["planes"], config.cores * config.beats
    planes = d["out_planes"] if d.get("fire") else 1  # written one after the other, while other cores have their turn
    beats = (passes - 1) * turn + max(turn, (turn - config.cores + 1) * planes)
    bits = (d["words"] - 1) * config.word + d.get("mask_high", -1) + 1 - d.get("mask_low", 0)
    rows = 0 if d.get("lanewise") else taps * bits * density / config.issue
    return results * max(passes * max(taps * d["words"] + 1, rows), beats)
