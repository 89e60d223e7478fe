"""The quantised network as data: the graph of fused layers that golden model, compiler and driver share.

A model file is one safetensors file: its tensors are the integers, its metadata key ``model`` holds this graph as
JSON (fields that have their default are left out). One fused layer is what the machine computes in one pass: accumulate,
affine, then any of residual add, neuron, raw output. Tensors between layers are spikes ``[T, H, W, C]`` (uint8 of 0 or 1, or of
0..levels), or residual values ``[T, H, W, C]`` (int16). docs/numerics.md says what every operation computes.
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Mapping
from dataclasses import MISSING, dataclass, field, fields, is_dataclass
from typing import Any

from golden.spec.encoding import Encoding

CONV = "conv"  #: convolution (1x1 is a linear layer), in any number of groups, of one or several spike tensors
SDHA = "sdha"  #: Hamming attention on the spike tensors (q, k, v)
SSA = "ssa"  #: dot product attention without softmax, Q(KᵀV), on the spike tensors (q, k, v)
MASK = "mask"  #: a AND b of two spike tensors; no weights, no neuron
HEAD = "head"  #: linear classifier summed over all positions and time steps; its raw accumulators are the logits
OPS = (CONV, SDHA, SSA, MASK, HEAD)
ATTENTION = (SDHA, SSA)

JOINT = "joint"  #: attention over all tokens of time and space
FRAME = "frame"  #: attention among the tokens of one time step
POSITION = "position"  #: attention among the tokens of one place, over time
SCOPES = (JOINT, FRAME, POSITION)

HARD = "hard"  #: v = 0 after a spike
SOFT = "soft"  #: v = h - s*step after s spikes
RESETS = (HARD, SOFT)
LEAK_MAX = 16  #: sixteenths of the membrane that are kept; 16 is no leak

INPUT = "input"  #: name of the network's input tensor

Shape = tuple[int, int, int, int]  #: [T, H, W, C]


class ModelError(ValueError):
    """A model file or graph that is damaged or inconsistent."""


#: What a field's annotation asks of its JSON value.
_TYPES = {
    "str": lambda v: isinstance(v, str),
    "int": lambda v: isinstance(v, int) and not isinstance(v, bool),
    "bool": lambda v: isinstance(v, bool),
    "tuple[str, ...]": lambda v: isinstance(v, list) and all(isinstance(x, str) for x in v),
    "dict[str, str]": lambda v: isinstance(v, dict) and all(isinstance(x, str) for x in v.values()),
}

#: Smallest number that makes sense in a layer, whatever the operation.
_LEAST = {"channels": 1, "kernel": 1, "stride": 1, "padding": 0, "groups": 1, "upsample": 1, "heads": 1, "levels": 1, "step": 0}


def _typed(cls: type, values: Mapping[str, Any], least: Mapping[str, int]) -> None:
    """Check the JSON values of a dataclass: types, and for numbers the smallest that makes sense."""
    for f in fields(cls):
        if f.name not in values or f.type not in _TYPES:
            continue
        value = values[f.name]
        if not _TYPES[str(f.type)](value):
            raise ModelError(f"{cls.__name__} field '{f.name}' is {value!r}, not {f.type}")
        if f.name in least and value < least[f.name]:
            raise ModelError(f"{cls.__name__} field '{f.name}' is {value}, at least {least[f.name]} is needed")


@dataclass(frozen=True, kw_only=True)
class Layer:
    """One fused layer: ``y = (acc + bias) >> shift``, then residual, neuron, raw output. A ``mask`` is only its AND.

    Parameters
    ----------
    name : str
        Unique name; weights are stored as ``{name}.weight`` [O, C / groups, KH, KW] int8 (``conv`` and ``head``),
        ``{name}.bias`` [O] int32, ``{name}.shift`` [O] int8 (negative shifts left; all but ``mask``).
    op : str
        One of `OPS`.
    inputs : tuple of str
        Spike tensors (or ``input``). ``conv`` and ``head``: any number, concatenated along channels in this order. ``sdha`` and
        ``ssa``: (q, k, v). ``mask``: (a, b); b has a's shape, or is [T, 1, 1, C] and gates all places alike, or is
        [T, H, W, heads] and each of its bits gates the C / heads channels of a head.
    channels : int
        Output channels O.
    kernel, stride, padding : int
        Of a ``conv``, the same in y and x; zero padding.
    groups : int
        Of a ``conv``: output channels of group g see the input channels of group g only.
    upsample : int
        Of a ``conv``: each input value is repeated this often in y and x before the convolution (nearest neighbour).
    scope : str
        Of attention, one of `SCOPES`: which tokens see each other.
    heads : int
        Of attention, head width d = O / heads; of a ``mask``, see ``inputs``.
    residual : str
        Residual tensor U that y is added to, saturating; empty for none.
    u_out : str
        Name under which the sum (or y, where there is no ``residual``) is kept as residual tensor; empty: not kept.
    spike_out : str
        Name of the spike tensor that the neurons make of the sum (or of y), or of a mask; empty: no neuron.
    theta : int
        Threshold: fires at h >= theta, where h = leak(v) + x.
    leak : int
        m of leak(v) = (v*m) >> 4, 0..16: 8 halves (tau = 2), 0 forgets, 16 keeps everything (integrate and fire).
    reset : str
        One of `RESETS`.
    levels : int
        Largest spike value D: the spike is the number of k in 0..D-1 with h >= theta + k*step.
    step : int
        Distance of thresholds, and what a ``soft`` reset takes from h for each level; 0 means theta.
    weight_bits : int
        4 or 8.
    """

    name: str
    op: str
    inputs: tuple[str, ...]
    channels: int
    kernel: int = 1
    stride: int = 1
    padding: int = 0
    groups: int = 1
    upsample: int = 1
    scope: str = JOINT
    heads: int = 1
    residual: str = ""
    u_out: str = ""
    spike_out: str = ""
    theta: int = 0
    leak: int = 8
    reset: str = HARD
    levels: int = 1
    step: int = 0
    weight_bits: int = 4

    @property
    def depthwise(self) -> bool:
        """As many groups as output channels, more than one."""
        return self.groups == self.channels > 1

    @property
    def spacing(self) -> int:
        """Distance of thresholds: ``step``, or theta where it is 0."""
        return self.step or self.theta

    @property
    def parts(self) -> tuple[str, ...]:
        """Stored tensors of the layer: ``{name}.{part}``."""
        if self.op == MASK:
            return ()
        return ("bias", "shift") if self.op in ATTENTION else ("weight", "bias", "shift")

    def weight_shape(self, shapes: Mapping[str, tuple[int, ...]]) -> tuple[int, int, int, int]:
        """Shape [O, C / groups, KH, KW] of the weight of a ``conv`` or ``head``, from the shapes of all tensors."""
        return (self.channels, sum(shapes[x][3] for x in self.inputs) // self.groups, self.kernel, self.kernel)

    def out_size(self, size: int) -> int:
        """Output height (or width) for an input height (or width)."""
        return 1 if self.op == HEAD else (size * self.upsample + 2 * self.padding - self.kernel) // self.stride + 1


@dataclass(frozen=True, kw_only=True)
class Model:
    """A quantised network: encoding, classes, layers in order of execution.

    With ``classes`` the last layer is the head. Without, it is any layer with ``u_out``, and the result is that residual
    tensor (dense prediction).
    """

    name: str
    encoding: Encoding
    u_frac: int = 6  #: fraction bits of the residual grid
    u_bits: int = 16  #: residual values saturate to this width
    classes: tuple[str, ...]
    layers: tuple[Layer, ...]
    card: dict[str, str] = field(default_factory=dict)  #: data, command, seed, figures that made the weights

    @property
    def planes(self) -> int:
        """Bit planes of the input tensor."""
        return self.encoding.planes

    @property
    def result(self) -> str:
        """Name of the tensor that the network is run for: the logits, or the last residual tensor."""
        last = self.layers[-1]
        return last.name if last.op == HEAD else last.u_out

    def to_json(self) -> str:
        """The graph as JSON text (sorted keys, no fields that have their default), the inverse of `from_json`."""
        return json.dumps(_plain(self), sort_keys=True)

    @classmethod
    def from_json(cls, text: str) -> Model:
        """Read and check a graph.

        Raises
        ------
        ModelError
            If the text is no graph, a tensor is read before it is written, a name is used twice, or a shape is impossible.
        """
        try:
            data = json.loads(text)
            _typed(cls, data, {"u_frac": 0, "u_bits": 2})
            for layer in data["layers"]:
                if "depthwise" in layer:
                    raise ModelError(f"layer '{layer.get('name')}' has the field 'depthwise' of an older format; make the file "
                                     "again, or replace it by 'groups': as many as channels where it is true, else 1")
                _typed(Layer, layer, {})
            model = cls(**{
                **data,
                "encoding": Encoding(**data["encoding"]),
                "classes": tuple(data["classes"]),
                "layers": tuple(Layer(**{**x, "inputs": tuple(x["inputs"])}) for x in data["layers"]),
            })
        except ModelError:
            raise
        except (ValueError, TypeError, KeyError, AttributeError) as error:
            raise ModelError(f"not a model graph: {error}") from error
        model.shapes()
        return model

    def shapes(self) -> dict[str, Shape]:
        """Shape [T, H, W, C] of every tensor by name; the head's logits are ``{name}`` of the last layer, [1, 1, 1, O].

        Raises
        ------
        ModelError
            As `from_json`.
        """
        known = {INPUT: self.encoding.shape}
        last = self.layers[-1] if self.layers else None
        if last is None or not (last.op == HEAD or last.u_out):
            raise ModelError("the last layer is neither a head nor makes a residual tensor")
        outputs = last.channels if last.op == HEAD else 0
        if outputs != len(self.classes):
            raise ModelError(f"{len(self.classes)} classes but the head has {outputs} outputs")
        names = [layer.name for layer in self.layers]
        if "" in names or len(set(names)) != len(names):
            raise ModelError("a layer has no name, or two have the same")
        for layer in self.layers:
            if small := [f"{x} = {getattr(layer, x)}" for x, low in _LEAST.items() if getattr(layer, x) < low]:
                raise ModelError(f"layer '{layer.name}' has {', '.join(small)}")
            if not layer.inputs:
                raise ModelError(f"layer '{layer.name}' reads nothing")
            for name in (*layer.inputs, *([layer.residual] if layer.residual else [])):
                if name not in known:
                    raise ModelError(f"layer '{layer.name}' reads '{name}', which no layer before it writes")
            t, h, w, _ = known[layer.inputs[0]]
            shape = (1 if layer.op == HEAD else t, layer.out_size(h), layer.out_size(w), layer.channels)
            if min(shape) < 1:
                raise ModelError(f"layer '{layer.name}' has no output: shape {shape}")
            for name in (layer.u_out, layer.spike_out, layer.name if layer.op == HEAD else ""):
                if name in known:
                    raise ModelError(f"layer '{layer.name}' writes '{name}', which exists already")
                if name:
                    known[name] = shape
            if layer.residual and known[layer.residual] != shape:
                raise ModelError(f"layer '{layer.name}': residual '{layer.residual}' is {known[layer.residual]}, not {shape}")
        return known

    def highs(self) -> dict[str, int]:
        """Largest value of the input and of every spike tensor by name; a tensor that is missing here holds no spikes."""
        made = {x.spike_out: 1 if x.op == MASK else x.levels for x in self.layers if x.spike_out}
        return {INPUT: (1 << self.planes) - 1, **made}


def _plain(value: Any) -> Any:
    """Dataclasses as dictionaries without the fields that have their default, so that a new field changes no old graph."""
    if isinstance(value, tuple):
        return [_plain(x) for x in value]
    if not is_dataclass(value):
        return value
    defaults = {f.name: f.default if f.default_factory is MISSING else f.default_factory() for f in fields(value)}
    return {name: _plain(getattr(value, name)) for name, default in defaults.items() if getattr(value, name) != default}


def model_digest(graph_json: str, tensors: dict[str, bytes]) -> str:
    """128-bit digest of a model: its graph and the raw little-endian bytes of every tensor, by name."""
    h = hashlib.sha256(graph_json.encode())
    for name in sorted(tensors):
        h.update(name.encode() + b"\0" + tensors[name])
    return h.hexdigest()[:32]
