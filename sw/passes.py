"""A layer as passes of the machine: descriptor fields, weight and parameter images, all but the addresses."""

from __future__ import annotations

from collections.abc import Mapping

from golden.spec.config import Config
from golden.spec.model import ATTENTION, CONV, HEAD, MASK, Layer, Model, Shape
from sw import addition, attention, linear
from sw.bits import mask_passes
from sw.fields import Pass
from sw.layouts import Layouts, SpikeTensor
from sw.packing import Array


def layer_passes(model: Model, layer: Layer, tensors: Mapping[str, Array], config: Config) -> list[Pass]:
    """Passes of any layer that the support check accepts."""
    layouts = Layouts(model, config)
    if layer.op == MASK:
        return mask_passes(layouts, layer)
    return (attention.attention_passes if layer.op in ATTENTION else linear.linear_passes)(layouts, layer, tensors)


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
