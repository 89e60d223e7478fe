"""Calibration: weights as near as narrow ones can be, means as in the float network."""

from typing import Any

import pytest
import torch
from torch.nn.modules.batchnorm import _BatchNorm

from golden.calibration import calibrate, rounded
from golden.models.catalogue import CONFIGS, build
from golden.models.network import fold
from golden.models.synapses import FloatSynapse, Quantisation, QuantSynapse


def means(net: Any, x: torch.Tensor, kind: type) -> dict[str, torch.Tensor]:
    found: dict[str, torch.Tensor] = {}

    def see(name: str, node: Any, inputs: Any, output: torch.Tensor) -> None:
        if isinstance(node, kind):
            found[name] = output.mean(dim=(0, 1, 3, 4))

    with torch.no_grad():
        net.eval().watch(x, see)
    return found


@pytest.fixture
def trained() -> tuple[Any, torch.Tensor]:
    """A float network that has seen some clips, and others."""
    torch.manual_seed(1)
    net = build(CONFIGS["svformer-nano"])
    t, h, w, c = net.config.encoding.shape
    for norm in (m for m in net.modules() if isinstance(m, _BatchNorm)):
        norm.momentum = None  # the mean of all that it has seen
    net(torch.rand(t, 8, c, h, w))
    return net.eval(), torch.rand(t, 8, c, h, w)


def test_means_are_those_of_the_float_network(trained) -> None:
    net, x = trained
    wanted = means(net, x, FloatSynapse)
    plain, quant = (fold(net, Quantisation()) for _ in range(2))
    calibrate(net, quant, x)
    found, before = means(quant, x, QuantSynapse), means(plain, x, QuantSynapse)
    assert found.keys() == wanted.keys()
    synapses: dict[str, Any] = quant.nodes()
    for name, value in found.items():  # biases are multiples of a weight's step or of the residual's
        step = synapses[name].conv.quant_weight().scale.flatten().clamp(min=1 / Quantisation().grid)
        assert ((value - wanted[name]).abs() <= 0.51 * step).all(), name
    assert max((before[name] - wanted[name]).abs().max().item() for name in wanted) > 0.1


def test_clips_to_the_scale_of_least_error() -> None:
    torch.manual_seed(2)
    quant = Quantisation()
    node = QuantSynapse(quant, quant.conv(9, 16, 3), 1)
    weight = torch.randn(16, 9, 3, 3) * torch.logspace(-2, 0, 16).view(16, 1, 1, 1)
    node.load(weight, torch.zeros(16))

    def error() -> torch.Tensor:
        return ((node.conv.quant_weight().value - weight) ** 2).sum(dim=(1, 2, 3))

    before = error()
    node.clip()
    assert (error() <= before + 1e-9).all() and (error() < 0.8 * before).any()
    scale = node.conv.quant_weight().scale.clone()
    with torch.no_grad():
        node.conv.weight *= 3.0
    node.constrain()
    assert torch.equal(node.conv.quant_weight().scale, scale)


@torch.no_grad()
@pytest.mark.parametrize(("groups", "kernel", "stride"), [(1, 1, 1), (1, 3, 2), (12, 3, 1), (3, 3, 1)])
def test_rounded_weights_make_less_error_than_the_nearest(groups, kernel, stride) -> None:
    """Where inputs go together, the errors of some weights make up for those of others."""
    torch.manual_seed(3)
    quant = Quantisation()
    node = QuantSynapse(quant, quant.conv(12, 24, kernel, stride, kernel // 2, groups=groups), 1)
    weight = torch.randn(24, 12 // groups, kernel, kernel)
    node.load(weight, torch.zeros(24))
    node.clip()
    clipped, steps = node.conv.weight.clone(), node.most / 7
    x = torch.nn.functional.interpolate(torch.randn(64, 3, 5, 5), size=(16, 16), mode="bilinear")
    x = (torch.einsum("oi,nihw->nohw", torch.randn(12, 3), x) + 0.2 * torch.randn(64, 12, 16, 16)).clamp(0, 15).round()

    def error(w: torch.Tensor) -> float:
        y = torch.nn.functional.conv2d(x, w - weight, None, stride, kernel // 2, 1, groups)
        return y.var(dim=(0, 2, 3)).mean().item()

    found = rounded(node, x)
    assert torch.equal((found / steps).round() * steps, found) and (found.abs() <= node.most).all()
    assert error(found) < 0.6 * error((clipped / steps).round() * steps)
