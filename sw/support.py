"""What the machine can run: every reason against a model at once, with numbers, before anything is compiled."""

from __future__ import annotations

from collections.abc import Mapping

import numpy as np

from golden.spec.config import Config
from golden.spec.descriptor import FIELDS, LIMITS, limits
from golden.spec.model import CONV, HEAD, MASK, SOFT, Layer, Model, Shape
from golden.spec.rules import faults
from sw import attention, bounds
from sw.allocation import AllocationError
from sw.layouts import Layouts
from sw.packing import Array, round_up
from sw.passes import form, forms, layer_stages
from sw.planning import plan_layers
from sw.spilling import Plan
from sw.tiles import Box, Buffer, placed

SHIFT_RANGE = (-8, 23)
GROUPS = FIELDS["first_group"].high + 1  #: lane groups of the largest tensor


class UnsupportedError(ValueError):
    """The machine cannot run this model; ``reasons`` lists everything that is in the way."""

    def __init__(self, model: str, config: str, reasons: list[str]) -> None:
        self.reasons = reasons
        super().__init__(f"'{config}' cannot run '{model}':\n" + "\n".join(f"  - {reason}" for reason in reasons))


def check(model: Model, tensors: Mapping[str, Array], config: Config) -> Plan:
    """Check the whole model against one configuration, and plan where everything lies.

    Raises
    ------
    UnsupportedError
        With every reason found.
    """
    reasons = _check_model(model, config)
    layouts = Layouts(model, config)
    broken = faults(model)
    fit = []
    for layer in model.layers:
        found = [text for name, text in broken if name == layer.name]
        if not found:
            found = [*_check_neuron(layer, config), *_check_sizes(layouts, layer)]
        wrong = _check_tensors(layer, layouts.shapes, tensors, config)
        if not found and not wrong:
            if layer.op != MASK:
                found = bounds.overflows(layouts, layer, tensors)
            found += _check_fields(layouts, layer, tensors)
        if not found and not wrong:
            fit.append(layer)
        reasons += [f"layer '{layer.name}': {text}" for text in found + wrong]
    expected = {f"{x.name}.{part}" for x in model.layers for part in x.parts}
    if surplus := sorted(set(tensors) - expected):
        reasons.append(f"tensors of no layer: {', '.join(surplus)}")
    try:
        plan = plan_layers(layouts, fit, tensors)
    except AllocationError as error:
        reasons.append(str(error))
    if reasons:
        raise UnsupportedError(model.name, config.name, reasons)
    return plan


def _check_model(model: Model, config: Config) -> list[str]:
    if model.u_bits != config.u_bits:
        return [f"residual values of {model.u_bits} bits, the machine has {config.u_bits}"]
    return []


def _check_neuron(layer: Layer, config: Config) -> list[str]:
    """Neurons of the contract that a configuration has not."""
    if not layer.spike_out or layer.op == MASK:
        return []
    reasons = []
    if layer.levels > config.levels_max:
        reasons.append(f"spikes of {layer.levels} levels, at most {config.levels_max} are possible")
    if layer.leak % 8 and not config.any_neuron:
        reasons.append(f"membranes that keep {layer.leak} sixteenths, only 0, 8 and 16 are possible")
    if layer.levels > 1 and layer.reset == SOFT and not config.any_neuron:
        reasons.append(f"a soft reset of {layer.levels} levels, only a hard one is possible")
    if layer.levels > 1 and layer.spacing & (layer.spacing - 1):
        reasons.append(f"{layer.levels} levels with thresholds {layer.spacing} apart, which is no power of two")
    return reasons


def _check_tensors(layer: Layer, shapes: Mapping[str, Shape], tensors: Mapping[str, Array], config: Config) -> list[str]:
    """Types, shapes and ranges of weights, biases and shifts."""
    bias = 1 << config.acc_bits - 1
    weight = 1 << layer.weight_bits - 1
    wanted: dict[str, tuple[type, tuple[int, ...], int, int]] = {
        "bias": (np.int32, (layer.channels,), -bias, bias - 1), "shift": (np.int8, (layer.channels,), *SHIFT_RANGE),
        "weight": (np.int8, layer.weight_shape(shapes), -weight, weight - 1),
    }
    reasons = []
    for part in layer.parts:
        dtype, shape, low, high = wanted[part]
        value = tensors.get(f"{layer.name}.{part}")
        if value is None:
            reasons.append(f"no tensor '{layer.name}.{part}'")
        elif value.dtype != dtype or value.shape != shape:
            reasons.append(f"{part} is {value.dtype} {list(value.shape)}, not {np.dtype(dtype)} {list(shape)}")
        elif value.min() < low or value.max() > high:
            reasons.append(f"{part} goes from {value.min()} to {value.max()}, outside {low}..{high}")
    if reasons or layer.op != HEAD:
        return reasons
    if tensors[f"{layer.name}.shift"].any():
        reasons.append("the logits are raw accumulators, but a shift is not 0")
    return reasons


def _check_sizes(layouts: Layouts, layer: Layer) -> list[str]:
    """Lane groups, weights in parts, and the geometry of heads."""
    c = layouts.config
    groups = -(-layer.channels // c.lanes)
    if groups > GROUPS:
        return [f"{layer.channels} channels are {groups} groups of {c.lanes} lanes, at most {GROUPS} are possible"]
    if layer.op in (CONV, HEAD):
        beats = f"{c.lanes} output channels need {c.beats} parameter beats, there are {c.param_beats}"
        return [beats] if c.beats > c.param_beats else []
    if layer.op == MASK:
        return []
    reasons = []
    head, width = layer.channels // layer.heads, attention.bundle(layouts, layer)
    if head % c.lanes and c.lanes % head:
        reasons.append(f"heads of {head} channels are neither a multiple nor a divisor of {c.lanes} lanes")
    if width > c.head_max:
        reasons.append(f"heads of {width} channels, at most {c.head_max} are possible")
    if any(x % c.word + width > c.word and (x % c.word or width % c.word) for x in range(0, layer.channels, width)):
        reasons.append(f"heads of {width} channels straddle spike words of {c.word}")
    tokens = attention.tokens(layouts, layer)
    if tokens >= 1 << c.count_bits:
        reasons.append(f"{tokens} tokens, the Hamming engine counts to {(1 << c.count_bits) - 1}")
    rows = width // c.lanes * attention.slices(layouts, layer) * round_up(width, c.word)
    if rows > c.weight_rows * c.issue or width // c.neuron_lanes > c.param_beats:
        reasons.append(f"a head of {width} channels needs {rows} weight rows, there are {c.weight_rows * c.issue}")
    return reasons


def _check_fields(layouts: Layouts, layer: Layer, tensors: Mapping[str, Array]) -> list[str]:
    """Every descriptor field without its address fits, and the weights of every pass."""
    config = layouts.config
    reasons = []
    own = forms(layouts, layer)
    for stage in layer_stages(layouts, layer, tensors):
        tile = Box(*(range(n) for n in stage.size))
        for part in stage.passes:
            if part.rows > config.weight_rows:
                reasons.append(f"weights of {part.rows} rows in each bank, there are {config.weight_rows}")
            known = {name: own.get(name) or form(layouts, name) for name in part.names}
            whole = {name: Buffer(x, 0, x.box, range(x.copies)) for name, x in known.items()}
            for name, value in placed(part, tile, whole).items():
                field = FIELDS[name]
                low, high = limits(config)[part.opcode].get(name, (field.low, field.high))
                if name in part.bases or low <= value <= high:
                    continue
                wider = LIMITS[part.opcode].get(name, (field.low, field.high))[1]
                way_out = f"; a machine that is not lean, such as micro, takes up to {wider}" if wider > high else ""
                reasons.append(f"descriptor field {name} = {value} is outside {low}..{high}{way_out}")
    return list(dict.fromkeys(reasons))
