"""NIR graphs (https://neuroir.org) as chains of stages, synapse and neurons, that the integer contract can say exactly.

NIR defines neurons by differential equations. They are integrated as most frameworks that write NIR do, by forward Euler steps of
``dt`` (snnTorch and SpikingJelly export tau and r in this sense, with dt = 1e-4). A soft reset cannot be said in NIR:
frameworks write it as a hard one, and so it is read.

    LIF  v = v + dt/tau * (v_leak - v + r*I)      IF  v = v + dt*r*I      z = v > v_threshold, then v = v_reset where z

=============  ==================================================================================================
tau, dt        leak m/16 nearest to 1 - dt/tau, one for all neurons of a node; IF: 16/16
r              weights and biases are multiplied by dt/tau * r (IF: dt * r) before they are quantised
v_leak         a bias of dt/tau * v_leak (membranes begin at 0)
v_threshold    weights and biases are divided by it, for each channel; then theta = 2**grid + 1: fires at v > 1
v_reset        0: hard reset
=============  ==================================================================================================
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

import nir
import numpy as np
from numpy.typing import NDArray

from golden.integer.graph import whole_frame
from golden.spec.encoding import Encoding
from golden.spec.model import LEAK_MAX, ModelError

Floats = NDArray[np.float64]
Places = tuple[int, int, int]  #: C, H, W

NEURONS = (nir.LIF, nir.IF)
KNOWN = (nir.Input, nir.Output, nir.Conv2d, nir.Linear, nir.Affine, nir.SumPool2d, nir.AvgPool2d, nir.Flatten, *NEURONS)


@dataclass(frozen=True)
class Change:
    """What became of one parameter: ``error`` is the largest difference, in the unit of ``what``."""

    node: str
    what: str
    error: float

    def __str__(self) -> str:
        return f"{self.node}: {self.what}, error {self.error:.2g}"


@dataclass
class Synapse:
    """What neurons receive of the spikes before them, as one convolution: thresholds are 1."""

    weight: Floats  #: [O, C / groups, K, K]
    bias: Floats  #: [O]
    stride: int = 1
    padding: int = 0
    groups: int = 1
    pool: bool = False  #: sums of squares that do not overlap, to be merged with the synapse behind it


@dataclass
class Stage:
    """A synapse that reads ``places`` (H, W), and the neurons behind it; ``leak`` is -1 where there are none."""

    name: str
    synapse: Synapse
    places: tuple[int, int]
    leak: int = -1


@dataclass
class Plan:
    """The chain, read."""

    stages: list[Stage] = field(default_factory=list)
    changes: list[Change] = field(default_factory=list)


def read(path: str | Path) -> nir.NIRGraph:
    """The graph of a NIR file; `ModelError` if there is none."""
    try:
        return nir.read(path, type_check=False)
    except (OSError, RuntimeError, ValueError, LookupError, ArithmeticError, TypeError, AssertionError, AttributeError) as error:
        raise ModelError(f"cannot read NIR file '{path}': {error}") from error


def unsupported(graph: nir.NIRGraph, dt: float) -> list[str]:
    """Every node that has no exact counterpart, with its name, type and reason."""
    loose = {name for edge in graph.edges for name in edge} - set(graph.nodes)
    reasons = [f"an edge to or from '{name}', which is no node" for name in sorted(loose)]
    for name, node in graph.nodes.items():
        texts = list(_faults(node, dt))
        ins, outs = sum(b == name for _, b in graph.edges), sum(a == name for a, _ in graph.edges)
        if (ins, outs) != (not isinstance(node, nir.Input), not isinstance(node, nir.Output)):
            texts.append(f"{ins} edges in and {outs} out, but only chains from one input to one output can be imported")
        reasons += [f"node '{name}' ({type(node).__name__}): {text}" for text in texts]
    for kind in (nir.Input, nir.Output):
        if (count := sum(isinstance(x, kind) for x in graph.nodes.values())) != 1:
            reasons.append(f"{count} nodes of type {kind.__name__}, not 1")
    return reasons


def _faults(node: nir.NIRNode, dt: float) -> Iterator[str]:
    """What one node has that the contract cannot say."""
    if isinstance(node, nir.CubaLIF):
        yield "its synaptic current is a second state, a neuron of the contract has one"
    elif not isinstance(node, KNOWN):
        yield "no such operation"
    elif bad := [x for x in ("weight", "bias", "tau", "r", "v_leak", "v_threshold", "v_reset")
                 if not np.isfinite(np.asarray(getattr(node, x, 0), float)).all()]:
        yield f"{', '.join(bad)} not finite"
    elif np.ndim(getattr(node, "weight", 0)) not in (0, 4 if isinstance(node, nir.Conv2d) else 2):
        yield f"weight of shape {np.shape(node.weight)}"
    elif isinstance(node, NEURONS):
        if np.any(node.v_reset != 0):
            yield f"resets to {_range(node.v_reset)}, not to 0"
        if np.any(node.v_threshold <= 0):
            yield f"threshold {_range(node.v_threshold)} is not positive"
        if isinstance(node, nir.LIF):
            keep = 1 - dt / np.asarray(node.tau, float)
            if not np.all((keep >= 0) & (keep <= 1)):
                yield f"tau {_range(node.tau)} is shorter than a time step of {dt}"
            elif np.ptp(np.rint(keep * LEAK_MAX)):
                yield f"leaks {_range(keep)}, but all neurons of a node have one leak m/16"
    elif isinstance(node, nir.Conv2d | nir.SumPool2d | nir.AvgPool2d):
        conv = isinstance(node, nir.Conv2d)
        pairs = {"kernel": node.weight.shape[2:] if conv else node.kernel_size, "stride": node.stride}
        pairs |= {"dilation": node.dilation} if conv else {}
        padding = _padding(node)
        if isinstance(padding, tuple):
            pairs["padding"] = padding
        else:
            yield f"padding '{padding}' of this kernel and stride"
        for what, pair in pairs.items():
            if np.ptp(_pair(pair)) or min(_pair(pair)) < (what != "padding"):
                yield f"{what} {_pair(pair)}, not one positive number"
        if not conv and (any(_pair(padding)) or _pair(node.kernel_size) != _pair(node.stride)):
            yield "padded, or stride and kernel differ"


def _range(values: Any) -> str:
    low, high = np.min(values), np.max(values)
    return f"{low:.4g}" if low == high else f"{low:.4g}..{high:.4g}"


def _pair(value: Any) -> tuple[int, int]:
    """Height and width of a number or a pair."""
    y, x = np.broadcast_to(np.asarray(value, int), 2)
    return int(y), int(x)


def _padding(node: Any) -> tuple[int, int] | str:
    """Rows and columns of zeros, or the word for them where it means no symmetric padding."""
    word = node.padding.decode() if isinstance(node.padding, bytes) else node.padding
    if not isinstance(word, str):
        return _pair(word)
    reach = [d * (k - 1) for d, k in zip(_pair(node.dilation), node.weight.shape[2:], strict=True)]
    if word == "valid":
        return 0, 0
    return word if any(x % 2 for x in reach) or _pair(node.stride) != (1, 1) else (reach[0] // 2, reach[1] // 2)


def plan_of(graph: nir.NIRGraph, encoding: Encoding, dt: float) -> Plan:
    """Follow the chain; what is between neurons becomes one synapse.

    Raises
    ------
    ModelError
        If shapes or parameters of two nodes do not fit each other or the encoding.
    """
    plan = Plan()
    follow = dict(graph.edges)
    name = next(name for name, node in graph.nodes.items() if isinstance(node, nir.Input))
    _, height, width, channels = encoding.shape
    shape = (channels, height, width)
    given = tuple(int(x) for x in np.ravel(graph.nodes[name].input_type["input"]))
    if given != shape and (*given, 1, 1) != shape:
        raise ModelError(f"node '{name}' (Input): shape {given}, but the encoding makes {shape}")
    synapse: Synapse | None = None
    places = shape[1:]
    seen, last = {name}, name
    while (name := follow[name]) in follow:
        seen.add(name)
        last, node = name, graph.nodes[name]
        where = f"node '{name}' ({type(node).__name__})"
        if isinstance(node, nir.Flatten):
            continue  # a linear layer reads channels first, whatever the shape
        if isinstance(node, NEURONS):
            synapse, leak = _fire(node, where, synapse or _ones(shape[0], 1), dt, plan.changes)
            plan.stages.append(Stage(name, synapse, places, leak))
            synapse, places = None, shape[1:]
            continue
        if synapse and not synapse.pool:
            raise ModelError(f"{where}: no neurons between it and the synapse before it")
        synapse, shape = _append(node, where, synapse, shape)
    if synapse:
        plan.stages.append(Stage(last, synapse, places))
    if not plan.stages:
        raise ModelError("neither synapses nor neurons between input and output")
    if not synapse and places != (1, 1):
        raise ModelError(f"node '{last}': neurons at {shape[1]} x {shape[2]} places as output, but a class is one neuron")
    if lost := set(graph.nodes) - seen - {name}:
        raise ModelError(f"nodes that the input does not reach: {', '.join(sorted(lost))}")
    return plan


def _ones(channels: int, kernel: int) -> Synapse:
    """Sums of squares of ``kernel`` x ``kernel`` places."""
    return Synapse(np.ones((channels, 1, kernel, kernel)), np.zeros(channels), kernel, groups=channels, pool=True)


def _append(node: nir.NIRNode, where: str, pool: Synapse | None, shape: Places) -> tuple[Synapse, Places]:
    """The synapse of a node, merged with the pooling before it, and the shape (C, H, W) that it makes."""
    channels, height, width = shape
    before = pool or _ones(channels, 1)
    factor = before.stride
    if isinstance(node, nir.SumPool2d | nir.AvgPool2d):
        size = _pair(node.kernel_size)[0]
        if height % size or width % size:
            raise ModelError(f"{where}: {height} x {width} places do not divide into squares of {size}")
        made = _ones(channels, size)
        made.weight /= size**2 if isinstance(node, nir.AvgPool2d) else 1
    elif isinstance(node, nir.Conv2d):
        padding = _padding(node)
        dilation = _pair(node.dilation)[0]
        o, i, k, _ = node.weight.shape
        weight = np.zeros((o, i, dilation * (k - 1) + 1, dilation * (k - 1) + 1))
        weight[:, :, ::dilation, ::dilation] = node.weight
        if i * node.groups != channels:
            raise ModelError(f"{where}: weights for {i * node.groups} channels, there are {channels}")
        assert isinstance(padding, tuple)  # `unsupported` has refused the others
        made = Synapse(weight, np.ravel(node.bias).astype(float), _pair(node.stride)[0], padding[0], int(node.groups))
    else:
        o, n = node.weight.shape
        if n != channels * height * width:
            raise ModelError(f"{where}: weights for {n} values, there are {channels} x {height} x {width}")
        made = Synapse(np.asarray(node.weight, float).reshape(o, channels, height, width),
                       np.ravel(node.bias).astype(float) if isinstance(node, nir.Affine) else np.zeros(o))
    if len(made.bias) != len(made.weight):
        raise ModelError(f"{where}: {len(made.bias)} biases for {len(made.weight)} channels")
    # A convolution of pooled places is one with every tap repeated.
    squares = np.full((factor, factor), before.weight[0, 0, 0, 0])
    made.weight = np.kron(made.weight, squares)
    made.stride, made.padding = made.stride * factor, made.padding * factor
    if isinstance(node, nir.Linear | nir.Affine):
        frame = whole_frame(height * factor, width * factor)
        made.stride, made.padding = frame["stride"], frame["padding"]
        whole = np.zeros((o, channels, frame["kernel"], frame["kernel"]))
        whole[:, :, made.padding : made.padding + height * factor, made.padding : made.padding + width * factor] = made.weight
        made.weight = whole
        return made, (o, 1, 1)
    step, pad, kernel = made.stride // factor, made.padding // factor, made.weight.shape[2] // factor
    return made, (len(made.weight), *((x + 2 * pad - kernel) // step + 1 for x in (height, width)))  # type: ignore[return-value]


def _fire(node: Any, where: str, synapse: Synapse, dt: float, changes: list[Change]) -> tuple[Synapse, int]:
    """The synapse with the neurons' constants in its weights, and their leak."""
    channels = len(synapse.weight)

    def each(value: Any) -> Floats:
        """A parameter for each channel."""
        values = np.asarray(value, float)
        values = values.reshape(len(values), -1) if values.ndim else values.reshape(1, 1)
        if len(values) not in (1, channels) or np.ptp(values, axis=1).any():
            raise ModelError(f"{where}: parameters of shape {np.shape(value)} are not one for each of {channels} channels")
        return np.broadcast_to(values[:, 0], channels)

    threshold = each(node.v_threshold)
    if isinstance(node, nir.IF):
        leak, gain, rest = LEAK_MAX, dt * each(node.r), np.zeros(channels)
    else:
        rate = dt / each(node.tau)
        leak = int(np.rint((1 - rate[0]) * LEAK_MAX))
        gain, rest = rate * each(node.r), rate * each(node.v_leak)
        error = float(np.abs(1 - rate - leak / LEAK_MAX).max())
        changes.append(Change(where, f"leak {_range(1 - rate)} -> {leak}/{LEAK_MAX}", error))
    weight = synapse.weight * (gain / threshold)[:, None, None, None]
    return replace(synapse, weight=weight, bias=(synapse.bias * gain + rest) / threshold), leak
