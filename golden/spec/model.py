"""The quantised network as data: the graph of fused layers that golden model, compiler and driver share.

A model file is one safetensors file: its tensors are the integers, its metadata key ``model`` holds this graph as
JSON. One fused layer is what the machine computes in one pass: accumulate, affine, then any of residual add, LIF, raw
output. Tensors between layers are spikes ``[T, H, W, C]`` (uint8 of 0 or 1), or residual values ``[T, H, W, C]`` (int16).
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Mapping
from dataclasses import asdict, dataclass, field, fields
from typing import Any

CONV = "conv"  #: convolution (1x1 is a linear layer), grouped fully (depthwise) or not at all
SDHA = "sdha"  #: joint space-time Hamming attention on the spike tensors (q, k, v)
HEAD = "head"  #: linear classifier summed over all positions and time steps; its raw accumulators are the logits

INPUT = "input"  #: name of the network's input tensor


class ModelError(ValueError):
    """A model file or graph that is damaged or inconsistent."""


#: What a field's annotation asks of its JSON value.
_TYPES = {
    "str": lambda v: isinstance(v, str),
    "int": lambda v: isinstance(v, int) and not isinstance(v, bool),
    "bool": lambda v: isinstance(v, bool),
    "tuple[str, ...]": lambda v: isinstance(v, list) and bool(v) and all(isinstance(x, str) for x in v),
    "dict[str, str]": lambda v: isinstance(v, dict) and all(isinstance(x, str) for x in v.values()),
}


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
class Encoding:
    """How video becomes the input tensor; recorded with the weights so that host and training use the same.

    Frames are scaled to ``height`` x ``width``, made grey (``luma``), and cut in patches of ``patch`` x ``patch``
    pixels. Channel of the input tensor: ``(frame * patch + row) * patch + column`` where ``frame`` 0 is the current
    frame and 1 the previous one (``frames`` = 2; before the first frame comes the first frame again).
    """

    kind: str = "luma"
    height: int
    width: int
    timesteps: int
    frames: int
    patch: int

    @property
    def shape(self) -> tuple[int, int, int, int]:
        """Shape of the input tensor, [T, H, W, C], values 0..255."""
        return (self.timesteps, self.height // self.patch, self.width // self.patch, self.frames * self.patch**2)


@dataclass(frozen=True, kw_only=True)
class Layer:
    """One fused layer: ``y = (acc + bias) >> shift``, then residual, LIF, raw output.

    Parameters
    ----------
    name : str
        Unique name; weights are stored as ``{name}.weight`` [O, I, KH, KW] int8 (absent for ``sdha``; I = 1 for
        depthwise), ``{name}.bias`` [O] int32, ``{name}.shift`` [O] int8 (negative shifts left).
    op : str
        ``conv``, ``sdha`` or ``head``.
    inputs : tuple of str
        Spike tensors (or ``input``): one, or (q, k, v) for ``sdha``.
    channels : int
        Output channels O.
    kernel, stride, padding : int
        Of a ``conv``, the same in y and x; zero padding.
    depthwise : bool
        Channel c of the output sees channel c of the input only.
    heads : int
        Of an ``sdha``; head width d = O / heads.
    residual : str
        Residual tensor U that y is added to, saturating; empty for none.
    u_out : str
        Name under which the sum (or y, where there is no ``residual``) is kept as residual tensor; empty: not kept.
    spike_out : str
        Name of the spike tensor: LIF of the sum (or of y); empty: no neuron.
    theta : int
        Firing threshold of h = leak(v) + x, fires at h >= theta.
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
    depthwise: bool = False
    heads: int = 1
    residual: str = ""
    u_out: str = ""
    spike_out: str = ""
    theta: int = 0
    weight_bits: int = 4

    def out_size(self, size: int) -> int:
        """Output height (or width) for an input height (or width)."""
        return 1 if self.op == HEAD else (size + 2 * self.padding - self.kernel) // self.stride + 1


@dataclass(frozen=True, kw_only=True)
class Model:
    """A quantised network: encoding, classes, layers in order of execution (the last one is the head)."""

    name: str
    encoding: Encoding
    planes: int = 8  #: bit planes of the input tensor
    u_frac: int = 6  #: fraction bits of the residual grid
    u_bits: int = 16  #: residual values saturate to this width
    classes: tuple[str, ...]
    layers: tuple[Layer, ...]
    card: dict[str, str] = field(default_factory=dict)  #: data, command, seed, figures that made the weights

    def to_json(self) -> str:
        """The graph as JSON text (sorted keys), the inverse of `from_json`."""
        return json.dumps(asdict(self), sort_keys=True)

    @classmethod
    def from_json(cls, text: str) -> Model:
        """Read and check a graph.

        Raises
        ------
        ModelError
            If the text is no graph, a tensor is read before it is written, or a name is used twice.
        """
        try:
            data = json.loads(text)
            _typed(cls, data, {"planes": 1, "u_frac": 0, "u_bits": 2})
            _typed(Encoding, data["encoding"], dict.fromkeys(("height", "width", "timesteps", "frames", "patch"), 1))
            for layer in data["layers"]:
                _typed(Layer, layer, {"channels": 1, "kernel": 1, "stride": 1, "padding": 0, "heads": 1})
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

    def shapes(self) -> dict[str, tuple[int, int, int, int]]:
        """Shape [T, H, W, C] of every tensor by name; the head's logits are ``{name}`` of the last layer, [1, 1, 1, O].

        Raises
        ------
        ModelError
            As `from_json`.
        """
        known = {INPUT: self.encoding.shape}
        if not self.layers or self.layers[-1].op != HEAD:
            raise ModelError("the last layer is not a head")
        if self.layers[-1].channels != len(self.classes):
            raise ModelError(f"{len(self.classes)} classes but the head has {self.layers[-1].channels} outputs")
        names = [layer.name for layer in self.layers]
        if "" in names or len(set(names)) != len(names):
            raise ModelError("a layer has no name, or two have the same")
        for layer in self.layers:
            for name in (*layer.inputs, layer.residual):
                if name and name not in known:
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


def model_digest(graph_json: str, tensors: dict[str, bytes]) -> str:
    """128-bit digest of a model: its graph and the raw little-endian bytes of every tensor, by name."""
    h = hashlib.sha256(graph_json.encode())
    for name in sorted(tensors):
        h.update(name.encode() + b"\0" + tensors[name])
    return h.hexdigest()[:32]
