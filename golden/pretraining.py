"""Local blocks that begin with what an ImageNet network has learnt.

A network whose stem and inverted residual blocks have the shapes of the teacher's first ones (EfficientNet-Lite0, see
`golden.distillation`) takes over their weights and their batch norms' statistics. Its neurons count in steps what ReLU6 tells
as a number: for each channel a step is chosen such that `RANGE` standard deviations of what batch norm makes of it lie within
the levels of a spike. A channel of a residual stream, which may be negative, is moved so that its spikes begin `BELOW` standard
deviations below its mean. Both go into the batch norm before the neuron and the weights behind it.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor, nn

from golden.distillation import teacher
from golden.models.attention import Branch
from golden.models.blocks import MLP, Down, Separable
from golden.models.network import Network
from golden.spec.model import ModelError

RANGE = 3.5
BELOW = 2.5
LIMIT = 6.0  #: of ReLU6


@torch.no_grad()
def take_over(net: Network) -> None:
    """Give a float network's stem and inverted residual blocks the teacher's weights.

    Raises
    ------
    ModelError
        If the teacher's package is not installed, or the shapes are others.
    """
    source = teacher({})
    chain: Any = net.chain
    levels, units, pairs = net.config.neuron.levels, _units(net), list(_pairs(net, source))
    step = _synapse(chain.stem, source._conv_stem, source._bn0, None, levels, units)
    # pixels are p / 256 here, (p - 127) / 128 there
    _statistics(chain.stem.bn, source._bn0, 2.0, source._conv_stem.weight.sum(dim=(1, 2, 3)) * (127 / 128))
    before: Stream | None = None
    mine: Any
    for mine, its, stream in pairs:
        if isinstance(mine.pw1, nn.Identity) == hasattr(its, "_expand_conv"):
            raise ModelError(f"'{net.config.name}': a block expands where the teacher's does not, or the other way round")
        if hasattr(its, "_expand_conv"):
            step = _synapse(mine.pw1, its._expand_conv, its._bn0, step, levels, units)
            if before is not None:
                _statistics(mine.pw1.bn, its._bn0, 1.0, -its._expand_conv.weight[:, :, 0, 0] @ before.low)
        step = _synapse(mine.dw, its._depthwise_conv, its._bn1, step, levels, units)
        _weights(mine.pw2, its._project_conv, step)
        _statistics(mine.pw2.bn, its._bn2)
        mine.pw2.bn.weight.copy_(its._bn2.weight * units / stream.step)
        mine.pw2.bn.bias.copy_((its._bn2.bias - (stream.low if mine.u is None else 0)) * units / stream.step)
        before, step = stream, stream.step


@torch.no_grad()
def pass_on(net: Network, u: Tensor) -> None:
    """Let what follows the taken over blocks begin with nothing: one synapse passes spikes on, residual branches add nothing.

    Parameters
    ----------
    net : Network
        Float, with global blocks.
    u : Tensor
        What the blocks make of some clips, [T, B, C, H, W]: batch norm takes its statistics from it.
    """
    (down,) = (part for part in net.modules() if isinstance(part, Down))
    layer: Any = down.layer
    nn.init.dirac_(layer.conv.weight)
    spikes = layer.conv(down.s(u).flatten(0, 1))
    mean, var = spikes.mean(dim=(0, 2, 3)), spikes.var(dim=(0, 2, 3))
    norm = layer.bn
    norm.running_mean.copy_(mean)
    norm.running_var.copy_(var)
    norm.weight.copy_(_units(net) * torch.sqrt(var + norm.eps))
    norm.bias.copy_(_units(net) * mean)
    for branch in net.modules():
        if isinstance(branch, (Branch, MLP)):
            end: Any = branch.proj if isinstance(branch, Branch) else branch.fc2
            end.bn.weight.zero_()


class Anchor:
    """How far a network's inverted residual blocks are from the teacher's on the same frames.

    Both see the same: the teacher's convolutions are padded as the network's are, and its pictures with black.

    Parameters
    ----------
    net : Network
        That has taken over the teacher's weights; the outputs of its blocks are watched.

    Raises
    ------
    ModelError
        As `take_over`.
    """

    def __init__(self, net: Network) -> None:
        self.source = teacher({}).to(next(net.parameters()).device)
        for conv in (self.source._conv_stem, *(block._depthwise_conv for block in self.source._blocks)):
            conv.static_padding = nn.ZeroPad2d(conv.kernel_size[0] // 2)
        self.source._conv_stem.static_padding = nn.ConstantPad2d(net.config.stem[2], -127 / 128)
        self.units, self.pairs = _units(net), list(_pairs(net, self.source))
        self.made: list[Tensor] = []
        self.handles = [block.register_forward_hook(lambda block, xs, out: self.made.append(out)) for block, _, _ in self.pairs]

    def close(self) -> None:
        """Watch no longer."""
        for handle in self.handles:
            handle.remove()

    def distance(self, x: Tensor) -> Tensor:
        """Mean square error behind each block, in units of the variance there, mean over the blocks.

        Parameters
        ----------
        x : Tensor
            Clips [T, B, C, H, W] that the network has just seen.
        """
        made, self.made = self.made, []
        with torch.no_grad():
            sees = self.source._bn0(self.source._conv_stem((x[:, :, :3].flatten(0, 1) * 256 - 127) / 128)).clamp(0, LIMIT)
        apart = []
        for (_, its, stream), u in zip(self.pairs, made, strict=True):
            with torch.no_grad():
                sees = its(sees)
                wanted = (sees - stream.low[:, None, None]) * (self.units / stream.step)[:, None, None]
                scale = wanted.var(dim=(0, 2, 3), keepdim=True) + 1e-3
            apart.append(((u.flatten(0, 1) - wanted) ** 2 / scale).mean())
        return torch.stack(apart).mean()


@dataclass(frozen=True)
class Stream:
    """How a residual stream counts: u = (x - low) / step, by channel, x as the teacher has it."""

    low: Tensor
    step: Tensor


def _units(net: Network) -> float:
    """X of a constant input that raises a spike by one level."""
    return net.config.neuron.tau


def _pairs(net: Network, source: Any) -> Iterator[tuple[nn.Module, Any, Stream]]:
    """Each inverted residual block with the teacher's, and the stream that it makes or adds to."""
    blocks: list[Any] = [block for block in net.chain if isinstance(block, Separable)]  # type: ignore[union-attr]
    theirs = list(source._blocks)
    if not blocks:
        raise ModelError(f"'{net.config.name}' has no inverted residual blocks that could begin with the teacher's weights")
    for mine, its in zip(blocks, theirs, strict=False):
        if mine.u is None:
            members = (its, *_residuals(blocks, theirs, mine))
            mean = sum((x._bn2.bias for x in members), torch.zeros(()))
            spread = torch.stack([x._bn2.weight for x in members]).norm(dim=0)
            stream = Stream((mean - BELOW * spread).detach(), ((BELOW + RANGE) * spread / net.config.neuron.levels).detach())
        yield mine, its, stream


def _residuals(blocks: list[Separable], theirs: list[Any], first: Separable) -> list[Any]:
    """The teacher's blocks that add to the stream that ``first`` begins."""
    found = []
    for mine, its in list(zip(blocks, theirs, strict=False))[blocks.index(first) + 1:]:
        if mine.u is None:
            break
        found.append(its)
    return found


def _synapse(mine: Any, conv: Any, norm: Any, step: Tensor | None, levels: int, units: float) -> Tensor:
    """Weights and batch norm of a synapse in front of neurons; what one step of their spikes stands for, by channel."""
    _weights(mine, conv, step)
    _statistics(mine.bn, norm)
    high = (norm.bias + RANGE * norm.weight.abs()).clamp(LIMIT / 10, LIMIT)
    made = high / levels
    mine.bn.weight.copy_(norm.weight * units / made)
    mine.bn.bias.copy_(norm.bias * units / made)
    return made


def _statistics(mine: Any, norm: Any, gain: float = 1.0, offset: Tensor | float = 0.0) -> None:
    """Statistics of a batch norm that sees (what the teacher's sees + ``offset``) / ``gain``."""
    mine.running_mean.copy_((norm.running_mean + offset) / gain)
    mine.running_var.copy_((norm.running_var + norm.eps) / gain**2 - mine.eps)


def _weights(mine: Any, conv: Any, step: Tensor | None) -> None:
    """Weights of a convolution whose inputs come in steps; of more input channels than it has they get none."""
    weight = conv.weight
    if step is not None:
        weight = weight * (step[:, None, None, None] if conv.groups > 1 else step[None, :, None, None])
    target = mine.conv.weight
    if target.shape[0] != weight.shape[0] or target.shape[2:] != weight.shape[2:] or target.shape[1] < weight.shape[1]:
        raise ModelError(f"a convolution of shape {tuple(target.shape)} cannot begin with weights {tuple(weight.shape)}")
    target.zero_()
    target[:, : weight.shape[1]] = weight
