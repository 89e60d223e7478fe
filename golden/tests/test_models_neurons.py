"""Neurons and synapses against naive loops in the published form."""

from typing import Any

import pytest
import torch
from torch import nn

from golden.models.neurons import Neuron, NeuronConfig
from golden.models.synapses import FloatSynapse, RepConv, SharedNorm, StepNorm


def naive(x, tau, *, threshold=1.0, soft=False):
    """LIF as published: H = V + (X - V) / tau, S = H >= threshold, hard reset to 0 or soft reset by the threshold."""
    v, spikes = torch.zeros_like(x[0]), []
    for t in range(len(x)):
        h = v + (x[t] - v) / tau
        s = (h >= threshold).to(x.dtype)
        v = h - threshold * s if soft else h * (1 - s)
        spikes.append(s)
    return torch.stack(spikes)


def noise(*shape, seed=0):
    return torch.randn(*shape, dtype=torch.double, generator=torch.Generator().manual_seed(seed)) * 2


@pytest.mark.parametrize("soft", [False, True])
@pytest.mark.parametrize("threshold", [1.0, 0.5])
@pytest.mark.parametrize("tau", [2.0, 1.0, 1.03, 4.4])
def test_lif_is_the_published_one(tau, threshold, soft):
    x = noise(16, 200)
    spikes = Neuron(NeuronConfig(tau=tau, reset="soft" if soft else "hard"), threshold, 0.0)(x)
    assert torch.equal(spikes, naive(x, tau, threshold=threshold, soft=soft)) and 0 < spikes.mean() < 1


def test_lif_by_hand():
    x = torch.tensor([1.0, 1.5, 0.0, 2.0, 1.9, 1.0, 1.0])
    # H: 0.5, 1.0 fires (equality), 0, 1.0 fires, 0.95, 0.975, 0.9875
    assert Neuron(NeuronConfig(), 1.0, 0.0)(x).tolist() == [0, 1, 0, 1, 0, 0, 0]


def test_plif_has_one_tau_a_layer_as_published():
    neuron: Any = Neuron(NeuronConfig(learned=True), 1.0, 0.0).double()
    x = noise(16, 200)
    assert [p.numel() for p in neuron.parameters()] == [1]
    assert torch.equal(neuron(x), naive(x, 2.0))
    nn.init.constant_(neuron.w, 0.7)
    tau = 1 / torch.sigmoid(neuron.w.detach())  # 1 / tau = sigmoid(w)
    assert torch.equal(neuron(x), naive(x, tau))


def test_integer_lif_is_the_published_one():
    """Integers round(clip(x, 0, D)), halves up; source: Spike-driven Transformer v3, QSD."""
    x = torch.linspace(-2, 7, 181, dtype=torch.double)[None]  # with every half
    spikes = Neuron(NeuronConfig(tau=1.0, levels=4), 1.0, 0.0)(x)
    assert torch.equal(spikes, torch.floor(x.clamp(0, 4) + 0.5)) and set(spikes.flatten().tolist()) == {0, 1, 2, 3, 4}


@pytest.mark.parametrize("config", [
    NeuronConfig(), NeuronConfig(tau=3.0, surrogate="sigmoid"), NeuronConfig(reset="soft"), NeuronConfig(learned=True),
    NeuronConfig(learned=True, reset="soft", surrogate="sigmoid"),
])
def test_gradients_are_those_of_autograd(config):
    """The published recurrence, with the surrogate's gradient and none through the reset, differentiated by autograd."""
    class Step(torch.autograd.Function):
        @staticmethod
        def forward(ctx, u):
            ctx.save_for_backward(u)
            return (u >= 0).to(u.dtype)

        @staticmethod
        def backward(ctx, grad):
            (u,) = ctx.saved_tensors
            if config.surrogate == "atan":
                return grad / (1 + (torch.pi * u) ** 2)
            return grad * 4 * torch.sigmoid(4 * u) * torch.sigmoid(-4 * u)

    x = noise(6, 20, seed=1).requires_grad_()
    weight = noise(6, 20, seed=2)
    neuron: Any = Neuron(config, 1.0, 0.0).double()
    a = torch.sigmoid(neuron.w) if config.learned else 1 / config.tau
    v, spikes = torch.zeros(20, dtype=torch.double), []
    for t in range(6):
        # h = H / a, so that the reset of v, which carries no gradient, is the same in both forms
        h = (1 - a) * v + x[t]
        s = Step.apply(a * h - 1)
        v = h - (s / a).detach() if config.reset == "soft" else h * (1 - s.detach())
        spikes.append(s)
    inputs = [x, *neuron.parameters()]
    expected = torch.autograd.grad((torch.stack(spikes) * weight).sum(), inputs)
    found = torch.autograd.grad((neuron(x) * weight).sum(), inputs)
    torch.testing.assert_close(found, expected)


def test_gradient_of_integer_lif_is_that_of_a_clipped_line():
    x = torch.tensor([[-0.5, 0.1, 1.7, 3.9, 4.2]], requires_grad=True)
    Neuron(NeuronConfig(tau=1.0, levels=4), 1.0, 0.0)(x).sum().backward()
    assert x.grad is not None and x.grad.tolist() == [[0, 1, 1, 1, 0]]


def test_neurons_on_a_grid_floor_the_leak():
    """By hand, in steps of 1/64: h = (v >> 1) + x; 5 -> 2 + 3 = 5; -5 -> -3 + 3 = 0."""
    x = torch.tensor([[5.0, -5.0], [3.0, 3.0], [126.0, 128.0]]) / 64
    assert Neuron(NeuronConfig(), 1.0, 64.0)(x)[2].tolist() == [1, 1]  # (5 >> 1) + 126 = 128
    assert Neuron(NeuronConfig(), 1.0, 64.0)(x - torch.tensor([0, 1 / 64]))[2].tolist() == [1, 0]


@pytest.mark.parametrize("fields", [
    {"tau": 0.5}, {"tau": 1.0, "learned": True}, {"reset": "firm"}, {"surrogate": "x"}, {"levels": 0},
])
def test_neurons_that_make_no_sense_are_refused(fields):
    with pytest.raises(ValueError, match=r"tau = |a neuron has"):
        NeuronConfig(**fields)


def test_batch_norm_per_step_is_batch_norm_over_time_and_channels():
    torch.manual_seed(0)
    ours, published = StepNorm(3, 4).double(), nn.BatchNorm2d(12).double()
    nn.init.normal_(ours.weight)
    published.load_state_dict(ours.state_dict())
    x = noise(3, 5, 4, 2, 2)

    def reference(x):  # [T, B, C, H, W] -> [B, T C, H, W]
        return published(x.permute(1, 0, 2, 3, 4).flatten(1, 2)).unflatten(1, (3, 4)).permute(1, 0, 2, 3, 4)

    for training in (True, True, False):
        ours.train(training), published.train(training)
        torch.testing.assert_close(ours(x), reference(x))
    torch.testing.assert_close(ours.state_dict(), published.state_dict())
    with pytest.raises(ValueError, match="2 steps of 4 channels"):
        ours(x[:2])


def test_rep_conv_merges_into_one_dense_convolution_borders_included():
    torch.manual_seed(0)
    rep = RepConv(6, 8).double()
    for parameter in rep.parameters():
        if parameter.ndim == 1:
            nn.init.normal_(parameter)
    synapse = FloatSynapse(rep, SharedNorm(8).double())
    x = noise(2, 3, 6, 5, 4).gt(0).double()
    synapse(x)  # statistics of their own
    synapse.eval()
    weight, bias = synapse.folded()
    assert weight.shape == (8, 6, 3, 3)
    merged = torch.nn.functional.conv2d(x.flatten(0, 1), weight, bias, padding=1).unflatten(0, (2, 3))
    torch.testing.assert_close(merged, synapse(x), rtol=1e-12, atol=1e-12)


@pytest.mark.parametrize("bias", [False, True])
def test_folding_is_convolution_and_batch_norm(bias):
    torch.manual_seed(0)
    synapse: Any = FloatSynapse(nn.Conv2d(4, 6, 3, 2, 1, bias=bias), SharedNorm(6)).double()
    nn.init.normal_(synapse.bn.weight)
    x = noise(2, 3, 4, 8, 8).gt(0).double()
    synapse(x)
    synapse.eval()
    weight, folded = synapse.folded()
    merged = torch.nn.functional.conv2d(x.flatten(0, 1), weight, folded, stride=2, padding=1).unflatten(0, (2, 3))
    torch.testing.assert_close(merged, synapse(x))
