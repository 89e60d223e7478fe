"""A layer as passes of the machine, in stages that can be cut in tiles: fields and images, all but the addresses."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field, replace

from golden.spec.model import ATTENTION, CONV, HEAD, MASK, Layer, Shape
from sw import addition, attention, linear
from sw.allocation import Slots
from sw.bits import gather_passes, mask_passes
from sw.fields import Pass
from sw.layouts import Layouts, SpikeTensor, logit_beats, residual_beats
from sw.packing import Array
from sw.tiles import RESIDUAL_SPACE, SPIKE_SPACE, Box, Form, Window

NOWHERE = Slots()


@dataclass(frozen=True)
class Stage:
    """Passes of layers that go over the ``size`` output places of the last one: all of them at once, or tile by tile.

    What the passes of one layer make for each other alone, they make and read in the same places. Tensors in ``held`` are what
    one layer makes for the next one alone, and never leave the chip. ``ways`` lead from places of the last layer to those that
    another one, by name, has to make for them: through one window after the other. One that has ``slots`` for what HAMMING makes
    has all places at once, and its passes are in the order in which they run.
    """

    layers: tuple[Layer, ...]
    passes: list[Pass]
    size: tuple[int, int]
    held: frozenset[str] = frozenset()
    ways: Mapping[str, tuple[Window, ...]] = field(default_factory=dict)
    slots: Slots = NOWHERE

    @property
    def layer(self) -> Layer:
        """The last one."""
        return self.layers[-1]

    def rows(self, layer: str, some: range) -> range:
        """Rows that a layer makes while the last one makes these."""
        for window in self.ways.get(layer, ()):
            some = window.y.of(some, window.size[0])
        return some

    def columns(self, layer: str, some: range) -> range:
        """Columns that a layer makes while the last one makes these."""
        for window in self.ways.get(layer, ()):
            some = window.x.of(some, window.size[1])
        return some

    def tile(self, part: Pass, tile: Box) -> Box:
        """Places that the layer of a pass makes while the last one makes those of a tile."""
        return Box(self.rows(part.layer, tile.rows), self.columns(part.layer, tile.columns))

    def places(self, layer: str) -> tuple[int, int]:
        """Rows and columns of all places of a layer."""
        return self.ways[layer][-1].size if self.ways.get(layer) else self.size


def layer_stages(layouts: Layouts, layer: Layer, tensors: Mapping[str, Array]) -> list[Stage]:
    """Stages of any layer that the support check accepts: what it gathers first, if it does, and what it is."""
    size = layouts.out_shape(layer)[1:3]
    if layer.op == MASK:
        return [Stage((layer,), mask_passes(layouts, layer), size)]
    if layer.op in ATTENTION:
        return [Stage((layer,), attention.attention_passes(layouts, layer, tensors), size)]
    gathered = gather_passes(layouts, layer)
    before = [Stage((layer,), gathered, layouts.shapes[layer.inputs[0]][1:3])] if gathered else []
    return [*before, Stage((layer,), linear.linear_passes(layouts, layer, tensors), size)]


def own_spikes(layouts: Layouts, layer: Layer) -> dict[str, SpikeTensor]:
    """Spike tensors that live only while a layer runs."""
    found = {}
    if layer.op in (CONV, HEAD):
        name, tensor, _ = layouts.source(layer)
        found[name] = tensor
        if layer.residual and linear.in_parts(layouts, layer):
            found |= [addition.digits(layouts, layer)]
    elif layer.op == MASK:
        found |= [layouts.gate(layer)]
    return {name: tensor for name, tensor in found.items() if name not in layouts.shapes}


def own_residual(layouts: Layouts, layer: Layer) -> dict[str, Shape]:
    """Residual tensors that live only while a layer runs."""
    name = ""
    if layer.op in ATTENTION:
        name = attention.raw(layouts, layer)
    elif layer.op == CONV and linear.in_parts(layouts, layer):
        name = linear.sums(layer)
    return {} if name in ("", layer.u_out) else {name: layouts.out_shape(layer)}


def forms(layouts: Layouts, layer: Layer) -> dict[str, Form]:
    """How the tensors lie that a layer makes, those included that it needs only for itself."""
    found = {name: _spikes(layouts, x) for name, x in own_spikes(layouts, layer).items()}
    found |= {name: _residual(layouts, shape) for name, shape in own_residual(layouts, layer).items()}
    found |= {name: form(layouts, name) for name in (layer.spike_out, layer.u_out) if name}
    if layer.op == HEAD:
        one = _residual(layouts, (1, 1, 1, layer.channels))
        found[layer.name] = replace(one, unit=linear.head_parts(layouts) * logit_beats(layer.channels, layouts.config))
    return found


def form(layouts: Layouts, name: str) -> Form:
    """How a tensor of the model lies, the input or what a layer makes."""
    return _spikes(layouts, layouts.spikes(name)) if name in layouts.highs else _residual(layouts, layouts.shapes[name])


def _spikes(layouts: Layouts, x: SpikeTensor) -> Form:
    c = layouts.config
    run = x.x_stride if x.x_gap else x.step_words
    return Form(SPIKE_SPACE, x.shape[1], x.shape[2], x.copies, x.x_stride, c.cores * c.word // 8, run, x.window, c.taps)


def _residual(layouts: Layouts, shape: Shape) -> Form:
    t, h, w, c = shape
    return Form(RESIDUAL_SPACE, h, w, 1, residual_beats((t, 1, 1, c), layouts.config), layouts.config.u_beat_bits // 8)
