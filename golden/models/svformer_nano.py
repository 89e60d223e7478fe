"""SVFormer nano: a spiking video transformer with joint space-time Hamming attention, small enough to simulate as RTL.

One definition serves float training and quantisation-aware training (QAT). Spikes are 0 or 1, X is what enters a
neuron, U the residual stream (membrane shortcut) between branches. Activations are [T, B, C, H, W] throughout, so that
a neuron's step is one contiguous piece. Neurons keep the order charge, fire, reset:

    H = (V + X) / 2     S = H >= 1     V = 0 where S else H          here as h = 2H: h = V / 2 + X, S = h >= 2

In QAT every number is a multiple of a power of two and every sum is below 2**24 steps, so float32 is exact and eval mode
gives the spikes and logits of the integer model. The training signal passes every rounding unchanged (straight through).
"""

from __future__ import annotations

from dataclasses import asdict, dataclass
from typing import Any

import numpy as np
import torch
from brevitas.nn import QuantConv2d
from brevitas.quant import Int8WeightPerTensorFixedPoint
from torch import Tensor, nn

from golden.data.digit_motion import CLASSES
from golden.integer.graph import svformer_graph
from golden.spec.model import Encoding, Model


@dataclass(frozen=True, kw_only=True)
class NanoConfig:
    """Sizes; channel counts are multiples of 16."""

    size: int = 32  # of a frame
    timesteps: int = 16
    patch: int = 4
    local: int = 32  # channels of the local stage, 8 x 8 positions
    wide: int = 64  # channels of the global stage, 4 x 4 positions
    heads: int = 2
    blocks: int = 1  # global blocks
    ratio: int = 2  # expansion inside blocks
    u_frac: int = 6  # fraction bits of the residual stream
    u_bits: int = 16

    @property
    def encoding(self) -> Encoding:
        """A 4 x 4 patch of this frame and the last one: 32 channels at 8 x 8 positions."""
        return Encoding(height=self.size, width=self.size, timesteps=self.timesteps, frames=2, patch=self.patch)

    def graph(self, card: dict[str, str] | None = None) -> Model:
        """The same network as fused layers."""
        return svformer_graph(
            name="svformer-nano", encoding=self.encoding, classes=CLASSES, local=self.local, wide=self.wide, heads=self.heads,
            blocks=self.blocks, ratio=self.ratio, u_frac=self.u_frac, u_bits=self.u_bits, card=card,
        )


THETA = 2.0  # of h = 2H
SCALES = (2.0**-12, 2.0**2)  # least and largest weight scale or so: biases fit 24 bits, shifts are in -8..23
WEIGHT_MAX = 7 * SCALES[1]


class Fire(torch.autograd.Function):
    """LIF over axis 0. Backward: ATan surrogate 1 / (1 + (pi (H - 1))**2) for the spike, no gradient through the reset."""

    @staticmethod
    def forward(ctx, x: Tensor, grid: float) -> Tensor:
        """``grid`` > 0: the leak V / 2 is floored to multiples of 1 / grid."""
        h = torch.empty_like(x)
        v = torch.zeros_like(x[0])
        for t in range(x.shape[0]):
            v.mul_(0.5)
            if grid:
                v.mul_(grid).floor_().div_(grid)
            torch.add(v, x[t], out=h[t])  # charge
            torch.mul(h[t], h[t] < THETA, out=v)  # reset
        ctx.save_for_backward(h)
        return (h >= THETA).to(x.dtype)  # fire

    @staticmethod
    def backward(ctx, grad):
        """From the last step to the first."""
        (h,) = ctx.saved_tensors
        gx = (h / 2 - 1).mul_(torch.pi).square_().add_(1).reciprocal_().mul_(grad)
        silent = h < THETA
        for t in range(h.shape[0] - 2, -1, -1):
            gx[t].addcmul_(gx[t + 1], silent[t], value=0.5)
        return gx, None


def fire(x: Tensor, grid: float = 0.0) -> Tensor:
    """Spikes of LIF neurons that see ``x`` [T, ...]."""
    return Fire.apply(x, grid)


def floor_to(x: Tensor, grid: float) -> Tensor:
    """``x`` floored to multiples of 1 / grid; straight through in training."""
    return x + (torch.floor(x * grid) / grid - x).detach()


class Weight4(Int8WeightPerTensorFixedPoint):
    """Signed 4-bit weights, one power-of-two scale per output channel."""

    bit_width = 4
    scaling_per_output_channel = True
    scaling_min_val = SCALES[0]


class Weight4PerTensor(Int8WeightPerTensorFixedPoint):
    """Signed 4-bit weights with one scale: raw accumulators of all channels compare."""

    bit_width = 4


def statistics(bn: nn.BatchNorm2d) -> tuple[Tensor, Tensor]:
    """Mean and standard deviation that a batch norm uses in eval mode."""
    assert bn.running_mean is not None and bn.running_var is not None
    return bn.running_mean, torch.sqrt(bn.running_var + bn.eps)


class FloatLayer(nn.Module):
    """Convolution and batch norm (one for all time steps, so that it folds)."""

    def __init__(self, config: NanoConfig, i: int, o: int, k: int = 1, stride: int = 1, padding: int = 0, groups: int = 1,
                 pixels: bool = False):
        super().__init__()
        self.conv = nn.Conv2d(i, o, k, stride, padding, groups=groups, bias=False)
        self.bn = nn.BatchNorm2d(o)

    def forward(self, x: Tensor) -> Tensor:  # [T, B, I, H, W] -> [T, B, O, H', W']
        """X or the branch's addend to U."""
        return self.bn(self.conv(x.flatten(0, 1))).unflatten(0, x.shape[:2])

    def folded(self) -> tuple[Tensor, Tensor]:
        """Weight and bias of the convolution that does both."""
        mean, deviation = statistics(self.bn)
        gain = self.bn.weight / deviation
        return self.conv.weight * gain[:, None, None, None], self.bn.bias - mean * gain


class QuantLayer(nn.Module):
    """4-bit convolution, bias on the accumulator's grid, result floored to the grid of U."""

    def __init__(self, config: NanoConfig, i: int, o: int, k: int = 1, stride: int = 1, padding: int = 0, groups: int = 1,
                 pixels: bool = False):
        super().__init__()
        self.grid = float(2**config.u_frac)
        self.pixels = 256.0 if pixels else 1.0  # accumulator steps per input of 1
        self.conv = QuantConv2d(i, o, k, stride, padding, groups=groups, bias=False, weight_quant=Weight4)
        self.bias = nn.Parameter(torch.zeros(o))

    def steps(self) -> Tensor:
        """Accumulator steps per 1.0 of each output channel, powers of two: [O]."""
        return self.pixels / self.conv.quant_weight().scale.detach().flatten()

    def forward(self, x: Tensor) -> Tensor:  # [T, B, I, H, W] -> [T, B, O, H', W']
        """X or the branch's addend to U, on U's grid."""
        steps = self.steps()
        bias = self.bias + (torch.round(self.bias * steps) / steps - self.bias).detach()
        y = self.conv(x.flatten(0, 1)) + bias[:, None, None]
        return floor_to(y, self.grid).unflatten(0, x.shape[:2])

    def integers(self) -> dict[str, np.ndarray]:
        """Weight, bias and shift of the fused layer."""
        steps = self.steps()
        return {
            "weight": self.conv.quant_weight().int().numpy().astype(np.int8),
            "bias": torch.round(self.bias * steps).numpy().astype(np.int32),
            "shift": torch.log2(steps / self.grid).numpy().astype(np.int8),
        }


class FloatScale(nn.Module):
    """Batch norm that only centres and scales, after attention."""

    def __init__(self, config: NanoConfig):
        super().__init__()
        self.bn = nn.BatchNorm2d(config.wide)
        self.bn.weight.requires_grad_(False)

    def forward(self, x: Tensor) -> Tensor:  # [T, B, C, H, W]
        """X of the neurons that follow."""
        return self.bn(x.flatten(0, 1)).unflatten(0, x.shape[:2])

    def folded(self) -> tuple[Tensor, Tensor]:
        """Scale, rounded to a power of two, and bias."""
        mean, deviation = statistics(self.bn)
        gain = torch.exp2(torch.round(-torch.log2(deviation))).clamp(*SCALES)
        return gain, self.bn.bias - mean * gain


class QuantScale(nn.Module):
    """A power of two and a bias for each channel, result floored to the grid of U."""

    scale: Tensor

    def __init__(self, config: NanoConfig):
        super().__init__()
        self.grid = float(2**config.u_frac)
        self.register_buffer("scale", torch.ones(config.wide))
        self.bias = nn.Parameter(torch.zeros(config.wide))

    def forward(self, x: Tensor) -> Tensor:  # [T, B, C, H, W]
        """X of the neurons that follow, on U's grid."""
        bias = self.bias + (torch.round(self.bias / self.scale) * self.scale - self.bias).detach()
        return floor_to(x * self.scale[:, None, None] + bias[:, None, None], self.grid)

    def integers(self) -> dict[str, np.ndarray]:
        """Bias and shift of the fused layer."""
        return {
            "bias": torch.round(self.bias / self.scale).numpy().astype(np.int32),
            "shift": torch.log2(1 / (self.scale * self.grid)).numpy().astype(np.int8),
        }


def hamming_attention(q: Tensor, k: Tensor, v: Tensor, heads: int) -> Tensor:
    """SDHA, joint over space and time: O = (2Q - 1) M with M = (2K - 1)ᵀ V; [T, B, C, H, W] spikes in, sums out."""
    t, b, c, h, w = q.shape
    qn, kn, vn = (x.reshape(t, b, heads, c // heads, h * w) for x in (q, k, v))
    m = torch.einsum("tbhin,tbhjn->bhij", 2 * kn - 1, vn)  # [B, heads, d of k, d of v]
    return torch.einsum("tbhin,bhij->tbhjn", 2 * qn - 1, m).reshape(t, b, c, h, w)


class SVFormerNano(nn.Module):
    """Stem, local block, downsampling, global blocks, head. ``quant`` chooses float or 4-bit layers."""

    def __init__(self, config: NanoConfig | None = None, quant: bool = False):
        super().__init__()
        c = self.config = config or NanoConfig()
        self.quant = quant
        self.grid = float(2**c.u_frac) if quant else 0.0
        layer: type[QuantLayer] | type[FloatLayer] = QuantLayer if quant else FloatLayer
        channels = c.encoding.shape[-1]
        self.layers = nn.ModuleDict()  # by the layer's name in the graph, "_" for "."

        def add(name: str, *args: Any, **kwargs: Any) -> None:
            self.layers[name.replace(".", "_")] = layer(c, *args, **kwargs)

        add("stem", channels, c.local, pixels=True)
        add("local.pw1", c.local, c.ratio * c.local)
        add("local.dw", c.ratio * c.local, c.ratio * c.local, 5, padding=2, groups=c.ratio * c.local)
        add("local.pw2", c.ratio * c.local, c.local)
        add("local.fc1", c.local, c.ratio * c.local)
        add("local.fc2", c.ratio * c.local, c.local)
        add("down", c.local, c.wide, 4, stride=2, padding=1)
        for i in range(c.blocks):
            for x in ("q", "k", "v", "proj"):
                add(f"g{i}.{x}", c.wide, c.wide)
            self.layers[f"g{i}_sdha"] = (QuantScale if quant else FloatScale)(c)
            add(f"g{i}.fc1", c.wide, c.ratio * c.wide)
            add(f"g{i}.fc2", c.ratio * c.wide, c.wide)
        self.head: Any
        if quant:
            self.head = QuantConv2d(c.wide, len(CLASSES), 1, bias=False, weight_quant=Weight4PerTensor)
        else:
            self.head = nn.Conv2d(c.wide, len(CLASSES), 1, bias=False)

    @torch.no_grad()
    def constrain(self) -> None:
        """Keep weights within the largest scale; only channels that hardly ever see a spike come near it."""
        for layer in self.layers.values():
            if isinstance(layer, QuantLayer):
                layer.conv.weight.clamp_(-WEIGHT_MAX, WEIGHT_MAX)

    def forward(self, x: Tensor, taps: dict[str, Tensor] | None = None) -> Tensor:
        """Logits [B, classes] of encoded clips [T, B, C, H, W], pixels / 256.

        ``taps`` receives every tensor that the graph names.
        """

        def tap(name: str, value: Tensor) -> Tensor:
            if taps is not None:
                taps[name] = value
            return value

        def layer(name: str, x: Tensor) -> Tensor:
            return self.layers[name.replace(".", "_")](x)

        def spikes(name: str, x: Tensor) -> Tensor:
            return tap(name, fire(x, self.grid))

        def stream(name: str, u: Tensor) -> Tensor:  # the residual stream saturates
            if self.quant:
                high = 2 ** (self.config.u_bits - 1)
                u = torch.clamp(u, -high / self.grid, (high - 1) / self.grid)
            return tap(name, u) if name else u

        # stem: pixels to the residual stream
        u = stream("stem.u", layer("stem", x))
        s = spikes("stem.s", u)  # [T, B, 32, 8, 8]

        # local block: mixing within 5 x 5 positions, then an MLP
        a = spikes("local.a", layer("local.pw1", s))
        b = spikes("local.b", layer("local.dw", a))
        u = stream("local.u", u + layer("local.pw2", b))
        s = spikes("local.s", u)
        u = stream("", u + layer("local.fc2", spikes("local.c", layer("local.fc1", s))))
        s = spikes("down.s", u)

        # downsampling starts a new stream
        u = stream("down.u", layer("down", s))
        s = spikes("g0.s", u)  # [T, B, 64, 4, 4]

        # global blocks: Hamming attention over all positions of all steps, then an MLP
        for i in range(self.config.blocks):
            g, last = f"g{i}", i == self.config.blocks - 1
            q, k, v = (spikes(f"{g}.{n}.s", layer(f"{g}.{n}", s)) for n in "qkv")
            o = hamming_attention(q, k, v, self.config.heads)
            a = spikes(f"{g}.a", layer(f"{g}.sdha", o))
            u = stream(f"{g}.u", u + layer(f"{g}.proj", a))
            s = spikes(f"{g}.m", u)
            u = stream("" if last else f"{g}.w", u + layer(f"{g}.fc2", spikes(f"{g}.c", layer(f"{g}.fc1", s))))
            s = spikes("head.s" if last else f"g{i + 1}.s", u)

        # head: one linear layer, summed over all positions and steps
        return tap("head", self.head(s.flatten(0, 1)).unflatten(0, s.shape[:2]).sum(dim=(0, 3, 4)))


def encode(x: np.ndarray) -> Tensor:
    """Encoded clips [B, T, H, W, C] uint8 as the network takes them, [T, B, C, H, W] float pixels / 256."""
    return torch.from_numpy(x).permute(1, 0, 4, 2, 3).contiguous().float().div_(256)


@torch.no_grad()
def fold(model: SVFormerNano) -> SVFormerNano:
    """The QAT network that starts from a trained float network: batch norms folded into weights and biases."""
    quant = SVFormerNano(model.config, quant=True)
    for name, layer in model.layers.items():
        assert isinstance(layer, FloatLayer | FloatScale)
        weight, bias = layer.folded()
        target: Any = quant.layers[name]
        if isinstance(target, QuantScale):
            target.scale.copy_(weight)
        else:
            target.conv.weight.copy_(weight)
        target.bias.copy_(bias)
    quant.constrain()
    quant.head.weight.copy_(model.head.weight)
    return quant


@torch.no_grad()
def export(model: SVFormerNano, card: dict[str, str]) -> tuple[Model, dict[str, np.ndarray]]:
    """Graph and integer tensors of a QAT network."""
    model.eval()
    graph = model.config.graph(card)
    tensors = {}
    for layer in graph.layers[:-1]:
        quant: Any = model.layers[layer.name.replace(".", "_")]
        for part, value in quant.integers().items():
            tensors[f"{layer.name}.{part}"] = value
    classes = len(CLASSES)
    tensors["head.weight"] = model.head.quant_weight().int().numpy().astype(np.int8)
    tensors["head.bias"] = np.zeros(classes, np.int32)
    tensors["head.shift"] = np.zeros(classes, np.int8)
    return graph, tensors


@torch.no_grad()
def as_integers(model: SVFormerNano, taps: dict[str, Tensor]) -> dict[str, np.ndarray]:
    """Tensors of a QAT forward pass in the integer model's units, [B, T, H, W, C] each and logits [B, O]."""
    grid, result = model.grid, {}
    for layer in model.config.graph().layers:
        for name, scale in ((layer.u_out, grid), (layer.spike_out, 1.0)):
            if name:
                result[name] = np.rint((taps[name] * scale).permute(1, 0, 3, 4, 2).numpy()).astype(np.int32)
    result["head"] = np.rint((taps["head"] / model.head.quant_weight().scale).numpy()).astype(np.int32)
    return result


def config_card(config: NanoConfig) -> dict[str, str]:
    """Sizes as text, to be kept with a checkpoint."""
    return {name: str(value) for name, value in asdict(config).items()}
