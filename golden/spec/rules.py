"""The rules of a graph: what no operation of the contract can do, whoever runs it (golden model, compiler, machine)."""

from __future__ import annotations

from collections.abc import Mapping

from golden.spec.model import ATTENTION, CONV, HEAD, JOINT, LEAK_MAX, MASK, OPS, RESETS, SCOPES, Layer, Model, Shape

LEVELS_MAX = 255  #: of a multi-level spike, which is a byte
THETA_MAX = (1 << 23) - 1  #: thresholds are compared with a membrane of 24 bits


def faults(model: Model) -> list[tuple[str, str]]:
    """Everything that breaks a rule, as (layer, what), in the order of layers; empty if the graph is sound.

    Raises
    ------
    ModelError
        As `Model.shapes`.
    """
    shapes, highs = model.shapes(), model.highs()
    return [
        (layer.name, text) for layer in model.layers
        for text in (*_inputs(layer, shapes, highs), *_fields(layer), *_outputs(layer, highs, layer is model.layers[-1]))
    ]


def _inputs(layer: Layer, shapes: Mapping[str, Shape], highs: Mapping[str, int]) -> list[str]:
    """What is wrong with the tensors that a layer accumulates."""
    if layer.op not in OPS:
        return [f"no operation '{layer.op}'; there are {', '.join(OPS)}"]
    if wrong := [x for x in layer.inputs if x not in highs]:
        return [f"input {', '.join(wrong)} is not a spike tensor"]
    t, h, w, c = shapes[layer.inputs[0]]
    every = [shapes[x] for x in layer.inputs]
    if layer.op in (CONV, HEAD):
        if any(x[:3] != (t, h, w) for x in every):
            return [f"inputs of shapes {every} cannot be concatenated along channels"]
        total = sum(x[3] for x in every)
        if total % layer.groups or layer.channels % layer.groups:
            return [f"{total} to {layer.channels} channels do not divide into {layer.groups} groups"]
        return []
    many = [f"'{x}' of 0..{highs[x]}" for x in layer.inputs if highs[x] > 1]
    reasons = [f"input {', '.join(many)} is not a tensor of single bits"] if many else []
    if layer.op == MASK:
        gates = ((t, h, w, c), (t, 1, 1, c), (t, h, w, layer.heads))
        if len(every) != 2 or every[1] not in gates or c != layer.channels or c % layer.heads:
            reasons.append(f"a, b of shapes {every} do not make {layer.channels} channels of {layer.heads} heads; b: {gates}")
    elif len(every) != 3 or len(set(every)) != 1 or c != layer.channels or c % layer.heads:
        reasons.append(f"q, k, v of shapes {every} do not make {layer.channels} channels of {layer.heads} heads")
    return reasons


def _fields(layer: Layer) -> list[str]:
    """What is wrong with the numbers of a layer, or set although its operation has no use for it."""
    reasons = []
    if layer.op != CONV and (layer.kernel, layer.stride, layer.padding) != (1, 1, 0):
        reasons.append(f"kernel {layer.kernel}, stride {layer.stride}, padding {layer.padding} of a layer that is no convolution")
    if layer.op != CONV and (layer.groups, layer.upsample) != (1, 1):
        reasons.append(f"groups {layer.groups}, upsample {layer.upsample} of a layer that is no convolution")
    if layer.scope not in (SCOPES if layer.op in ATTENTION else (JOINT,)):
        reasons.append(f"scope '{layer.scope}'; attention has {', '.join(SCOPES)}, all else none")
    if layer.op in (CONV, HEAD) and layer.heads != 1:
        reasons.append(f"{layer.heads} heads of a layer that is no attention")
    if layer.weight_bits not in (4, 8):
        reasons.append(f"weights of {layer.weight_bits} bits, not 4 or 8")
    return reasons


def _outputs(layer: Layer, highs: Mapping[str, int], last: bool) -> list[str]:
    """What is wrong with the residual tensors and the neurons of a layer."""
    reasons = []
    if layer.op == HEAD and not last:
        reasons.append("a head, but not the last layer")
    if layer.op == HEAD and (layer.residual or layer.u_out or layer.spike_out):
        reasons.append("a head makes logits and nothing else")
    if layer.op == MASK and (layer.residual or layer.u_out or not layer.spike_out):
        reasons.append("a mask makes spikes and nothing else")
    if layer.op != HEAD and not (layer.u_out or layer.spike_out):
        reasons.append("makes neither spikes nor residual values")
    if layer.residual in highs:
        reasons.append(f"residual '{layer.residual}' is not a residual tensor")
    if not layer.spike_out or layer.op == MASK:
        return reasons
    if layer.theta < 1:
        reasons.append(f"theta = {layer.theta} fires without input")
    if not 0 <= layer.leak <= LEAK_MAX:
        reasons.append(f"leak = {layer.leak} sixteenths is outside 0..{LEAK_MAX}")
    if layer.reset not in RESETS:
        reasons.append(f"no reset '{layer.reset}'; there are {', '.join(RESETS)}")
    if layer.levels > LEVELS_MAX:
        reasons.append(f"levels = {layer.levels} > {LEVELS_MAX}")
    if layer.levels == 1 and layer.spacing != layer.theta:
        reasons.append(f"step = {layer.step} of a neuron with one threshold, {layer.theta}")
    if (top := layer.theta + (layer.levels - 1) * layer.spacing) > THETA_MAX:
        reasons.append(f"thresholds up to {top} > {THETA_MAX}")
    return reasons
