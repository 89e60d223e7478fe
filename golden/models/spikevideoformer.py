"""SpikeVideoFormer: convolution blocks, then Hamming attention joint over space and time.

Source: ICML 2025, arXiv 2505.10352. Each stage is a strided convolution (the first one sees pixels) and blocks. As published: no
neurons between depthwise and second pointwise convolution, a learned batch norm behind attention, projections trained as RepConv,
and a head on the spatial mean of U. Otherwise everything between neurons is one convolution, and the head is linear on spikes.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import ClassVar

from torch import Tensor, nn

from golden.models.attention import AttentionConfig
from golden.models.blocks import ConvBlock, Down, GlobalBlock, SpikeHead, after, numbered
from golden.models.network import Network
from golden.models.neurons import NeuronConfig
from golden.models.parts import Parts
from golden.models.synapses import Quantisation
from golden.spec.encoding import Encoding


@dataclass(frozen=True, kw_only=True)
class SpikeVideoFormerConfig:
    """Sizes; the defaults are those of the published 15M network."""

    model: ClassVar[str] = "spikevideoformer"
    per_step: ClassVar[bool] = False  # batch norm is the same at all time steps
    name: str
    encoding: Encoding
    classes: tuple[str, ...]
    dims: tuple[int, ...] = (32, 64, 128, 256, 360)  # channels of each stage: e0 / 2, e0, e1, e2, e3
    depths: tuple[int, ...] = (1, 1, 2, 6, 2)  # blocks of each stage
    strides: tuple[int, ...] = (2, 2, 2, 2, 1)  # of the convolution that begins a stage
    conv_stages: int = 3  # the first ones have convolution blocks, the others attention
    stem: int = 7  # kernel on pixels
    kernel: int = 7  # depthwise, in convolution blocks
    separable_ratio: int = 2  # expansion of the depthwise convolution
    conv_ratio: int = 4  # expansion of the dense pair
    ratio: int = 4  # expansion in MLPs
    heads: int = 8
    attention: AttentionConfig = field(default_factory=AttentionConfig)
    neuron: NeuronConfig = field(default_factory=NeuronConfig)
    published: bool = False

    def obstacles(self) -> list[str]:
        """Parts that the integer contract cannot express."""
        parts = ["convolution blocks without neurons behind their depthwise part (multi-bit data)", "a head on the mean of U"]
        return parts * self.published + self.attention.obstacles()


class MeanHead(nn.Module):
    """Spatial mean of U, neurons, linear, mean over time."""

    def __init__(self, parts: Parts, dim: int, classes: int):
        super().__init__()
        self.s, self.linear = parts.neuron(), nn.Linear(dim, classes)

    def forward(self, u: Tensor) -> Tensor:  # [T, B, C, H, W] -> [B, classes]
        """Logits."""
        return self.linear(self.s(u.mean(dim=(3, 4)))).mean(dim=0)


class SpikeVideoFormer(Network):
    """The network of a `SpikeVideoFormerConfig`; layers are named ``stem``, ``conv0.pw1``, ``down0``, ``g0.q``, ``head``."""

    def __init__(self, config: SpikeVideoFormerConfig, quant: Quantisation | None = None):
        super().__init__(config, quant)
        c, parts, bias = config, self.parts, config.published
        t, height, width, channels = c.encoding.shape
        stem = (c.stem, c.strides[0], c.stem // 2)
        size = after((height, width), *stem)
        convs = sum(c.depths[: c.conv_stages])
        neurons, ratios, kernels = (True, not c.published), (c.separable_ratio, c.conv_ratio), (c.kernel, 3)
        self.chain = nn.Sequential()
        self.chain.add_module("stem", parts.synapse(channels, c.dims[0], *stem, bias=bias, pixels=True, stream=c.depths[0] > 0))
        for i, dim in enumerate(c.dims):
            if i:
                shape = (3, c.strides[i], 1)
                name = numbered("down", i - 1, len(c.dims) - 1)
                self.chain.add_module(name, Down(parts, c.dims[i - 1], dim, shape, bias, c.depths[i] > 0))
                size = after(size, *shape)
            for j in range(sum(c.depths[:i]), sum(c.depths[: i + 1])):
                if i < c.conv_stages:
                    self.chain.add_module(numbered("conv", j, convs), ConvBlock(parts, dim, ratios, kernels, False, neurons))
                else:
                    block = GlobalBlock(parts, dim, c.heads, size[0] * size[1], c.ratio, c.attention, bias)
                    self.chain.add_module(f"g{j - convs}", block)
        self.head = (MeanHead(parts, c.dims[-1], len(c.classes)) if c.published
                     else SpikeHead(parts, c.dims[-1], len(c.classes), t * size[0] * size[1]))

    def run(self, x: Tensor) -> Tensor:
        """Logits [B, classes] of clips [T, B, C, H, W]."""
        return self.head(self.chain(x))
