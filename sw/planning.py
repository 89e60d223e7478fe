"""From layers to a plan: the layouts that fit, or that are the fastest with external memory."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from contextlib import suppress
from dataclasses import replace
from itertools import product

from golden.spec.model import CONV, HEAD, INPUT, Layer
from sw.allocation import AllocationError
from sw.chains import chains
from sw.layouts import Layouts
from sw.overlap import overlapped
from sw.packing import Array
from sw.passes import Stage, form, forms, layer_stages
from sw.spilling import Plan, Planner


def plan_layers(layouts: Layouts, layers: Sequence[Layer], tensors: Mapping[str, Array]) -> Plan:
    """The plan of a program of all or some layers of a model.

    Parameters
    ----------
    layouts : Layouts
        Of the whole model, as they are while everything is on chip.
    layers : list of Layer
        Those that the support check accepts.
    tensors : mapping
        Weights, biases and shifts of them.

    Raises
    ------
    AllocationError
        If one output place of a layer is too much, whatever lies outside.
    """
    error = None
    for rows in _head_rows(layouts):
        plans = []
        gaps = dict.fromkeys((layouts.has_gaps, False))  # what does not fit with them may do so without
        for gap, pieces in product(gaps, dict.fromkeys((frozenset[str](), _pieces(layouts, layers)))):
            try:
                plans += _plans(replace(layouts, pieces=pieces, head_rows=rows, gaps=gap), layers, tensors)
            except AllocationError as found:
                error = found
            else:
                if not plans[-1].outside:
                    break
        if plans:
            return min(plans, key=lambda x: x.cycles)
    assert error
    raise error


def _head_rows(layouts: Layouts) -> Iterator[int]:
    """Rows of its input that a head reads at a time: all, or as many as may fit."""
    yield 0
    head = layouts.model.layers[-1]
    rows = layouts.shapes[head.inputs[0]][1] if head.op == HEAD else 1
    while rows > 1:
        rows = -(-rows // 2)
        yield rows


def _pieces(layouts: Layouts, layers: Sequence[Layer]) -> frozenset[str]:
    """Spike tensors of several words that are read channel by channel only, that no two of would fit on chip, and that are made
    by a convolution of one group and without residual values.
    """
    found = set()
    for layer in layers:
        name = layer.spike_out
        readers = [x for x in layouts.model.layers if name in x.inputs]
        alone = layer.op == CONV and layer.groups == 1 and not (layer.residual or layer.u_out)
        if name and alone and readers and all(x.op == CONV and x in layers and layouts.in_lanes(x) for x in readers):
            tensor = layouts.spikes(name)
            if tensor.words > 1 and 2 * tensor.bank_words > layouts.config.spike_words:
                found.add(name)
    return frozenset(found)


def _plans(layouts: Layouts, layers: Sequence[Layer], tensors: Mapping[str, Array]) -> list[Plan]:
    """Plans with HAMMING beside LINEAR, if that fits, and with a stage for each layer; where tensors have to lie outside also
    such with chains of layers.

    Raises
    ------
    AllocationError
        If nothing fits.
    """
    stages: list[Stage] = []
    named = [INPUT, *(name for x in layouts.model.layers for name in (x.spike_out, x.u_out) if name)]
    known = {name: form(layouts, name) for name in named}
    for layer in layers:
        stages += layer_stages(layouts, layer, tensors)
        known |= forms(layouts, layer)
    plans: list[Plan] = []
    beside = overlapped(stages, layouts.config)
    for some in [beside, stages] if beside != stages else [stages]:
        try:
            plans.append(Planner(layouts, some, known).plan())
        except AllocationError:
            if some is stages and not plans:
                raise
            continue
        if not plans[-1].outside:
            break
        with suppress(AllocationError):
            plans.append(Planner(layouts, chains(layouts, some, known), known).plan())
    return plans
