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
PASS = 50  #: cycles of a LINEAR descriptor beside its results
MAKE = 1000  #: cycles of a HAMMING descriptor, about


@dataclass(frozen=True)
class Read:
    """Places of a copy of a tensor that a pass needs."""

    name: str
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
    config : Config
    """

    def __init__(self, stage: Stage, forms: Mapping[str, Form], root: Mapping[str, str], inner: frozenset[str], config: Config):
        self.stage, self.forms, self.inner, self.config = stage, forms, inner, config
        self.reads: dict[Read, None] = {}
        self.writes: dict[str, int] = {}  #: scale by tensor
        self.alike: list[set[str]] = []  #: tensors without gaps, or with the same ones, behind the rows of a tile
        for part in stage.passes:
            for address, name in {**part.bases, **({OTHER: part.other} if part.other else {})}.items():
                own = root.get(name, name)
                if address not in (*READS, OTHER):
                    self.writes[own] = part.scale if address == "spike_dst" else 1
                elif own not in inner:
                    copy = part.at[address].copy if address in part.at else 0
                    self.reads[Read(own, copy, *uses(part, address, forms[name]))] = None
                if address in ("u_src", "u_dst"):
                    self.alike.append({own})
            if part.other:
                self.alike.append({root.get(x, x) for x in (part.bases["origin"], part.other)})
        loading = [x for x in stage.passes if x.parameters.size]
        self.stays = sum(x.rows for x in loading) <= config.weight_rows and sum(x.beats for x in loading) <= config.param_beats
        self.makes = sum(x.opcode == Opcode.HAMMING for x in stage.passes)
        self.computing = sum(_cycles(x, config) for x in stage.passes) + self.makes * MAKE

    @cached_property
    def names(self) -> dict[str, None]:
        """Tensors of the stage that others know."""
        return dict.fromkeys(x for x in (*(x.name for x in self.reads), *self.writes) if x not in self.inner)

    def cuts(self) -> Iterator[tuple[Sequence[range], Sequence[range]]]:
        """Rows and columns of all cuts into tiles of about equal size."""
        sizes = [sorted({-(-n // i) for i in range(1, n + 1)}, reverse=True) for n in self.stage.size]
        for rows, columns in product(*sizes):
            yield chunks(self.stage.size[0], rows), chunks(self.stage.size[1], columns)

    def needs(self, rows: Sequence[range], columns: Sequence[range], outside: frozenset[str]) -> Iterator[Need]:
        """What a cut takes if the tensors of ``outside`` (and the inner ones) are in buffers only, in one each or in two."""
        units: dict[str, int] = {}
        moving, tiles, bus = 0.0, len(rows) * len(columns), self.config.axi_bytes
        for read in (x for x in self.reads if x.name in outside):
            form = self.forms[read.name]
            tall, broad = [len(read.y.of(x, form.height)) for x in rows], [len(read.x.of(x, form.width)) for x in columns]
            if read.once:
                tall, broad = tall[:1], broad[:1]
            units[read.name] = max(units.get(read.name, 0), max(tall) * max(broad) * form.unit)
            whole = sum(x == form.width for x in broad)
            moving += sum(tall) * sum(broad) * form.unit * form.size / bus
            moving += (len(tall) * whole + sum(tall) * (len(broad) - whole)) * MOVE
        for name, scale in self.writes.items():
            if name in outside or name in self.inner:
                form = self.forms[name]
                places = len(rows[0]) * len(columns[0]) * scale * scale
                units[name] = max(units.get(name, 0), form.copies * places * form.unit)
            if name in outside:
                runs = form.copies * (len(rows) if len(columns) == 1 else self.stage.size[0] * scale * len(columns))
                moving += form.units * (form.size / bus + STORED * (form.space == RESIDUAL_SPACE)) + runs * MOVE
        computing = self.computing + (tiles - 1) * (len(self.stage.passes) * PASS + (0 if self.stays else self._again()))
        cut = Cut(rows, columns)
        yield Need(cut, units, frozenset(), computing + moving)
        twice = frozenset(x.name for x in self.reads if not x.once) | frozenset(self.writes)
        if tiles > 1 and self.stays and not self.makes and moving:
            yield Need(cut, units, twice & outside, max(computing, moving) + moving / tiles)

    def _again(self) -> float:
        """Cycles in which all weights are loaded or made."""
        return sum(x.weights.size + x.parameters.size for x in self.stage.passes) / self.config.axi_bytes + self.makes * MAKE

    def allowed(self, rows: Sequence[range], columns: Sequence[range], outside: frozenset[str]) -> bool:
        """Whether descriptors can go over these tiles: of tensors that are `alike` all are in buffers, or several on chip."""
        if len(columns) == 1 or len(rows[0]) == 1:
            return True
        buffers = outside | self.inner
        return all(names <= buffers or (len(names) > 1 and not names & buffers) for names in self.alike)


def _cycles(part: Pass, config: Config) -> int:
    """Cycles that a LINEAR descriptor takes at least: words to fetch, or beats that neurons take and planes that they write."""
    if part.opcode != Opcode.LINEAR:
        return 0
    d = part.fields
    results = d["out_h"] * d["out_w"] * d["steps"] * d["groups"]
    fetches = results * d["slices"] * d["planes"] * d["kernel_h"] * d["kernel_w"] * d["words"]
    beats = results * config.cores * config.beats * (d["out_planes"] if d.get("fire") else 1)
    return max(fetches, beats) + PASS
