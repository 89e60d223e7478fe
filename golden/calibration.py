"""Calibration: what a folded network loses by its narrow weights is made good on a few clips, before any training.

Weights are rounded one after the other, each error made up for by those that are not rounded yet (Frantar et al., GPTQ,
arXiv 2210.17323); then each bias makes up for what is left of the channel's mean (Nagel et al., arXiv 1906.04721, section 4.2).
So errors are counted about the means, which inputs of spikes have more of than of anything else.
"""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from golden.models.network import Network
from golden.models.synapses import FloatSynapse, QuantSynapse, stacked

SAMPLES = 16384  #: places, about, at which a synapse's inputs are looked at
DAMPING = 0.01  #: share of the inputs' mean variance that is added to each


@torch.no_grad()
def calibrate(net: Network, quant: Network, x: Tensor) -> None:
    """Round weights for least error of what they make of some clips, and give every channel the mean that it has in float.

    Parameters
    ----------
    net : Network
        Float.
    quant : Network
        What `golden.models.network.fold` has made of it; its weights and biases change.
    x : Tensor
        Clips [T, B, C, H, W], in one batch: each synapse sees what the calibrated ones before it make.
    """
    wanted: dict[str, Tensor] = {}

    def see(name: str, node: nn.Module, inputs: Any, output: Tensor) -> None:
        if isinstance(node, FloatSynapse):
            wanted[name] = output.mean(dim=(0, 1, 3, 4))

    def correct(name: str, node: QuantSynapse, inputs: tuple[Tensor, ...]) -> Tensor:
        node.clip()
        node.conv.weight.copy_(rounded(node, stacked(inputs)[0]))
        node.move(wanted[name] - node.forward(*inputs).mean(dim=(0, 1, 3, 4)))
        return node.forward(*inputs)

    net.eval().watch(x, see)
    handles = [node.register_forward_hook(lambda node, xs, out, name=name: correct(name, node, xs))
               for name, node in quant.eval().nodes().items() if isinstance(node, QuantSynapse)]
    try:
        quant(x)
    finally:
        for handle in handles:
            handle.remove()


def rounded(node: QuantSynapse, x: Tensor) -> Tensor:
    """Weights in whole steps of each channel's scale, by GPTQ: those of inputs that vary most first.

    Parameters
    ----------
    node : QuantSynapse
        Its weights are within the largest of their scale.
    x : [N, I, H, W]
        Its inputs.
    """
    conv, weight = node.conv, node.conv.weight
    places = len(x) * x.shape[2] * x.shape[3] // (conv.stride[0] * conv.stride[1])
    windows = F.unfold(x[:: max(1, places // SAMPLES)], conv.kernel_size, padding=conv.padding, stride=conv.stride)
    inputs = windows.transpose(0, 1).reshape(conv.groups, -1, len(windows) * windows.shape[2]).double()  # [G, D, samples]
    inputs -= inputs.mean(dim=2, keepdim=True)
    vary = inputs @ inputs.transpose(1, 2) / inputs.shape[2]
    power = vary.diagonal(dim1=1, dim2=2)
    vary = vary + torch.diag_embed((DAMPING * power.mean(dim=1, keepdim=True)).clamp(min=1e-9).expand_as(power))
    order = power.argsort(dim=1, descending=True, stable=True)
    rows = order[:, :, None].expand_as(vary)
    vary = vary.gather(1, rows).gather(2, rows.transpose(1, 2))
    inverse = torch.linalg.cholesky(torch.linalg.inv(vary), upper=True)  # [G, D, D]
    most = 2 ** (node.quant.weight_bits - 1) - 1
    scale = node.most.view(conv.groups, -1) / most  # [G, O / G]
    left = weight.reshape(*scale.shape, -1).double()
    left = left.gather(2, order[:, None].expand_as(left))
    found = torch.empty_like(left)
    for i in range(left.shape[2]):
        found[:, :, i] = (left[:, :, i] / scale).round().clamp(-most, most) * scale
        error = (left[:, :, i] - found[:, :, i]) / inverse[:, i, i, None]
        left[:, :, i:] -= error[:, :, None] * inverse[:, None, i, i:]
    return torch.empty_like(found).scatter_(2, order[:, None].expand_as(found), found).view_as(weight).to(weight.dtype)
