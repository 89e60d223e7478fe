"""Where things lie on chip: tensors by liveness, weights and parameters at alternating ends of their memories."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass

from golden.spec.config import Config
from golden.spec.model import Model


class AllocationError(ValueError):
    """Tensors that are live together do not fit; the message shows the numbers."""


@dataclass(frozen=True)
class Interval:
    """A buffer of ``size`` units that must not be overwritten from stage ``start`` to stage ``end``, both included."""

    name: str
    start: int
    end: int
    size: int

    def meets(self, other: Interval) -> bool:
        """Whether both are live at some time."""
        return self.start <= other.end and other.start <= self.end


def roots(model: Model) -> dict[str, str]:
    """The residual tensor whose memory another one takes over, by name: that which begins the stream, or itself.

    A residual tensor whose last reader adds to it is updated in place: every value is read just before its successor is written.
    """
    root: dict[str, str] = {}
    last_use = {name: i for i, layer in enumerate(model.layers) for name in (*layer.inputs, layer.residual)}
    for i, layer in enumerate(model.layers):
        if layer.u_out:
            inherits = layer.residual in root and last_use[layer.residual] == i
            root[layer.u_out] = root[layer.residual] if inherits else layer.u_out
    return root


def peak(intervals: Iterable[Interval]) -> int:
    """Most units that are live at one time: no allocation can do with less."""
    items = list(intervals)
    return max((sum(x.size for x in items if x.start <= i.start <= x.end) for i in items), default=0)


def first_fit(intervals: Iterable[Interval], depth: int, what: str) -> dict[str, int]:
    """Base address of every buffer: the lowest free one, tried in order of time and in order of size.

    Raises
    ------
    AllocationError
        If no order fits ``depth`` units; the message shows the best one and the largest buffer.
    """
    items = list(intervals)
    best = None
    for order in (sorted(items, key=lambda x: (x.start, -x.size)), sorted(items, key=lambda x: (-x.size, x.start))):
        bases: dict[str, int] = {}
        placed: list[Interval] = []
        for item in order:
            base = 0
            for other in sorted((x for x in placed if x.meets(item)), key=lambda x: bases[x.name]):
                if base + item.size <= bases[other.name]:
                    break
                base = max(base, bases[other.name] + other.size)
            bases[item.name] = base
            placed.append(item)
        needed = max((bases[x.name] + x.size for x in items), default=0)
        if needed <= depth:
            return bases
        best = needed if best is None else min(best, needed)
    largest = max(items, key=lambda x: x.size)
    raise AllocationError(
        f"{what}: {best} needed ({peak(items)} live at once, largest '{largest.name}' with {largest.size}), there are {depth}"
    )


@dataclass(frozen=True)
class Region:
    """Bank rows of the weight memory and beats of the parameter memory that one descriptor uses."""

    row: int = 0
    rows: int = 0
    beat: int = 0
    beats: int = 0


NOTHING = Region()


@dataclass(frozen=True)
class Slots:
    """``count`` places for what HAMMING makes, of so many rows and beats, at the ends of weight and parameter memory."""

    count: int = 0
    rows: int = 0
    beats: int = 0

    @property
    def whole(self) -> Region:
        """All of them together."""
        return Region(0, self.count * self.rows, 0, self.count * self.beats)

    def region(self, config: Config, slot: int) -> Region:
        """One of them."""
        row, beat = config.weight_rows - (slot + 1) * self.rows, config.param_beats - (slot + 1) * self.beats
        return Region(row, self.rows, beat, self.beats)


def _place(size: int, depth: int, align: int, used: int, used_size: int) -> tuple[int, bool]:
    """Base at the low or the high end of ``depth``, and whether it is disjoint from ``used``."""
    for base in (0, (depth - size) // align * align):
        if not overlap(base, size, used, used_size):
            return base, True
    return 0, False


def overlap(a: int, a_size: int, b: int, b_size: int) -> bool:
    """Whether two ranges, given by first unit and size, share a unit."""
    return bool(a_size and b_size) and a < b + b_size and b < a + a_size


def place(config: Config, rows: int, beats: int, before: Region, kept: Region = NOTHING) -> tuple[Region, bool, bool]:
    """Place ``rows`` bank rows and ``beats`` where, if possible, the descriptor before does not use them.

    What is ``kept`` for later ones are the last rows and beats of both memories.

    Returns
    -------
    The region, and whether its rows and its beats are disjoint from those in use: only then may they load early.
    """
    row, rows_apart = _place(rows, config.weight_rows - kept.rows, config.rows_per_word, before.row, before.rows)
    beat, beats_apart = _place(beats, config.param_beats - kept.beats, 1, before.beat, before.beats)
    return Region(row, rows, beat, beats), rows_apart, beats_apart
