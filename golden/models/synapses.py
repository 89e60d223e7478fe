"""Synapses: a convolution and its batch norm in float, or both in one convolution with quantised weights.

In a quantised network every number is a multiple of a power of two and sums stay below 2^24 steps, so float32 is exact and eval
mode gives the integer model's values.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
from brevitas.nn import QuantConv2d
from brevitas.quant import Int8WeightPerTensorFixedPoint
from torch import Tensor, nn
from torch.nn import functional as F

from golden.models.graph import Node, Recorder
from golden.spec.model import CONV, Layer

LEAST_SCALE = 2.0**-12  #: of a weight: biases fit 24 bits
LEAST_SHIFT = -8


@dataclass(frozen=True, kw_only=True)
class Quantisation:
    """Widths of a quantised network."""

    weight_bits: int = 4  #: 4 or 8, one power-of-two scale per output channel
    u_bits: int = 16  #: residual values saturate to this width
    u_frac: int = 6  #: fraction bits of the residual grid
    acc_bits: int = 20  #: biases, and membranes behind attention, fit a machine of this width; 20 is that of the smallest preset

    @property
    def grid(self) -> float:
        """Steps of U per 1.0."""
        return float(2**self.u_frac)

    @property
    def most_scale(self) -> float:
        """Largest scale of a weight: shifts are at least -8."""
        return min(2.0**2, 2.0**-LEAST_SHIFT / self.grid)

    @property
    def most_weight(self) -> float:
        """Largest weight."""
        return (2 ** (self.weight_bits - 1) - 1) * self.most_scale

    def most_of(self, weight: Tensor, dims: tuple[int, ...]) -> Tensor:
        """Largest weight that the scale of least square error can express; one scale for what lies along ``dims``."""
        steps = 2 ** (self.weight_bits - 1) - 1
        largest = weight.abs().amax(dim=dims, keepdim=True).clamp(min=LEAST_SCALE**2)
        halved = torch.exp2(-torch.arange(4.0, device=weight.device)).view(-1, *[1] * weight.dim())
        scales = torch.exp2(torch.ceil(torch.log2(largest / steps))) * halved
        error = (((weight / scales).round().clamp(-steps, steps) * scales - weight) ** 2)
        error = error.sum(dim=[dim + 1 for dim in dims], keepdim=True)
        return steps * scales.gather(0, error.argmin(dim=0, keepdim=True))[0]

    def saturated(self, u: Tensor) -> Tensor:
        """A residual tensor within its width."""
        high = 2 ** (self.u_bits - 1)
        return torch.clamp(u, -high / self.grid, (high - 1) / self.grid)

    def conv(self, *args: Any, per_channel: bool = True, **kwargs: Any) -> QuantConv2d:
        """Convolution with quantised weights and no bias."""
        least = {"weight_scaling_min_val": LEAST_SCALE} if per_channel else {}
        return QuantConv2d(
            *args, **kwargs, **least, bias=False, weight_quant=Int8WeightPerTensorFixedPoint, weight_bit_width=self.weight_bits,
            weight_scaling_per_output_channel=per_channel,
        )


class FloorTo(torch.autograd.Function):
    """Floor to multiples of 1 / grid, in place; straight through in training."""

    @staticmethod
    def forward(ctx, x: Tensor, grid: float) -> Tensor:  # type: ignore[override]
        """Of a tensor that nobody else reads."""
        ctx.mark_dirty(x)
        return x.mul_(grid).floor_().div_(grid)

    @staticmethod
    def backward(ctx, grad):
        """Unchanged."""
        return grad, None


def floored(x: Tensor, grid: float) -> Tensor:
    """``x``, which is used up, floored to multiples of 1 / grid."""
    return FloorTo.apply(x, grid)


def on_grid(bias: Tensor, steps: Tensor) -> Tensor:
    """Bias rounded to multiples of 1 / steps; straight through in training."""
    return (torch.round(bias * steps) / steps).detach() + (bias - bias.detach())


class SharedNorm(nn.BatchNorm2d):
    """Batch norm that is the same at every time step, so that it folds into the convolution before it."""

    def forward(self, x: Tensor) -> Tensor:  # [T, B, C, H, W]
        """Normalised over T and B jointly."""
        return super().forward(x.flatten(0, 1)).unflatten(0, x.shape[:2])


class StepNorm(nn.BatchNorm2d):
    """Batch norm with statistics and parameters of its own at every time step; features in the order t C + c.

    Source: SVFormer, batch norm over T C channels.
    """

    def __init__(self, timesteps: int, channels: int):
        super().__init__(timesteps * channels)
        self.shape = (timesteps, channels)

    def forward(self, x: Tensor) -> Tensor:  # [T, B, C, H, W]
        """Normalised step by step, which needs no transposed copy."""
        if (x.shape[0], x.shape[2]) != self.shape:
            raise ValueError(f"{x.shape[0]} steps of {x.shape[2]} channels, but batch norm is made for {self.shape}")
        mean, variance, weight, bias = (y.view(self.shape) for y in self.state())
        if self.training and self.num_batches_tracked is not None:
            self.num_batches_tracked += 1
        return torch.stack([
            F.batch_norm(x[t], mean[t], variance[t], weight[t], bias[t], self.training, self.momentum or 0.0, self.eps)
            for t in range(len(x))
        ])

    def state(self) -> tuple[Tensor, Tensor, Tensor, Tensor]:
        """Running mean and variance, weight and bias, [T C] each."""
        assert self.running_mean is not None and self.running_var is not None
        return self.running_mean, self.running_var, self.weight, self.bias


def linear(bn: nn.BatchNorm1d | nn.BatchNorm2d) -> tuple[Tensor, Tensor]:
    """Gain and offset [C] of a batch norm in eval mode: y = gain x + offset."""
    assert bn.running_mean is not None and bn.running_var is not None
    gain = bn.weight / torch.sqrt(bn.running_var + bn.eps)
    return gain, bn.bias - bn.running_mean * gain


class RepConv(nn.Module):
    """1x1, batch norm, depthwise 3x3, 1x1, batch norm: linear, so it merges into one dense 3x3 convolution.

    The first batch norm pads by one pixel with what it makes of 0, so the borders merge, too. Source: SpikeVideoFormer.
    """

    def __init__(self, i: int, o: int):
        super().__init__()
        self.conv1, self.bn1 = nn.Conv2d(i, i, 1, bias=False), nn.BatchNorm2d(i)
        self.dw = nn.Conv2d(i, i, 3, groups=i, bias=False)
        self.conv2, self.bn2 = nn.Conv2d(i, o, 1, bias=False), nn.BatchNorm2d(o)

    def forward(self, x: Tensor) -> Tensor:  # [N, I, H, W] -> [N, O, H, W]
        """As it is trained."""
        x = self.bn1(self.conv1(x))
        n, c, h, w = x.shape
        padded = linear(self.bn1)[1][:, None, None].expand(n, c, h + 2, w + 2).clone()
        padded[:, :, 1:-1, 1:-1] = x
        return self.bn2(self.conv2(self.dw(padded)))

    def merged(self) -> tuple[Tensor, Tensor]:
        """Weight [O, I, 3, 3] and bias [O] of the same function, zero padded."""
        gain1, offset1 = linear(self.bn1)
        gain2, offset2 = linear(self.bn2)
        inner, dw, outer = self.conv1.weight[:, :, 0, 0], self.dw.weight[:, 0], self.conv2.weight[:, :, 0, 0] * gain2[:, None]
        weight = torch.einsum("oc,cyx,ci->oiyx", outer, dw * gain1[:, None, None], inner)
        return weight, offset2 + outer @ (dw.sum(dim=(1, 2)) * offset1)


def stacked(xs: tuple[Tensor, ...]) -> tuple[Tensor, tuple[int, int]]:
    """Spike tensors [T, B, C, H, W] side by side in channels as [T B, C, H, W], and (T, B)."""
    x = xs[0] if len(xs) == 1 else torch.cat(xs, dim=2)
    return x.flatten(0, 1), (x.shape[0], x.shape[1])


class FloatSynapse(Node):
    """Convolution and batch norm: spikes to X, to a branch's addend, or (``stream``) to a new U."""

    def __init__(self, conv: nn.Conv2d | RepConv, norm: nn.Module, stream: bool = False):
        super().__init__()
        self.conv, self.bn = conv, norm
        self.tap = ".u" if stream else None

    def forward(self, *xs: Tensor) -> Tensor:  # [T, B, I, H, W] each -> [T, B, O, H', W']
        """Of several inputs side by side."""
        x, tb = stacked(xs)
        return self.bn(self.conv(x).unflatten(0, tb))

    def folded(self) -> tuple[Tensor, ...]:
        """Weight and bias of one convolution that does everything."""
        weight, bias = self.conv.merged() if isinstance(self.conv, RepConv) else (self.conv.weight, self.conv.bias)
        assert isinstance(self.bn, SharedNorm)
        gain, offset = linear(self.bn)
        return weight * gain[:, None, None, None], offset if bias is None else offset + bias * gain


class QuantSynapse(Node):
    """Convolution with quantised weights, bias on the accumulator's grid, result floored to the grid of U.

    Parameters
    ----------
    quant : Quantisation
        Of the network.
    conv : QuantConv2d
        Made by it.
    pixels : int
        Accumulator steps per input of 1.
    stream : bool
        The result begins a residual stream, so it saturates.
    """

    most: Tensor

    def __init__(self, quant: Quantisation, conv: QuantConv2d, pixels: int, stream: bool = False):
        super().__init__()
        self.quant, self.conv, self.pixels = quant, conv, float(pixels)
        self.bias = nn.Parameter(torch.zeros(conv.out_channels))
        self.tap = ".u" if stream else None
        #: largest weights; within those of one scale it never changes
        self.register_buffer("most", torch.full((conv.out_channels, 1, 1, 1), quant.most_weight), persistent=False)

    @torch.no_grad()
    def load(self, *parts: Tensor) -> None:
        """Begin with the weight and bias that a float synapse has folded into."""
        weight, bias = parts
        self.conv.weight.copy_(weight)
        self.bias.copy_(bias)
        self.constrain()

    @torch.no_grad()
    def constrain(self) -> None:
        """Keep weights within the largest scale; only channels that hardly ever see a spike come near it."""
        self.conv.weight.clamp_(-self.most, self.most)

    @torch.no_grad()
    def clip(self) -> None:
        """Clip weights, now and for ever, to what a scale of each channel can express: that of least square error."""
        self.most.copy_(self.quant.most_of(self.conv.weight, (1, 2, 3)))
        self.constrain()

    @torch.no_grad()
    def move(self, by: Tensor) -> None:
        """Add to what the bias has been rounded to."""
        steps = self.steps(self.conv.quant_weight().scale)
        self.bias.copy_(on_grid(self.kept(steps), steps) + by)

    def steps(self, scale: Tensor) -> Tensor:
        """Of the accumulator per 1.0, powers of two, [O]."""
        return self.pixels / scale.detach().flatten()

    def kept(self, steps: Tensor) -> Tensor:
        """Bias as far as accumulators hold it: a channel with hardly a weight has a small scale, and a bias that silences it."""
        most = 2.0 ** (self.quant.acc_bits - 2) / steps
        return torch.clamp(self.bias, -most, most)

    def forward(self, *xs: Tensor) -> Tensor:  # [T, B, I, H, W] each -> [T, B, O, H', W']
        """On U's grid."""
        x, tb = stacked(xs)
        weight = self.conv.quant_weight()
        steps = self.steps(weight.scale)
        # half a step more is floored away, and with it the rounding of libraries that do not add exactly
        bias = on_grid(self.kept(steps), steps) + 0.5 / steps.clamp(min=self.quant.grid)
        y = F.conv2d(x, weight.value, bias, self.conv.stride, self.conv.padding, self.conv.dilation, self.conv.groups)
        y = floored(y, self.quant.grid).unflatten(0, tb)
        return self.quant.saturated(y) if self.tap else y

    def record(self, recorder: Recorder, name: str, inputs: tuple[Tensor, ...], output: Tensor) -> None:
        """A layer."""
        conv = self.conv
        recorder.layer(
            output, name=name, op=CONV, inputs=tuple(recorder.spikes(x) for x in inputs), channels=conv.out_channels,
            kernel=conv.kernel_size[0], stride=conv.stride[0], padding=conv.padding[0], groups=conv.groups,
            weight_bits=self.quant.weight_bits, u_out=name + self.tap if self.tap else "",
        )

    def integers(self, layer: Layer) -> dict[str, np.ndarray]:
        """Weight, bias and shift."""
        weight = self.conv.quant_weight()
        steps = self.steps(weight.scale)
        return {
            "weight": weight.int().cpu().numpy().astype(np.int8),
            "bias": torch.round(self.kept(steps) * steps).cpu().numpy().astype(np.int32),
            "shift": torch.log2(steps / self.quant.grid).cpu().numpy().astype(np.int8),
        }
