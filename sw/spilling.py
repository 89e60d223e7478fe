"""Which tensors stay on chip, which go to external memory and come back in tiles, and how large these are.

Where all fit, all stay (but the input, where loading it beside the first layer is faster). Else every tensor lies outside at
first, and they are brought on chip one by one, first what saves most cycles for the memory and the time it takes, as long as the
whole program becomes faster. What a stage of a layer (`sw.passes.Stage`) then has left is for its tiles: those that fit and
take the least time, with one buffer or two for each tensor (`sw.cuts`). docs/decisions/008-spilling.md.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass, replace
from math import inf

from golden.spec.model import CONV, HEAD, INPUT
from sw.allocation import AllocationError, Interval, first_fit, roots
from sw.cuts import MOVE, Cut, Need, Work
from sw.layouts import Layouts, chunks
from sw.passes import Stage
from sw.tiles import RESIDUAL_SPACE, SPIKE_SPACE, Box, Buffer, Form

CLOSE = 0.95  #: of its cycles count where everything stays on chip: estimates are not better than that
WHAT = {SPIKE_SPACE: "spike banks, words", RESIDUAL_SPACE: "residual memory, beats"}


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
    cycles : float
        What it was chosen by: about how long a clip takes.
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
    cycles: float

    def buffer(self, stage: int, name: str, copies: range, box: Box, second: bool = False) -> Buffer:
        """Where a tensor lies while a stage runs: all of it, or a box of these copies, in the first buffer or in the second."""
        own, form = self.root.get(name, name), self.forms[name]
        if own in self.bases:
            return Buffer(form, self.bases[own], form.box, range(form.copies))
        cut = self.cuts[stage]
        return Buffer(form, (cut.second if second and own in cut.second else cut.bases)[own], box, copies)


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
        held = frozenset[str]().union(*(stage.held for stage in stages))
        alone = {x for x, (first, last) in self.life.items() if first == last and x not in {INPUT, *layouts.shapes}}
        inner = held | alone
        sparse = frozenset(x.spike_out for x in model.layers if x.levels == 1 or (x.op == CONV and x.depthwise))
        for passes in (x.passes for x in stages if x.slots.count):  # K and V that HAMMING reads where they are made
            made = {x.bases["spike_dst"] for x in passes if "spike_dst" in x.bases}
            self.fixed |= {x.bases[name] for x in passes for name in ("k_src", "v_src") if x.bases.get(name) in made}
        self.works = [Work(stage, forms, self.root, inner, sparse, config) for stage in stages]
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
        possible = []
        for some in (frozenset[str](), frozenset({INPUT})):
            with suppress(AllocationError):
                possible.append(self._place(some))
        if possible:
            return min(possible, key=lambda x: x.cycles * (1 if x.outside else CLOSE))
        outside = self._choose()
        order = sorted(set(self.outer) - outside, key=self._weight)
        while True:
            try:
                return self._place(outside)
            except AllocationError:
                if not order:
                    raise
                outside |= {order.pop()}  # what stays fits in sum, but not in any order of addresses

    def alone(self) -> float:
        """Cycles of all stages, one after the other, with nothing on chip but their tiles; infinite where these do not fit."""
        return sum(self._least(i, frozenset(self.outer)) for i in range(len(self.works)))

    def _weight(self, name: str) -> int:
        """Memory and time that a tensor takes."""
        first, last = self.life[name]
        return self.forms[name].resident * (last - first + 1)

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
            return sum(costs[i] - x for i, x in changed.items()) - (self._load() if name == INPUT else 0), changed

        for name in sorted(self.outer, key=lambda x: -gain(x)[0] / self._weight(x)):
            saved, changed = gain(name)
            if saved > 0:
                outside -= {name}
                for i, cost in changed.items():
                    costs[i] = cost
        return outside

    def _load(self) -> float:
        """Cycles in which all of the input is loaded."""
        form = self.forms[INPUT]
        return form.units * form.size / self.layouts.config.axi_bytes + MOVE

    def _free(self, i: int, outside: frozenset[str]) -> dict[int, int]:
        """Units that tensors which stay on chip leave to a stage."""
        free = dict(self.depth)
        for name, (first, last) in self.life.items():
            if first <= i <= last and name not in outside and name not in self.inner:
                free[self.forms[name].space] -= self.forms[name].resident
        return free

    def _least(self, i: int, outside: frozenset[str]) -> float:
        """Least cycles of a stage; infinite where nothing fits."""
        free = self._free(i, outside)
        mine = outside.intersection(self.works[i].names)
        key = (i, mine, free[SPIKE_SPACE], free[RESIDUAL_SPACE])
        if key not in self._known:
            self._known[key] = next(self._fitting(i, mine, free), None)
        found = self._known[key]
        return found.cycles if found else inf

    def _fitting(self, i: int, outside: frozenset[str], free: Mapping[int, int]) -> Iterator[Need]:
        """Cuts of a stage that take no more than what is free, the fastest one first."""
        if min(free.values()) < 0:
            return
        work, found = self.works[i], []
        whole = len(outside.intersection(work.names)) == 0
        for rows, columns in work.cuts():
            if not work.allowed(rows, columns, outside):
                continue
            found += [x for x in work.needs(rows, columns, outside) if self._fits(x, free)]
            if found and whole:
                break  # larger tiles come first, and there is nothing to move
        yield from sorted(found, key=lambda x: x.cycles)

    def _fits(self, need: Need, free: Mapping[int, int]) -> bool:
        taken = dict.fromkeys(free, 0)
        for name, units in need.units.items():
            taken[self.forms[name].space] += units * (1 + (name in need.twice))
        return all(taken[space] <= most for space, most in free.items())

    def _place(self, outside: frozenset[str]) -> Plan:
        """Addresses for everything, with these tensors outside."""
        bases: dict[str, int] = {}
        for space in (SPIKE_SPACE, RESIDUAL_SPACE):
            away = outside | (self.inner if outside else frozenset())
            stay = [Interval(x, *life, self.forms[x].resident) for x, life in self.life.items()
                    if self.forms[x].space == space and x not in away]
            bases |= first_fit(stay, self.depth[space], WHAT[space])
        needs = [self._cut(i, outside, bases) for i in range(len(self.stages))] if outside else []
        uncut = [Cut([range(h)], [range(w)]) for h, w in (stage.size for stage in self.stages)]
        cuts = [x.cut for x in needs] or uncut
        computing = sum(work.computing(x.rows, x.columns) for work, x in zip(self.works, uncut, strict=True))
        cycles = sum(x.cycles for x in needs) or computing
        sizes = [Interval(x, *self.life[x], -(-self.forms[x].units * self.forms[x].size // 64)) for x in outside if x != INPUT]
        homes = first_fit(sorted(sizes, key=lambda x: x.name), 1 << 40, "external memory") if sizes else {}
        ends = [homes[x.name] + x.size for x in sizes]
        return Plan(
            self.layouts, self.stages, self.forms, self.root, bases, outside, cuts, {x: 64 * at for x, at in homes.items()},
            64 * max(ends, default=0), cycles + (0 if INPUT in outside else self._load()),
        )

    def _cut(self, i: int, outside: frozenset[str], bases: Mapping[str, int]) -> Need:
        """The tiles of a stage, with addresses of its buffers between the tensors that stay."""
        mine = outside.intersection(self.works[i].names)
        for need in self._fitting(i, mine, self._free(i, outside)):
            found: dict[tuple[str, bool], int] = {}
            wanted = [(n, name, second) for name, n in need.units.items() for second in {False, name in need.twice}]
            for space, depth in self.depth.items():
                taken = [(bases[x], bases[x] + self.forms[x].resident) for x, (first, last) in self.life.items()
                         if x in bases and first <= i <= last and self.forms[x].space == space]
                for size, name, second in sorted(wanted, reverse=True):
                    if self.forms[name].space == space and (at := _gap(size, depth, taken)) is not None:
                        found[name, second] = at
                        taken.append((at, at + size))
            if len(found) == len(wanted):
                first, others = ({name: at for (name, two), at in found.items() if two == second} for second in (False, True))
                return replace(need, cut=replace(need.cut, bases=first, second=others))
        raise AllocationError(f"layer '{self.stages[i].layer.name}': no gap is large enough for its tiles")

    def _too_small(self, i: int) -> str:
        """Why not even one output place of a stage fits."""
        work, (height, width) = self.works[i], self.stages[i].size
        need = next(work.needs(chunks(height, 1), chunks(width, 1), frozenset(self.outer)))
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
