"""The committed network: quantised torch equals integers in every value, and it tells motions apart."""

from pathlib import Path

import numpy as np
import pytest
import torch
from safetensors.numpy import save_file

from golden.comparison import Divergence, compare, integer_score
from golden.data.digit_motion import make
from golden.encoding import encode
from golden.integer import network
from golden.models.catalogue import CONFIGS
from golden.models.checkpoint import load_checkpoint, save_checkpoint
from golden.models.network import as_input, export
from golden.models.synapses import Quantisation
from golden.spec.model import ModelError

WEIGHTS = Path(__file__).parents[1] / "weights"
NAME = "svformer-nano"
ENCODING = CONFIGS["svformer-nano"].encoding


@pytest.fixture(scope="module", autouse=True)
def one_thread():
    before = torch.get_num_threads()
    torch.set_num_threads(1)
    yield
    torch.set_num_threads(before)


@pytest.fixture(scope="module")
def committed():
    return network.load(WEIGHTS / f"{NAME}.safetensors")


def test_committed_network_equals_its_integers(committed):
    model, tensors = committed
    qat = load_checkpoint(WEIGHTS / f"{NAME}_qat.safetensors")
    equal, difference = compare(qat, model, tensors, encode(make("test", 24)[0], ENCODING), batch=16)
    assert difference is None and equal == 24 * sum(np.prod(s) for n, s in model.shapes().items() if n != "input")


def test_checkpoint_exports_to_the_committed_file(committed):
    model, tensors = committed
    graph, made = export(load_checkpoint(WEIGHTS / f"{NAME}_qat.safetensors"), model.card)
    assert graph == model
    assert all(np.array_equal(made[name], tensors[name]) for name in tensors)


def test_a_difference_is_found_and_named(committed):
    model, tensors = committed
    qat = load_checkpoint(WEIGHTS / f"{NAME}_qat.safetensors")
    wrong = {**tensors, "g0.fc1.bias": tensors["g0.fc1.bias"] + 8}
    _, difference = compare(qat, model, wrong, encode(make("test", 4)[0], ENCODING))
    assert isinstance(difference, Divergence) and difference.layer == "g0.fc1" and difference.found != difference.integer
    assert "layer 'g0.fc1', tensor 'g0.c' at t=" in str(difference)


def test_it_tells_motions_apart(committed):
    model, tensors = committed
    clips, labels = make("test", 96)
    score = integer_score(model, tensors, encode(clips, ENCODING), labels)
    assert score.accuracy >= 0.9
    assert all(0.005 < rate < 0.5 for rate in score.rates.values()), score.rates
    with torch.no_grad():
        logits = load_checkpoint(WEIGHTS / f"{NAME}_float.safetensors")(as_input(encode(clips, ENCODING), ENCODING))
    assert (logits.argmax(1).numpy() == labels).mean() >= 0.9


def test_order_is_what_it_sees(committed):
    """Clips played backwards get the other class of their pair."""
    model, tensors = committed
    clips, labels = make("test", 32)
    assert integer_score(model, tensors, encode(clips[:, ::-1], ENCODING), labels ^ 1).accuracy >= 0.9


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
        load_checkpoint(path)
    path.write_bytes((WEIGHTS / f"{NAME}_qat.safetensors").read_bytes()[:5000])
    with pytest.raises(ModelError, match="cannot read checkpoint"):
        load_checkpoint(path)
    save_file({"x": np.zeros(1)}, path, metadata={"config": "{}", "quant": "null"})
    with pytest.raises(ModelError, match="cannot read checkpoint"):
        load_checkpoint(path)


def test_checkpoints_keep_everything(tmp_path):
    qat = load_checkpoint(WEIGHTS / f"{NAME}_qat.safetensors")
    save_checkpoint(tmp_path / "c.safetensors", qat)
    again = load_checkpoint(tmp_path / "c.safetensors")
    assert again.config == qat.config == CONFIGS["svformer-nano"] and again.quant == qat.quant == Quantisation()
    assert all(torch.equal(value, again.state_dict()[name]) for name, value in qat.state_dict().items())
