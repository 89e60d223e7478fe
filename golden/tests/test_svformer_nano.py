"""The committed network: QAT equals integers in every value, and it tells motions apart."""

from dataclasses import replace

import numpy as np
import pytest
import torch
from safetensors.numpy import save_file

from golden.__main__ import WEIGHTS
from golden.comparison import Divergence, compare, integer_score
from golden.data.digit_motion import make
from golden.integer import network, ops
from golden.integer.encode import encode as encode_frames
from golden.models.svformer_nano import NanoConfig, SVFormerNano, encode, export, fire, fold, hamming_attention
from golden.spec.model import ModelError
from golden.training import NAME, accuracy, load_checkpoint


@pytest.fixture(scope="module", autouse=True)
def one_thread():
    before = torch.get_num_threads()
    torch.set_num_threads(1)
    yield
    torch.set_num_threads(before)


@pytest.fixture(scope="module")
def committed():
    return network.load(WEIGHTS / f"{NAME}.safetensors")


def test_float_neuron_is_the_published_one():
    x = torch.randn(16, 50, generator=torch.Generator().manual_seed(0)) * 2
    v = torch.zeros(50)
    spikes = fire(x)
    for t in range(16):
        h = (v + x[t]) / 2  # charge
        s = (h >= 1).float()  # fire
        v = h * (1 - s)  # reset
        assert torch.equal(spikes[t], s)


def test_neuron_gradient_is_that_of_autograd():
    class Step(torch.autograd.Function):
        @staticmethod
        def forward(ctx, h):
            ctx.save_for_backward(h)
            return (h >= 1).to(h.dtype)

        @staticmethod
        def backward(ctx, grad):
            (h,) = ctx.saved_tensors
            return grad / (1 + (torch.pi * (h - 1)) ** 2)

    x = torch.randn(6, 20, dtype=torch.double, generator=torch.Generator().manual_seed(1), requires_grad=True)
    v, spikes = torch.zeros(20, dtype=torch.double), []
    for t in range(6):
        h = (v + x[t]) / 2
        spikes.append(Step.apply(h))
        v = h * (1 - spikes[-1].detach())
    weight = torch.randn(6, 20, dtype=torch.double)
    (expected,) = torch.autograd.grad((torch.stack(spikes) * weight).sum(), x)
    (found,) = torch.autograd.grad((fire(x) * weight).sum(), x)
    # here h = 2H, so the surrogate's slope is taken by h: twice that by H
    torch.testing.assert_close(found, 2 * expected)


def test_attention_equals_the_integer_one():
    rng = np.random.default_rng(0)
    q, k, v = (rng.integers(0, 2, (3, 2, 2, 8), np.uint8) for _ in range(3))
    qt, kt, vt = (torch.from_numpy(x).float().permute(0, 3, 1, 2)[:, None] for x in (q, k, v))
    out = hamming_attention(qt, kt, vt, 2)[:, 0].permute(0, 2, 3, 1)
    np.testing.assert_array_equal(out.numpy(), ops.sdha(q, k, v, 2))


def test_committed_network_equals_its_integers(committed):
    model, tensors = committed
    qat = load_checkpoint(WEIGHTS / f"{NAME}_qat.safetensors", quant=True)
    equal, difference = compare(qat, model, tensors, make("test", 24)[0], batch=16)
    assert difference is None and equal == 24 * sum(np.prod(s) for n, s in model.shapes().items() if n != "input")


def test_checkpoint_exports_to_the_committed_file(committed):
    model, tensors = committed
    graph, made = export(load_checkpoint(WEIGHTS / f"{NAME}_qat.safetensors", quant=True), model.card)
    assert graph == model
    assert all(np.array_equal(made[name], tensors[name]) for name in tensors)


@pytest.mark.parametrize("blocks", [1, 2])
def test_any_network_equals_its_integers(blocks):
    """Fresh weights and every bias, scale and shift off its default, on noise that reaches every pixel value."""
    torch.manual_seed(blocks)
    config = NanoConfig(size=16, timesteps=5, local=16, wide=32, blocks=blocks)
    model = SVFormerNano(config)
    clips = np.random.default_rng(0).integers(0, 256, (6, 5, 16, 16), np.uint8)
    x = encode(encode_frames(clips, config.encoding))
    for name, value in model.named_parameters():
        if "bn" in name:
            value.data += torch.randn_like(value) * 0.5 if value.requires_grad else 0
    model.train()
    for _ in range(30):
        model(x)
    qat = fold(model).eval()
    graph, tensors = export(qat, {})
    network.check(graph, tensors)
    shifts = np.concatenate([tensors[f"{layer.name}.shift"] for layer in graph.layers])
    assert len(np.unique(shifts)) > 4
    _, difference = compare(qat, graph, tensors, clips)
    assert difference is None, str(difference)


def test_a_difference_is_found_and_named(committed):
    model, tensors = committed
    qat = load_checkpoint(WEIGHTS / f"{NAME}_qat.safetensors", quant=True)
    wrong = {**tensors, "g0.fc1.bias": tensors["g0.fc1.bias"] + 8}
    _, difference = compare(qat, model, wrong, make("test", 4)[0])
    assert isinstance(difference, Divergence) and difference.layer == "g0.fc1" and difference.found != difference.integer
    assert "layer 'g0.fc1', tensor 'g0.c' at t=" in str(difference)


def test_it_tells_motions_apart(committed):
    clips, labels = make("test", 96)
    score = integer_score(committed[0], committed[1], clips, labels)
    assert score.accuracy >= 0.9
    assert all(0.005 < rate < 0.5 for rate in score.rates.values()), score.rates
    assert accuracy(load_checkpoint(WEIGHTS / f"{NAME}_float.safetensors", quant=False), clips, labels) >= 0.9


def test_order_is_what_it_sees(committed):
    """Clips played backwards get the other class of their pair."""
    clips, labels = make("test", 32)
    assert integer_score(committed[0], committed[1], clips[:, ::-1], labels ^ 1).accuracy >= 0.9


def test_membranes_and_weights_are_those_of_the_contract(committed):
    model, tensors = committed
    network.accumulator_bounds(model, tensors)
    assert all(layer.theta == 2 << model.u_frac for layer in model.layers if layer.spike_out)
    assert all(layer.weight_bits == 4 for layer in model.layers)
    assert {"data", "command", "seed", "integer accuracy"} <= set(model.card)
    assert sum(v.size for k, v in tensors.items() if k.endswith("weight")) <= 120_000


def test_damaged_checkpoints_are_refused(tmp_path):
    path = tmp_path / "c.safetensors"
    with pytest.raises(ModelError, match="cannot read checkpoint"):
        load_checkpoint(path, quant=True)
    path.write_bytes((WEIGHTS / f"{NAME}_qat.safetensors").read_bytes()[:5000])
    with pytest.raises(ModelError, match="cannot read checkpoint"):
        load_checkpoint(path, quant=True)
    save_file({"x": np.zeros(1)}, path, metadata={"local": "32"})
    with pytest.raises(ModelError, match="cannot read checkpoint"):
        load_checkpoint(path, quant=True)


def test_two_block_graph_runs():
    graph = replace(NanoConfig(), blocks=2).graph()
    assert graph.shapes()["g1.a"] == (16, 4, 4, 64)
