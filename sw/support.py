"""What the machine can run: every reason against a model at once, with numbers, before anything is compiled."""

from __future__ import annotations

from collections.abc import Mapping

import numpy as np

from golden.spec.config import Config
from golden.spec.descriptor import FIELDS
from golden.spec.model import CONV, HARD, HEAD, INPUT, JOINT, MASK, SDHA, Layer, Model
from golden.spec.rules import faults
from sw import allocation, passes
from sw.packing import Array, round_up
from sw.passes import Shape

SHIFT_RANGE = (-8, 23)
GROUPS = FIELDS["first_group"].high + 1  #: lane groups of the largest tensor


class UnsupportedError(ValueError):
    """The machine cannot run this model; ``reasons`` lists everything that is in the way."""

    def __init__(self, model: str, config: str, reasons: list[str]) -> None:
        self.reasons = reasons
        super().__init__(f"'{config}' cannot run '{model}':\n" + "\n".join(f"  - {reason}" for reason in reasons))


def check(model: Model, tensors: Mapping[str, Array], config: Config) -> None:
    """Check the whole model against one configuration.

    Raises
    ------
    UnsupportedError
        With every reason found.
    """
    reasons = _check_model(model, config)
    shapes = model.shapes()
    broken = faults(model)
    for layer in model.layers:
        found = _check_layer(layer, shapes)
        if not found:
            found = _check_sizes(layer, shapes, config)
        found += [text for name, text in broken if name == layer.name]
        found += _check_tensors(layer, shapes, tensors, config)
        if not found:
            found = [*_check_bounds(layer, model, shapes, tensors, config), *_check_fields(layer, model, tensors, config)]
        reasons += [f"layer '{layer.name}': {text}" for text in found]
    expected = {f"{x.name}.{part}" for x in model.layers for part in x.parts}
    if surplus := sorted(set(tensors) - expected):
        reasons.append(f"tensors of no layer: {', '.join(surplus)}")
    for memory in (spike_memory, residual_memory) if model.classes else ():
        try:
            memory(model, config)
        except allocation.AllocationError as error:
            reasons.append(str(error))
    if reasons:
        raise UnsupportedError(model.name, config.name, reasons)


def spike_memory(model: Model, config: Config) -> dict[str, int]:
    """Bank address of every spike tensor and of the input.

    Raises
    ------
    AllocationError
        If they do not fit.
    """
    life, _ = allocation.lives(model)
    shapes = model.shapes()
    names = [INPUT, *(x.spike_out for x in model.layers if x.spike_out)]
    sizes = {name: passes.spike_tensor(model, shapes, name, config).bank_words for name in names}
    return allocation.first_fit(
        [allocation.Interval(name, *life[name], sizes[name]) for name in names], config.spike_words, "spike banks, words"
    )


def residual_memory(model: Model, config: Config) -> dict[str, int]:
    """Beat of every residual tensor and of the logits.

    Raises
    ------
    AllocationError
        If they do not fit.
    """
    life, buffer = allocation.lives(model)
    shapes = model.shapes()
    intervals = [
        allocation.Interval(root, life[root][0], max(life[name][1] for name in buffer if buffer[name] == root),
                            passes.residual_beats(shapes[root], config))
        for root in dict.fromkeys(buffer.values())
    ]
    head = model.layers[-1]
    intervals.append(allocation.Interval(head.name, *life[head.name], passes.logit_beats(head.channels, config)))
    bases = allocation.first_fit(intervals, config.u_beats, "residual memory, beats")
    return {**{name: bases[root] for name, root in buffer.items()}, head.name: bases[head.name]}


def _check_model(model: Model, config: Config) -> list[str]:
    t = model.encoding.timesteps
    reasons = []
    if t % config.cores:
        reasons.append(f"{t} time steps are not a multiple of {config.cores} cores")
    if model.u_bits != config.u_bits:
        reasons.append(f"residual values of {model.u_bits} bits, the machine has {config.u_bits}")
    if model.planes != 8:
        reasons.append(f"input of {model.planes} bit planes, but a pixel has 8")
    if model.encoding.kind != "luma" or model.encoding.frames not in (1, 2):
        reasons.append(f"no encoding '{model.encoding.kind}' of {model.encoding.frames} frames, only 'luma' of 1 or 2")
    if model.encoding.height % model.encoding.patch or model.encoding.width % model.encoding.patch:
        reasons.append(
            f"frames of {model.encoding.height} x {model.encoding.width} do not divide into patches of {model.encoding.patch}"
        )
    if not model.classes:
        reasons.append("a residual tensor as result, the machine gives logits only")
    return reasons


def _check_layer(layer: Layer, shapes: Mapping[str, Shape]) -> list[str]:
    """What the contract has and the machine has not."""
    reasons = []
    if layer.op not in (CONV, SDHA, HEAD):
        reasons.append(f"the machine has no operation '{layer.op}'")
    if layer.scope != JOINT:
        reasons.append(f"attention of scope '{layer.scope}', the machine has '{JOINT}' only")
    if layer.op in (CONV, HEAD) and len(layer.inputs) > 1:
        reasons.append(f"{len(layer.inputs)} inputs, the machine reads one tensor only")
    if layer.upsample > 1:
        reasons.append(f"upsampling by {layer.upsample}, the machine has none")
    if layer.groups > 1 and layer.weight_shape(shapes)[:2] != (layer.groups, 1):
        reasons.append(f"{layer.groups} groups to {layer.channels} channels, the machine has one group or depthwise")
    if layer.depthwise and layer.weight_bits != 4:
        reasons.append(f"weights of {layer.weight_bits} bits, the machine has 4 where depthwise")
    if layer.spike_out and layer.op != MASK and (layer.leak, layer.reset, layer.levels) != (8, HARD, 1):
        reasons.append(f"neurons of leak {layer.leak}/16, {layer.reset} reset, {layer.levels} levels; there are 8/16, {HARD}, 1")
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


def _check_sizes(layer: Layer, shapes: Mapping[str, Shape], config: Config) -> list[str]:
    """Head geometry and the memories of weights and parameters."""
    t, h, w, c = shapes[layer.inputs[0]]
    reasons = []
    groups = -(-layer.channels // config.lanes)
    if groups > GROUPS:
        reasons.append(f"{layer.channels} channels are {groups} groups of {config.lanes} lanes, at most {GROUPS} are possible")
    if layer.op != SDHA:
        if not passes.groups_per_pass(layer, c, config):
            rows = round_up(passes.group_rows(layer, c, config), config.issue)
            reasons.append(
                f"{config.lanes} output channels need {rows} weight rows and {config.beats} parameter beats, "
                f"there are {config.weight_rows * config.issue} and {config.param_beats}"
            )
        return reasons
    if layer.heads < 1 or layer.channels % layer.heads:
        return reasons
    head = layer.channels // layer.heads
    if head % config.lanes and config.lanes % head:
        reasons.append(f"heads of {head} channels are neither a multiple nor a divisor of {config.lanes} lanes")
    width = max(head, config.lanes)
    if width > config.head_max:
        reasons.append(f"heads of {width} channels, at most {config.head_max} are possible")
    if any(x % config.word + width > config.word and (x % config.word or width % config.word)
           for x in range(0, layer.channels, width)):
        reasons.append(f"heads of {width} channels straddle spike words of {config.word}")
    tokens = t * h * w
    if tokens >= 1 << config.count_bits:
        reasons.append(f"{tokens} tokens, the Hamming engine counts to {(1 << config.count_bits) - 1}")
    rows = width // config.lanes * passes.slices_for(-2 * tokens, 2 * tokens) * round_up(width, config.word)
    if rows > config.weight_rows * config.issue or width // config.neuron_lanes > config.param_beats:
        reasons.append(f"a head of {width} channels needs {rows} weight rows, there are {config.weight_rows * config.issue}")
    return reasons


def _check_bounds(
    layer: Layer, model: Model, shapes: Mapping[str, Shape], tensors: Mapping[str, Array], config: Config
) -> list[str]:
    """Prove that no input whatsoever overflows: sums of |w| times the largest input bound every value.

    Sums wrap modulo two's complement, so only final values matter. A membrane h = floor(v / 2) + x with v < theta
    lies between -2 max|x| and theta / 2 + max|x|.
    """
    t, h, w, _ = shapes[layer.inputs[0]]
    if layer.op == SDHA:
        head = layer.channels // layer.heads
        most = np.full(layer.channels, 3 * head * t * h * w, np.int64)  # |2M| <= 2N from d bits, |column sum of M| <= dN
    else:
        most = np.abs(tensors[f"{layer.name}.weight"].astype(np.int64)).reshape(layer.channels, -1).sum(axis=1)
        most *= (1 << model.planes) - 1 if layer.inputs[0] == INPUT else 1
        most *= t * h * w if layer.op == HEAD else 1
    total = most + np.abs(tensors[f"{layer.name}.bias"].astype(np.int64))
    shift = tensors[f"{layer.name}.shift"].astype(np.int64)
    y = int((((total >> np.maximum(shift, 0)) + 1) << np.maximum(-shift, 0)).max())
    x = 1 << config.u_bits - 1 if layer.residual or layer.u_out else y
    membrane = max(2 * x, x + layer.theta // 2) if layer.spike_out else 0
    limit = (1 << config.acc_bits - 1) - 1
    found = {"accumulator": int(most.max()), "accumulator and bias": int(total.max()), "y": y, "membrane": membrane,
             "threshold": layer.theta}
    return [f"{what} can reach {value} > {limit} of {config.acc_bits} bits" for what, value in found.items() if value > limit]


def _check_fields(layer: Layer, model: Model, tensors: Mapping[str, Array], config: Config) -> list[str]:
    """Every descriptor field without its address fits."""
    if model.encoding.timesteps % config.cores:
        return []
    reasons = []
    for part in passes.layer_passes(model, layer, tensors, config):
        for name, value in part.fields.items():
            field = FIELDS[name]
            if not field.low <= value <= field.high:
                reasons.append(f"descriptor field {name} = {value} is outside {field.low}..{field.high}")
    return list(dict.fromkeys(reasons))
