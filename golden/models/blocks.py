"""Blocks that both families of networks use, each from residual stream to residual stream, and heads on spikes."""

from __future__ import annotations

from collections.abc import Sequence

from torch import Tensor, nn

from golden.models.attention import AttentionConfig, attention
from golden.models.parts import Parts


def after(size: tuple[int, int], kernel: int, stride: int, padding: int) -> tuple[int, int]:
    """Height and width behind a convolution."""
    return (size[0] + 2 * padding - kernel) // stride + 1, (size[1] + 2 * padding - kernel) // stride + 1


def numbered(name: str, index: int, count: int) -> str:
    """Name of one of several modules; the only one needs no number."""
    return name if count == 1 else f"{name}{index}"


class MLP(nn.Module):
    """U + BN(W2 LIF(BN(W1 LIF U))), C to ratio C to C channels; ``kernel`` 1, or 3 for SpikeVideoFormer's dense pair."""

    def __init__(self, parts: Parts, dim: int, ratio: int, bias: bool, kernel: int = 1):
        super().__init__()
        self.m, self.fc1 = parts.neuron(), parts.synapse(dim, ratio * dim, kernel, padding=kernel // 2, bias=bias)
        self.c, self.fc2 = parts.neuron(), parts.synapse(ratio * dim, dim, kernel, padding=kernel // 2, bias=bias)
        self.w = parts.add()

    def forward(self, u: Tensor) -> Tensor:  # [T, B, C, H, W]
        """The new U."""
        return self.w(u, self.fc2(self.c(self.fc1(self.m(u)))))


class Separable(nn.Module):
    """BN(pw2(dw(pw1(LIF U)))), I to ratio I to O channels, depthwise kernel k; added to U where that has its shape.

    ``neurons`` says whether batch norm and neurons follow pw1 and dw. Published networks leave them out in places, so that dw or
    pw2 see multi-bit data. Without ``expand`` there is no pw1. Where it is not added it is a new U if ``stream``.
    """

    def __init__(self, parts: Parts, i: int, o: int, ratio: int, kernel: int, bias: bool = False,
                 neurons: tuple[bool, bool] = (True, True), stride: int = 1, expand: bool = True, stream: bool = False):
        super().__init__()
        wide = ratio * i
        self.s = parts.neuron()
        self.pw1 = parts.synapse(i, wide, bias=bias, norm=neurons[0]) if expand else nn.Identity()
        self.a = parts.neuron() if neurons[0] and expand else nn.Identity()
        self.dw = parts.synapse(wide, wide, kernel, stride, kernel // 2, groups=wide, bias=bias, norm=neurons[1])
        self.b = parts.neuron() if neurons[1] else nn.Identity()
        self.pw2 = parts.synapse(wide, o, bias=bias, stream=stream)
        self.u = parts.add() if i == o and stride == 1 else None

    def forward(self, u: Tensor) -> Tensor:  # [T, B, I, H, W]
        """[T, B, O, H', W']."""
        y = self.pw2(self.b(self.dw(self.a(self.pw1(self.s(u))))))
        return y if self.u is None else self.u(u, y)


#: Inverted residual blocks of one size: depthwise kernel, stride of the first, expansion, channels, how many.
Inverted = tuple[int, int, int, int, int]


def inverted(chain: nn.Sequential, parts: Parts, dim: int, size: tuple[int, int],
             stages: Sequence[Inverted]) -> tuple[int, tuple[int, int]]:
    """Append inverted residual blocks ``local0``, ``local1``, ...; channels and size behind them.

    Source: MobileNetV2, arXiv 1801.04381, figure 4d, with neurons for ReLU6, and in front of each block, too.
    """
    count = sum(stage[4] for stage in stages)
    done = 0
    for kernel, stride, ratio, channels, blocks in stages:
        for j in range(blocks):
            step = 1 if j else stride
            block = Separable(parts, dim, channels, ratio, kernel, stride=step, expand=ratio > 1, stream=j == 0 and blocks > 1)
            chain.add_module(numbered("local", done, count), block)
            dim, size, done = channels, after(size, kernel, step, kernel // 2), done + 1
    return dim, size


class ConvBlock(nn.Sequential):
    """Local features: a separable convolution, then an MLP or a dense pair."""

    def __init__(self, parts: Parts, dim: int, ratios: tuple[int, int], kernels: tuple[int, int], bias: bool,
                 neurons: tuple[bool, bool]):
        super().__init__()
        self.mix = Separable(parts, dim, dim, ratios[0], kernels[0], bias, neurons)
        self.mlp = MLP(parts, dim, ratios[1], bias, kernels[1])


class GlobalBlock(nn.Sequential):
    """Attention, then an MLP."""

    def __init__(self, parts: Parts, dim: int, heads: int, places: int, ratio: int, config: AttentionConfig, bias: bool):
        super().__init__()
        self.attention = attention(parts, dim, heads, places, config, bias)
        self.mlp = MLP(parts, dim, ratio, bias)


class Down(nn.Module):
    """Neurons, convolution of kernel, stride and padding ``shape``, batch norm: a new residual stream if ``stream``."""

    def __init__(self, parts: Parts, i: int, o: int, shape: tuple[int, int, int], bias: bool, stream: bool):
        super().__init__()
        self.s, self.layer = parts.neuron(), parts.synapse(i, o, *shape, bias=bias, stream=stream)

    def forward(self, u: Tensor) -> Tensor:  # [T, B, I, H, W]
        """[T, B, O, H', W']."""
        return self.layer(self.s(u))


class SpikeHead(nn.Module):
    """Linear classifier of the last stream's spikes, and of more spikes side by side, summed over time and space."""

    def __init__(self, parts: Parts, dim: int, classes: int, places: int, more: int = 0):
        super().__init__()
        self.s, self.layer = parts.neuron(), parts.head(dim + more, classes, places)

    def forward(self, u: Tensor, *spikes: Tensor) -> Tensor:  # [T, B, C, H, W] -> [B, classes]
        """Logits."""
        return self.layer(self.s(u), *spikes)
