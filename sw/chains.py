"""Layers that run tile by tile one behind the other, so that what one makes for the next never leaves the chip.

A tile of the last layer needs a window of what the layer before makes, and that one of the layer before it: a 1x1 convolution the
same places, a depthwise one some more around, which two tiles then both make. docs/decisions/008-spilling.md.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from math import inf

from golden.spec.model import CONV
from sw.layouts import Layouts
from sw.passes import Stage
from sw.spilling import Planner
from sw.tiles import OTHER, SAME, Form, Use, Window, uses


def chains(layouts: Layouts, stages: Sequence[Stage], forms: Mapping[str, Form]) -> list[Stage]:
    """The stages, joined where that is the fastest if all tensors between stages lie outside.

    Parameters
    ----------
    layouts : Layouts
        That the stages were made for.
    stages : list of Stage
        Of single layers, in order.
    forms : mapping
        How their tensors lie.
    """
    best: list[tuple[float, list[Stage]]] = [(0.0, [])]
    for end in range(len(stages)):
        found = (inf, [*best[-1][1], stages[end]])
        chain: Stage | None = stages[end]
        for first in range(end, -1, -1):
            if not chain:
                break
            cycles = best[first][0] + Planner(layouts, [chain], forms).alone()
            if cycles < found[0]:
                found = cycles, [*best[first][1], chain]
            chain = _joined(layouts, stages[first - 1], chain, forms) if first else None
        best.append(found)
    return best[-1][1]


def _all(use: Use, places: int, size: int) -> bool:
    """Whether output places need all rows (or columns) of ``size`` ones."""
    return use.step <= use.kernel and use.of(range(places), size) == range(size)


def _joined(layouts: Layouts, first: Stage, then: Stage, forms: Mapping[str, Form]) -> Stage | None:
    """A stage of one layer with those behind it, where all that it makes for others is a spike tensor for the next layer alone.

    At most one layer touches residual tensors, which are updated in place; so no place of it may be made twice.
    """
    if then.slots.count:
        return None
    before, after = first.layer, then.layers[0]
    name = before.spike_out
    readers = [x for x in layouts.model.layers if name in x.inputs]
    if not (name and before.op == after.op == CONV and readers == [after] and after.inputs == (name,)):
        return None
    windows = {Window(*uses(x, address, forms[name]), (forms[name].height, forms[name].width))
               for x in then.passes for address, read in {**x.bases, OTHER: x.other}.items() if read == name}
    written = {x.bases.get("spike_dst") for x in first.passes}
    if name not in written or layouts.source(after)[0] != name or len(windows) > 1:
        return None  # gathered first, or read in parts
    window = windows.pop()
    if not all(_all(*x) for x in zip(window[:2], layouts.out_shape(after)[1:3], window.size, strict=True)):
        return None  # a trace stores all places
    further = [window] if window[:2] != (SAME, SAME) else []
    ways = {**then.ways, before.name: (*then.ways.get(after.name, ()), *further)}
    if (before.residual or before.u_out) and (ways[before.name] or any(x.residual or x.u_out for x in then.layers)):
        return None
    return Stage((before, *then.layers), [*first.passes, *then.passes], then.size, then.held | {name}, ways)
