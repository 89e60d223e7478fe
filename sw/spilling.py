"""Which tensors stay on chip, which go to external memory and come back in tiles, and how large these are.

Where all fit, all stay. Else every tensor lies outside at first, and they are brought on chip one by one, first what saves most
bytes of traffic for the memory and the time it takes, as long as the whole program's traffic falls. What a stage of a
layer (`sw.passes.Stage`) then has left is for its tiles: those that fit with the least traffic. docs/decisions/008-spilling.md.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field, replace
from functools import cached_property
from itertools import product
from math import inf

from golden.spec.config import Config
from golden.spec.descriptor import Opcode
from golden.spec.model import HEAD, INPUT
from sw.allocation import AllocationError, Interval, first_fit, roots
from sw.layouts import Layouts, chunks
from sw.passes import Stage
from sw.tiles import OTHER, READS, RESIDUAL_SPACE, SPIKE_SPACE, Box, Buffer, Form, Use, uses

WHAT = {SPIKE_SPACE: "spike banks, words", RESIDUAL_SPACE: "residual memory, beats"}
OVERHEAD = 512  #: bytes that could be moved in the time which a descriptor takes beside its beats


@dataclass(frozen=True)
class Read:
    """Places of a copy of a tensor that a pass needs."""

    name: str
    copy: int
    y: Use
    x: Use


@dataclass(frozen=True)
class Cut:
    """Tiles of a stage: ranges of output rows and columns, and where its buffers lie, by tensor."""

    rows: Sequence[range]
    columns: Sequence[range]
    bases: Mapping[str, int] = field(default_factory=dict)

    def tiles(self) -> Iterator[Box]:
        """All tiles, row by row."""
        return (Box(*x) for x in product(self.rows, self.columns))

    def __len__(self) -> int:
        return len(self.rows) * len(self.columns)


@dataclass(frozen=True)
class Need:
    """What a cut takes: units of each memory by tensor, bytes of traffic that it costs."""

    cut: Cut
    units: Mapping[str, int]
    cost: float


class Work:
    """A stage as the plan sees it: its tensors by the buffer they share, and what cuts of it need."""

    def __init__(self, stage: Stage, forms: Mapping[str, Form], root: Mapping[str, str], inner: frozenset[str], config: Config):
        self.stage, self.forms, self.inner = stage, forms, inner
        self.reads: dict[Read, None] = {}
        self.writes: dict[str, int] = {}  #: scale by tensor
        self.narrow: list[set[str]] = []  #: tensors that must lie alike where a tile has several rows, and not all columns
        for part in stage.passes:
            addresses = {**part.bases, **({OTHER: part.other} if part.other else {})}
            for address, name in addresses.items():
                own = root.get(name, name)
                if address not in (*READS, OTHER):
                    self.writes[own] = part.scale if address == "spike_dst" else 1
                elif own not in inner:
                    copy = part.at[address].copy if address in part.at else 0
                    self.reads[Read(own, copy, *uses(part, address, forms[name]))] = None
                if address in ("u_src", "u_dst"):
                    self.narrow.append({own})
            if part.other:
                self.narrow.append({root.get(part.bases["origin"], part.bases["origin"]), root.get(part.other, part.other)})
        self.images = sum(x.weights.size + x.parameters.size for x in stage.passes)
        hamming = [x for x in stage.passes if x.opcode == Opcode.HAMMING]
        loading = [x for x in stage.passes if x.parameters.size]
        self.stays = (sum(x.rows for x in loading) <= config.weight_rows and sum(x.beats for x in loading) <= config.param_beats)
        self.passes, self.again = len(stage.passes), len(hamming)

    @cached_property
    def names(self) -> dict[str, None]:
        """Tensors of the stage."""
        return dict.fromkeys([*(x.name for x in self.reads), *self.writes])

    def cuts(self) -> Iterator[tuple[Sequence[range], Sequence[range]]]:
        """Rows and columns of all cuts into tiles of about equal size."""
        sizes = [sorted({-(-n // i) for i in range(1, n + 1)}, reverse=True) for n in self.stage.size]
        for rows, columns in product(*sizes):
            yield chunks(self.stage.size[0], rows), chunks(self.stage.size[1], columns)

    def need(self, rows: Sequence[range], columns: Sequence[range], outside: frozenset[str]) -> Need:
        """What a cut takes if the tensors of ``outside`` (and the inner ones) are in buffers only."""
        units: dict[str, int] = {}
        cost, tiles = 0.0, len(rows) * len(columns)
        for read in self.reads:
            if read.name not in outside:
                continue
            form = self.forms[read.name]
            high, wide = (read.y.of(x, form.height) for x in rows), (read.x.of(x, form.width) for x in columns)
            tall, broad = [len(x) for x in high], [len(x) for x in wide]
            units[read.name] = max(units.get(read.name, 0), max(tall) * max(broad) * form.unit)
            once = not (read.y.step or read.x.step)  # the same for all tiles
            places = tall[0] * broad[0] if once else sum(tall) * sum(broad)
            runs = sum(1 if x == form.width else y for y, x in product(tall, broad)) if not once else 1
            cost += places * form.unit * form.size + runs * OVERHEAD
        for name, scale in self.writes.items():
            if name in outside or name in self.inner:
                form = self.forms[name]
                places = len(rows[0]) * len(columns[0]) * scale * scale
                units[name] = max(units.get(name, 0), form.copies * places * form.unit)
                if name in outside:
                    runs = form.copies * (len(rows) if len(columns) == 1 else self.stage.size[0] * scale * len(columns))
                    cost += form.units * form.size + runs * OVERHEAD
        if tiles > 1:
            cost += (tiles - 1) * (self.passes * OVERHEAD + (0 if self.stays else self.images + self.again * OVERHEAD * 8))
        return Need(Cut(rows, columns), units, cost)

    def allowed(self, rows: Sequence[range], columns: Sequence[range], outside: frozenset[str]) -> bool:
        """Whether descriptors can go over these tiles: residual values, and two tensors that are read together, have no gap
        behind each row.
        """
        if len(columns) == 1 or len(rows[0]) == 1:
            return True
        return all(names <= (outside | self.inner) or (len(names) > 1 and not names & (outside | self.inner))
                   for names in self.narrow)


@dataclass(frozen=True)
class Plan:
    """Where everything lies.

    Parameters
    ----------
    layouts : Layouts
        That the stages were made for.
    stages : list of Stage
        Of all layers, in order.
    forms : mapping
        How tensors lie, by name.
    root : mapping
        The tensor whose memory one takes over, by name, where it is another one.
    bases : mapping
        Addresses on chip of the tensors that stay there as long as they live, by root.
    outside : frozenset of str
        Those that do not, by root.
    cuts : list of Cut
        Tiles of each stage.
    homes : mapping
        Offset in bytes of each tensor of ``outside``, from the first byte of the external memory that they take.
    spill_bytes : int
        Bytes of it.
    traffic : float
        What it was chosen by: bytes that go to and fro between chip and memory because of what lies outside, and for each
        descriptor more `OVERHEAD`.
    """

    layouts: Layouts
    stages: Sequence[Stage]
    forms: Mapping[str, Form]
    root: Mapping[str, str]
    bases: Mapping[str, int]
    outside: frozenset[str]
    cuts: Sequence[Cut]
    homes: Mapping[str, int]
    spill_bytes: int
    traffic: float

    def buffer(self, stage: int, name: str, copies: range, box: Box) -> Buffer:
        """Where a tensor lies while a stage runs: all of it, or a box of these copies."""
        own, form = self.root.get(name, name), self.forms[name]
        if own in self.bases:
            return Buffer(form, self.bases[own], form.box, range(form.copies))
        return Buffer(form, self.cuts[stage].bases[own], box, copies)


class Planner:
    """Makes the plan of a program; see this file's first lines.

    Parameters
    ----------
    layouts : Layouts
        That the stages were made for.
    stages : list of Stage
        Of the layers, all or some of them.
    forms : mapping
        How the tensors lie that these make, and the input.
    """

    def __init__(self, layouts: Layouts, stages: Sequence[Stage], forms: Mapping[str, Form]) -> None:
        model, config = layouts.model, layouts.config
        self.layouts, self.stages, self.forms = layouts, stages, forms
        self.root = roots(model)
        self.depth = {SPIKE_SPACE: config.spike_words, RESIDUAL_SPACE: config.u_beats}
        self.life = self._lives()
        self.fixed = {model.layers[-1].name} if model.layers[-1].op == HEAD else set()  # logits never leave before the end
        inner = frozenset(x for x, (first, last) in self.life.items() if first == last and x not in {INPUT, *model.shapes()})
        self.works = [Work(stage, forms, self.root, inner, config) for stage in stages]
        self.inner = inner
        self.outer = [x for x in self.life if x not in inner and x not in self.fixed]
        self._known: dict[tuple[int, frozenset[str], int, int], Need | None] = {}

    def _lives(self) -> dict[str, tuple[int, int]]:
        """First and last stage of every tensor, by root; the input is there before the first."""
        life = {INPUT: (-1, -1)} if INPUT in self.forms else {}
        for i, stage in enumerate(self.stages):
            for part in stage.passes:
                for name in part.names:
                    own = self.root.get(name, name)
                    life[own] = (life.get(own, (i, i))[0], i)
        return life

    def plan(self) -> Plan:
        """The plan.

        Raises
        ------
        AllocationError
            If one output place of a layer is too much; the message names it, its tensors and their sizes.
        """
        try:
            return self._place(frozenset())
        except AllocationError:
            pass
        outside = self._choose()
        order = sorted(set(self.outer) - outside, key=self._weight)
        while True:
            try:
                return self._place(outside)
            except AllocationError:
                if not order:
                    raise
                outside |= {order.pop()}  # what stays fits in sum, but not in any order of addresses

    def _weight(self, name: str) -> int:
        """Memory and time that a tensor takes."""
        first, last = self.life[name]
        return self.forms[name].units * (last - first + 1)

    def _choose(self) -> frozenset[str]:
        """Tensors that live outside."""
        outside = frozenset(self.outer)
        costs = [self._least(i, outside) for i in range(len(self.works))]
        for i, cost in enumerate(costs):
            if cost == inf:
                raise AllocationError(self._too_small(i))

        def gain(name: str) -> tuple[float, dict[int, float]]:
            first, last = self.life[name]
            changed = {i: self._least(i, outside - {name}) for i in range(max(first, 0), last + 1)}
            load = self.forms[name].units * self.forms[name].size if name == INPUT else 0
            return sum(costs[i] - x for i, x in changed.items()) - load, changed

        for name in sorted(self.outer, key=lambda x: -gain(x)[0] / self._weight(x)):
            saved, changed = gain(name)
            if saved > 0:
                outside -= {name}
                for i, cost in changed.items():
                    costs[i] = cost
        return outside

    def _free(self, i: int, outside: frozenset[str]) -> dict[int, int]:
        """Units that tensors which stay on chip leave to a stage."""
        free = dict(self.depth)
        for name, (first, last) in self.life.items():
            if first <= i <= last and name not in outside and name not in self.inner:
                free[self.forms[name].space] -= self.forms[name].units
        return free

    def _least(self, i: int, outside: frozenset[str]) -> float:
        """Least traffic of a stage, in bytes; infinite where nothing fits."""
        free = self._free(i, outside)
        mine = outside.intersection(self.works[i].names)
        key = (i, mine, free[SPIKE_SPACE], free[RESIDUAL_SPACE])
        if key not in self._known:
            self._known[key] = next(self._fitting(i, mine, free), None)
        found = self._known[key]
        return found.cost if found else inf

    def _fitting(self, i: int, outside: frozenset[str], free: Mapping[int, int]) -> Iterator[Need]:
        """Cuts of a stage that take no more than what is free, the one with the least traffic first."""
        if min(free.values()) < 0:
            return
        work, found = self.works[i], []
        whole = len(outside.intersection(work.names)) == 0
        for rows, columns in work.cuts():
            if not work.allowed(rows, columns, outside):
                continue
            need = work.need(rows, columns, outside)
            if all(sum(n for x, n in need.units.items() if self.forms[x].space == space) <= most for space, most in free.items()):
                found.append(need)
                if whole:
                    break  # larger tiles come first, and there is nothing to move
        yield from sorted(found, key=lambda x: x.cost)

    def _place(self, outside: frozenset[str]) -> Plan:
        """Addresses for everything, with these tensors outside."""
        bases: dict[str, int] = {}
        for space in (SPIKE_SPACE, RESIDUAL_SPACE):
            away = outside | (self.inner if outside else frozenset())
            stay = [Interval(x, *life, self.forms[x].units) for x, life in self.life.items()
                    if self.forms[x].space == space and x not in away]
            bases |= first_fit(stay, self.depth[space], WHAT[space])
        needs = [self._cut(i, outside, bases) for i in range(len(self.stages))] if outside else []
        cuts = [x.cut for x in needs] or [Cut([range(h)], [range(w)]) for h, w in (stage.size for stage in self.stages)]
        sizes = [Interval(x, *self.life[x], -(-self.forms[x].units * self.forms[x].size // 64)) for x in outside if x != INPUT]
        homes = first_fit(sorted(sizes, key=lambda x: x.name), 1 << 40, "external memory") if sizes else {}
        ends = [homes[x.name] + x.size for x in sizes]
        return Plan(
            self.layouts, self.stages, self.forms, self.root, bases, outside, cuts, {x: 64 * at for x, at in homes.items()},
            64 * max(ends, default=0), sum(x.cost for x in needs),
        )

    def _cut(self, i: int, outside: frozenset[str], bases: Mapping[str, int]) -> Need:
        """Tiles of a stage, and addresses of its buffers between the tensors that stay."""
        mine = outside.intersection(self.works[i].names)
        for need in self._fitting(i, mine, self._free(i, outside)):
            found: dict[str, int] = {}
            for space, depth in self.depth.items():
                taken = [(bases[x], bases[x] + self.forms[x].units) for x, (first, last) in self.life.items()
                         if x in bases and first <= i <= last and self.forms[x].space == space]
                for name, size in sorted(need.units.items(), key=lambda x: -x[1]):
                    if self.forms[name].space == space and (at := _gap(size, depth, taken)) is not None:
                        found[name] = at
                        taken.append((at, at + size))
            if len(found) == len(need.units):
                return replace(need, cut=replace(need.cut, bases=found))
        raise AllocationError(f"layer '{self.stages[i].layer.name}': no gap is large enough for its tiles")

    def _too_small(self, i: int) -> str:
        """Why not even one output place of a stage fits."""
        work, (height, width) = self.works[i], self.stages[i].size
        need = work.need(chunks(height, 1), chunks(width, 1), frozenset(self.outer))
        free = self._free(i, frozenset(self.outer))
        texts = []
        for space, most in free.items():
            mine = {x: n for x, n in need.units.items() if self.forms[x].space == space}
            if sum(mine.values()) > most:
                each = ", ".join(f"'{x}' {n}" for x, n in mine.items())
                texts.append(f"{WHAT[space]}: one place of layer '{self.stages[i].layer.name}' needs {sum(mine.values())} "
                             f"({each}), there are {most}")
        return "; ".join(texts)


def _gap(size: int, depth: int, taken: Iterable[tuple[int, int]]) -> int | None:
    """Lowest address from which ``size`` units are free."""
    at = 0
    for low, high in sorted(taken):
        if at + size <= low:
            break
        at = max(at, high)
    return at if at + size <= depth else None
