"""Local blocks that begin with what an ImageNet network has learnt.

A network whose stem and inverted residual blocks have the shapes of the teacher's first ones (EfficientNet-Lite0, see
`golden.distillation`) takes over their weights and their batch norms' statistics. Its neurons count in steps what ReLU6 tells as a number: for each channel a step is chosen such that
`RANGE` standard deviations of what batch norm makes of it lie within the levels of a spike. A channel of a residual stream, which
may be negative, is moved so that its spikes begin `BELOW` standard deviations below its mean. Both go into the batch norm
before the neuron and the weights behind it.
"""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor, nn

from golden.distillation import teacher
from golden.models.blocks import Separable
from golden.models.network import Network
from golden.spec.model import ModelError

RANGE = 2.5
BELOW = 1.5
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
    blocks = [block for block in chain if isinstance(block, Separable)]
    levels = net.config.neuron.levels
    units = 1 / (1 - 1 / net.config.neuron.tau)  # x of a constant input that raises a spike by one level
    if not blocks:
        raise ModelError(f"'{net.config.name}' has no inverted residual blocks that could begin with the teacher's weights")

    step = _synapse(chain.stem, source._conv_stem, source._bn0, None, levels, units)
    # pixels are p / 256 here, (p - 127) / 128 there
    _statistics(chain.stem.bn, source._bn0, 2.0, source._conv_stem.weight.sum(dim=(1, 2, 3)) * (127 / 128))
    theirs = list(source._blocks)
    stream: tuple[Tensor, Tensor] | None = None
    for mine, its in zip(blocks, theirs, strict=False):
        if isinstance(mine.pw1, nn.Identity) == hasattr(its, "_expand_conv"):
            raise ModelError(f"'{net.config.name}': a block expands where the teacher's does not, or the other way round")
        if hasattr(its, "_expand_conv"):
            step = _synapse(mine.pw1, its._expand_conv, its._bn0, step, levels, units)
            if stream is not None:
                _statistics(mine.pw1.bn, its._bn0, 1.0, -its._expand_conv.weight[:, :, 0, 0] @ stream[0])
        step = _synapse(mine.dw, its._depthwise_conv, its._bn1, step, levels, units)
        if mine.u is None:
            later = _residuals(blocks, theirs, mine)
            mean = its._bn2.bias + sum((x._bn2.bias for x in later), torch.zeros(()))
            spread = torch.stack([x._bn2.weight for x in (its, *later)]).norm(dim=0)
            stream = (mean - BELOW * spread, (BELOW + RANGE) * spread / levels)
        assert stream is not None
        _weights(mine.pw2, its._project_conv, step)
        _statistics(mine.pw2.bn, its._bn2)
        low, step = stream
        mine.pw2.bn.weight.copy_(its._bn2.weight * units / step)
        mine.pw2.bn.bias.copy_((its._bn2.bias - (low if mine.u is None else 0)) * units / step)


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
