"""Spiking attention, one family: products of binary Q, K, V at a cost linear in the number of tokens, and branches around them.

Per head, on the tokens of one scope (rows of Q, K, V; the sums run over tokens):

    sdha     (2Q - 1) M, M = (2K - 1)ᵀ V            Hamming attention; scaled, then neurons
    ssa      Q (KᵀV)                                dot product; scaled, then neurons
    sdsa1    Q and g, g = LIF(colsum(K and V))      a gate a channel
    qk       K and a, a = LIF(rowsum(Q))            a gate a token and head

Scopes: ``joint`` all tokens of time and space, ``frame`` those of one time step, ``position`` those of one place. Designs compose
them: joint; spatial (frame); factorised (frame, then position, one projection); hierarchical (a branch each).
"""

from __future__ import annotations

import math
from collections import OrderedDict
from collections.abc import Callable
from dataclasses import dataclass

import numpy as np
import torch
from torch import Tensor, nn
from torch.utils._python_dispatch import TorchDispatchMode

from golden.integer.graph import whole_frame
from golden.models.graph import Node, Recorder
from golden.models.parts import Parts
from golden.models.synapses import Quantisation, SharedNorm, floored, linear, on_grid
from golden.spec.model import CONV, FRAME, JOINT, MASK, POSITION, SDHA, SSA, Layer

SDSA1, QK = "sdsa1", "qk"
DESIGNS = {
    "joint": {"mix": JOINT}, "spatial": {"mix": FRAME},
    "factorised": {"space": FRAME, "time": POSITION}, "hierarchical": {"space": FRAME, "time": POSITION},
}
GATE_THRESHOLD = 0.5  #: of the neurons that make gates. Source: Spike-driven Transformer, QKFormer
SCALES = ("centred", "norm", "eighth")
LEAST_GAIN = 2.0**-18  #: of attention products, where they are powers of two


@dataclass(frozen=True, kw_only=True)
class AttentionConfig:
    """Attention of a network."""

    kind: str = SDHA  #: or ``ssa``, ``sdsa1``, ``qk``
    design: str = "joint"  #: of sdha and ssa: joint, spatial, factorised or hierarchical; the others are spatial
    rep: bool = False  #: projections are trained as RepConv
    scale: str = "centred"  #: of the sums, see `FloatProduct`
    threshold: float = 1.0  #: of the neurons behind an sdha or ssa

    def __post_init__(self) -> None:
        """Check every field."""
        if self.kind not in (SDHA, SSA, SDSA1, QK) or self.design not in DESIGNS or self.scale not in SCALES:
            raise ValueError(f"no attention '{self.kind}' of design '{self.design}' and scale '{self.scale}'")
        if self.kind in (SDSA1, QK) and self.design != "spatial":
            raise ValueError(f"attention '{self.kind}' has the design 'spatial' only, not '{self.design}'")

    def obstacles(self) -> list[str]:
        """Parts that the integer contract cannot express."""
        return ["a learned gain behind attention (scale 'norm'), which is no power of two"] if self.scale == "norm" else []


def product(q: Tensor, k: Tensor, v: Tensor, heads: int, scope: str = JOINT, hamming: bool = True) -> Tensor:
    """Sums O of ``sdha`` (``hamming``) or ``ssa``: spikes and sums are [T, B, C, H, W], channel = head d + j."""
    t, b, c, h, w = q.shape
    # axes: time t, batch b, head h, channels i of Q and K, j of V, place n; KᵀV keeps the token axes that its scope separates
    kept = {JOINT: "bhij", FRAME: "tbhij", POSITION: "bhijn"}[scope]
    q, k, v = (x.reshape(t, b, heads, c // heads, h * w) for x in (q, k, v))
    m, offset = torch.einsum(f"tbhin,tbhjn->{kept}", k, v), None
    if hamming:  # (2K - 1)ᵀV = 2KᵀV - colsum V and (2Q - 1)M = Q 2M - colsum M, as the machine does it: no copies of Q and K
        columns = torch.einsum(f"tbhjn->{kept.replace('i', '')}", v)
        m = 2 * m - columns.unsqueeze(kept.index("i"))
        offset = m.sum(dim=kept.index("i"))
        m = 2 * m
    out = torch.einsum(f"tbhin,{kept}->tbhjn", q, m)
    if offset is not None:
        out = out - (offset if "n" in kept else offset.unsqueeze(-1))
    return out.reshape(t, b, c, h, w)


class FloatProduct(Node):
    """Sums of an ``sdha`` or ``ssa``, scaled: X of the neurons that follow.

    Scale ``norm``: O / 2D with D the full width, then batch norm (SpikeVideoFormer). ``eighth``: O / 8 (Spike-driven Transformer,
    SVFormer). ``centred``: batch norm without a learned gain, of which a power of two remains when it is quantised.
    """

    tap = None

    def __init__(self, dim: int, heads: int, scope: str, config: AttentionConfig):
        super().__init__()
        self.heads, self.scope, self.kind = heads, scope, config.kind
        self.constant = {"norm": 1 / (2 * dim), "eighth": 1 / 8, "centred": 1.0}[config.scale]
        self.bn = nn.Identity() if config.scale == "eighth" else SharedNorm(dim)
        if config.scale == "centred":
            self.bn.weight.requires_grad_(False)

    def forward(self, q: Tensor, k: Tensor, v: Tensor) -> Tensor:  # [T, B, C, H, W]
        """Scaled sums."""
        out = product(q, k, v, self.heads, self.scope, self.kind == SDHA)
        return self.bn(out * self.constant if self.constant != 1 else out)

    def folded(self) -> tuple[Tensor, ...]:
        """Gain, rounded to a power of two, and bias of each channel."""
        if isinstance(self.bn, nn.Identity):
            return torch.tensor(self.constant), torch.tensor(0.0)
        assert isinstance(self.bn, SharedNorm)
        gain, offset = linear(self.bn)
        return torch.exp2(torch.round(torch.log2(gain))), offset


class QuantProduct(Node):
    """Sums of an ``sdha`` or ``ssa`` times a power of two plus a bias for each channel, floored to the grid of U.

    ``most`` limits what batch norm becomes: with it no input whatsoever can take a membrane out of its width. Channels that
    hardly ever vary, whose batch norm has a huge gain, come near it.
    """

    tap = None
    scale: Tensor

    def __init__(self, dim: int, heads: int, scope: str, config: AttentionConfig, quant: Quantisation, most: float):
        super().__init__()
        self.heads, self.scope, self.kind, self.quant = heads, scope, config.kind, quant
        self.most = most if config.scale == "centred" else math.inf
        self.register_buffer("scale", torch.ones(dim))
        self.bias = nn.Parameter(torch.zeros(dim))

    @torch.no_grad()
    def load(self, *parts: Tensor) -> None:
        """Begin with the gain and bias that a float product has folded into."""
        scale, bias = parts
        self.scale.copy_(scale.clamp(LEAST_GAIN, self.most))
        self.bias.copy_(bias)

    def forward(self, q: Tensor, k: Tensor, v: Tensor) -> Tensor:  # [T, B, C, H, W]
        """On U's grid."""
        out = product(q, k, v, self.heads, self.scope, self.kind == SDHA)
        bias = on_grid(self.bias, 1 / self.scale)
        return floored(out * self.scale[:, None, None] + bias[:, None, None], self.quant.grid)

    def record(self, recorder: Recorder, name: str, inputs: tuple[Tensor, ...], output: Tensor) -> None:
        """A layer."""
        recorder.layer(output, name=name, op=self.kind, inputs=tuple(recorder.spikes(x) for x in inputs),
                       channels=len(self.bias), heads=self.heads, scope=self.scope)

    def integers(self, layer: Layer) -> dict[str, np.ndarray]:
        """Bias and shift."""
        return {
            "bias": torch.round(self.bias / self.scale).cpu().numpy().astype(np.int32),
            "shift": torch.log2(1 / (self.scale * self.quant.grid)).cpu().numpy().astype(np.int8),
        }


class Mask(Node):
    """AND of two spike tensors; the second may be [T, B, C, 1, 1] or [T, B, heads, H, W]."""

    def forward(self, a: Tensor, b: Tensor) -> Tensor:  # [T, B, C, H, W]
        """Spikes."""
        if b.shape[2] == a.shape[2]:
            return a * b
        return (a.unflatten(2, (b.shape[2], -1)) * b.unsqueeze(3)).flatten(2, 3)

    def record(self, recorder: Recorder, name: str, inputs: tuple[Tensor, ...], output: Tensor) -> None:
        """A layer."""
        a, b = inputs
        heads = b.shape[2] if b.shape[2] != a.shape[2] else 1
        recorder.layer(output, name=name, op=MASK, inputs=(recorder.spikes(a), recorder.spikes(b)), channels=a.shape[2],
                       heads=heads, spike_out=name)


class Count(Node):
    """Number of spikes: of each channel in a time step (``heads`` = 0), or of each head and token. A synapse of ones."""

    tap = None

    def __init__(self, dim: int, heads: int, quant: Quantisation | None):
        super().__init__()
        self.heads, self.quant, self.per = heads, quant, dim // heads if heads else 1

    def forward(self, x: Tensor) -> Tensor:  # [T, B, C, H, W] -> [T, B, C, 1, 1] or [T, B, heads, H, W]
        """Counts."""
        return x.unflatten(2, (self.heads, -1)).sum(dim=3) if self.heads else x.sum(dim=(3, 4), keepdim=True)

    def record(self, recorder: Recorder, name: str, inputs: tuple[Tensor, ...], output: Tensor) -> None:
        """A layer: depthwise over the whole frame, or grouped 1x1."""
        (x,) = inputs
        shape = {} if self.heads else whole_frame(x.shape[3], x.shape[4])
        recorder.layer(output, name=name, op=CONV, inputs=(recorder.spikes(x),), channels=output.shape[2], groups=output.shape[2],
                       **shape)

    def integers(self, layer: Layer) -> dict[str, np.ndarray]:
        """Ones; a count is a whole number on U's grid."""
        assert self.quant
        size = (layer.channels, self.per, layer.kernel, layer.kernel)
        return {"weight": np.ones(size, np.int8), "bias": np.zeros(layer.channels, np.int32),
                "shift": np.full(layer.channels, -self.quant.u_frac, np.int8)}


class Projection(nn.Module):
    """One of Q, K, V: a 1x1 synapse or RepConv, and neurons."""

    def __init__(self, parts: Parts, dim: int, bias: bool, rep: bool):
        super().__init__()
        self.layer, self.s = parts.synapse(dim, dim, bias=bias, rep=rep), parts.neuron(binary=True)

    def forward(self, s: Tensor) -> Tensor:
        """Spikes to spikes of one bit."""
        return self.s(self.layer(s))


class Mix(nn.Module):
    """Spikes to spikes that depend on other tokens: ``sdha`` or ``ssa`` of one scope, ``sdsa1`` or ``qk``."""

    def __init__(self, parts: Parts, dim: int, heads: int, places: int, scope: str, config: AttentionConfig, bias: bool):
        super().__init__()
        self.kind = config.kind
        self.q, self.k = (Projection(parts, dim, bias, config.rep) for _ in range(2))
        if self.kind != QK:
            self.v = Projection(parts, dim, bias, config.rep)
        if self.kind in (SDHA, SSA):
            # the layer has the name of its operation
            tokens = (1 if scope == FRAME else parts.encoding.timesteps) * (1 if scope == POSITION else places)
            largest = (3 if self.kind == SDHA else 1) * tokens * dim // heads  # Hamming: |Q 2M| <= 2 d N, |colsum M| <= d N
            shape = (dim, heads, scope, config)
            self.add_module(self.kind, QuantProduct(*shape, parts.quant, parts.most_gain(largest)) if parts.quant
                            else FloatProduct(*shape))
            self.a: nn.Module = parts.neuron(config.threshold)
        else:
            self.count = Count(dim, heads if self.kind == QK else 0, parts.quant)
            self.g, self.a = parts.neuron(GATE_THRESHOLD, binary=True), Mask()
        if self.kind == SDSA1:
            self.kv = Mask()

    def forward(self, s: Tensor) -> Tensor:  # [T, B, C, H, W]
        """Spikes."""
        q, k = self.q(s), self.k(s)
        if self.kind == QK:
            return self.a(k, self.g(self.count(q)))
        v = self.v(s)
        if self.kind == SDSA1:
            return self.a(q, self.g(self.count(self.kv(k, v))))
        return self.a(self.get_submodule(self.kind)(q, k, v))


class Branch(nn.Module):
    """U + projection(attention(neurons(U))); several mixings follow each other."""

    def __init__(
        self, parts: Parts, dim: int, heads: int, places: int, scopes: dict[str, str], config: AttentionConfig, bias: bool
    ):
        super().__init__()
        self.s, self.names = parts.neuron(), tuple(scopes)
        for name, scope in scopes.items():
            self.add_module(name, Mix(parts, dim, heads, places, scope, config, bias))
        self.proj, self.u = parts.synapse(dim, dim, bias=bias, rep=config.rep), parts.add()

    def forward(self, u: Tensor) -> Tensor:  # [T, B, C, H, W]
        """The new U."""
        s = self.s(u)
        for name in self.names:
            s = self.get_submodule(name)(s)
        return self.u(u, self.proj(s))


def attention(parts: Parts, dim: int, heads: int, places: int, config: AttentionConfig, bias: bool = False) -> nn.Module:
    """Attention on the residual stream, U to U: one branch, or two where it is hierarchical.

    Parameters
    ----------
    parts : Parts
        Of the network.
    dim, heads : int
        Channels, and heads of ``dim / heads`` channels.
    places : int
        Tokens in a time step, H W.
    config : AttentionConfig
        What kind.
    bias : bool
        Of the projections, before batch norm.
    """
    if dim % heads:
        raise ValueError(f"{dim} channels do not divide into {heads} heads")
    scopes = DESIGNS[config.design]
    if config.design == "hierarchical":
        branches = {name: Branch(parts, dim, heads, places, {"mix": scope}, config, bias) for name, scope in scopes.items()}
        return nn.Sequential(OrderedDict(branches))
    return Branch(parts, dim, heads, places, scopes, config, bias)


class _Counter(TorchDispatchMode):
    """Counts multiplications (with a bit: AND) and additions of all that runs under it."""

    total = 0

    def __torch_dispatch__(self, function, types, args=(), kwargs=None):
        out = function(*args, **(kwargs or {}))
        name = function.overloadpacket.__name__
        if name in ("bmm", "mm"):
            self.total += out.numel() * args[0].shape[-1]
        elif name in ("mul", "add", "sub", "sum"):
            self.total += max(x.numel() for x in (out, *args) if isinstance(x, Tensor))
        return out


def operations(function: Callable[..., Tensor], *tensors: Tensor) -> int:
    """Additions (products of matrices: one for each factor pair) that ``function`` makes of ``tensors``, counted as it runs."""
    with _Counter() as counter, torch.no_grad():
        function(*tensors)
    return counter.total
