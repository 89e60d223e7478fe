"""SVFormer: local feature extraction, then attention, on spikes of video.

Source: arXiv 2406.15034. Stages of a strided convolution and blocks; a local-global branch joins the last stage at the head:

    x -> stem -> local blocks -> down -> local blocks -> down -> global blocks -> down -> global blocks -> head
                                                          +---------> branch ------------------------------^

As published: batch norm per time step, biases before it, multi-bit data inside local blocks, PLIF, dot-product attention per time
step, a Conv3d over all of the last stage. Otherwise everything between neurons is one convolution, and the head is linear.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import ClassVar

import torch
from torch import Tensor, nn

from golden.models.attention import AttentionConfig
from golden.models.blocks import ConvBlock, Down, GlobalBlock, Inverted, SpikeHead, after, inverted, numbered
from golden.models.network import Network
from golden.models.neurons import NeuronConfig
from golden.models.parts import Parts
from golden.models.synapses import Quantisation
from golden.spec.encoding import Encoding


@dataclass(frozen=True, kw_only=True)
class SVFormerConfig:
    """Sizes; the defaults are those of the published UCF101 network."""

    model: ClassVar[str] = "svformer"
    name: str
    encoding: Encoding
    classes: tuple[str, ...]
    dims: tuple[int, ...] = (128, 256, 384, 512)  # channels of each stage
    depths: tuple[int, ...] = (1, 1, 3, 1)  # blocks of each stage
    local_stages: int = 2  # the first ones have local blocks, the others global ones
    stem: tuple[int, int, int] = (6, 4, 1)  # kernel, stride, padding
    down: tuple[int, int, int] = (4, 2, 1)
    kernel: int = 5  # depthwise, in local blocks
    local_ratio: int = 1  # expansion of the depthwise convolution in local blocks
    inverted: tuple[Inverted, ...] = ()  # blocks of such behind the stem
    ratio: int = 2  # expansion in MLPs
    head_dim: int = 64  # channels of an attention head
    attention: AttentionConfig = field(default_factory=AttentionConfig)
    neuron: NeuronConfig = field(default_factory=NeuronConfig)
    branch: bool = False  # from the input of the second to last stage to the head
    published: bool = False

    @property
    def per_step(self) -> bool:
        """Batch norm has statistics of its own at each time step."""
        return self.published

    def obstacles(self) -> list[str]:
        """Parts that the integer contract cannot express."""
        parts = [
            (self.published, "batch norm per time step, whose folded weights would differ from frame to frame"),
            (self.published, "local blocks without neurons between their convolutions (multi-bit data)"),
            (self.published, "a Conv3d head"),
            (self.branch and self.neuron.learned, "a branch whose neurons learn another tau than those of the blocks beside it"),
        ]
        return [text for there, text in parts if there] + self.attention.obstacles()


class Branch(nn.Module):
    """Local-global branch: neurons, depthwise 3x3 of stride 2, 1x1; spikes, or as published the multi-bit batch norm's output."""

    def __init__(self, parts: Parts, i: int, o: int, published: bool):
        super().__init__()
        self.s = parts.neuron()
        self.dw = parts.synapse(i, i, 3, 2, 1, groups=i, bias=published, norm=not published)
        self.a = nn.Identity() if published else parts.neuron()
        self.pw = parts.synapse(i, o, bias=published)
        self.b = nn.Identity() if published else parts.neuron()

    def forward(self, u: Tensor) -> Tensor:  # [T, B, I, H, W] -> [T, B, O, H/2, W/2]
        """Features beside those of the last stage."""
        return self.b(self.pw(self.a(self.dw(self.s(u)))))


class Conv3dHead(nn.Module):
    """Neurons, a grouped convolution over all of time and space, batch norm, linear."""

    def __init__(self, parts: Parts, dim: int, more: int, size: tuple[int, int, int], classes: int):
        super().__init__()
        self.s = parts.neuron()
        self.conv = nn.Conv3d(dim + more, dim + more, size, groups=dim)
        self.bn, self.linear = nn.BatchNorm3d(dim + more), nn.Linear(dim + more, classes)

    def forward(self, u: Tensor, *more: Tensor) -> Tensor:  # [T, B, C, H, W] each -> [B, classes]
        """Logits."""
        s = self.s(torch.cat((u, *more), dim=2)).permute(1, 2, 0, 3, 4)  # [B, C, T, H, W]
        return self.linear(self.bn(self.conv(s)).flatten(1))


class SVFormer(Network):
    """The network of an `SVFormerConfig`; layers: ``stem``, ``local0.fc1``, ``down0``, ``g0.q``, ``branch.dw``, ``head``."""

    def __init__(self, config: SVFormerConfig, quant: Quantisation | None = None):
        super().__init__(config, quant)
        c, parts, bias, spiking = config, self.parts, config.published, not config.published
        t, height, width, channels = c.encoding.shape
        stages, locals_ = len(c.dims), sum(c.depths[: c.local_stages])
        size = after((height, width), *c.stem)
        self.chain, self.fork = nn.Sequential(), 0
        self.chain.add_module("stem", parts.synapse(channels, c.dims[0], *c.stem, bias=bias, pixels=True, stream=c.depths[0] > 0))
        before, size = inverted(self.chain, parts, c.dims[0], size, c.inverted)
        for i, dim in enumerate(c.dims):
            if i:
                name = numbered("down", i - 1, stages - 1)
                self.chain.add_module(name, Down(parts, before, dim, c.down, bias, c.depths[i] > 0))
                before, size = dim, after(size, *c.down)
            if i == stages - 2:
                self.fork = len(self.chain)  # so many modules are in front of the branch
            for j in range(sum(c.depths[:i]), sum(c.depths[: i + 1])):
                if i < c.local_stages:
                    ratios, kernels = (c.local_ratio, c.ratio), (c.kernel, 1)
                    block: nn.Module = ConvBlock(parts, dim, ratios, kernels, bias, (spiking, spiking))
                    self.chain.add_module(numbered("local", j, locals_), block)
                else:
                    block = GlobalBlock(parts, dim, dim // c.head_dim, size[0] * size[1], c.ratio, c.attention, bias)
                    self.chain.add_module(f"g{j - locals_}", block)
        self.branch = Branch(parts, c.dims[-2], c.dims[-1], c.published) if c.branch else None
        more, classes, places = c.dims[-1] if c.branch else 0, len(c.classes), t * size[0] * size[1]
        self.head = (Conv3dHead(parts, c.dims[-1], more, (t, *size), classes) if c.published
                     else SpikeHead(parts, c.dims[-1], classes, places, more))

    def run(self, x: Tensor) -> Tensor:
        """Logits [B, classes] of clips [T, B, C, H, W]."""
        u = self.chain[self.skip : self.fork](x)
        beside = [] if self.branch is None else [self.branch(u)]
        return self.head(self.chain[self.fork :](u), *beside)
