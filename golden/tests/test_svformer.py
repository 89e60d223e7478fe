"""The published networks: their sizes, full-size passes, and configurations as JSON."""

import json
import subprocess
import sys
from dataclasses import replace

import pytest
import torch

from golden.models.catalogue import CONFIGS, build, config_from_json, config_to_json
from golden.models.neurons import Neuron
from golden.spec.model import ModelError

#: Published: SVFormer's training log; SpikeVideoFormer 15.117 M, 31.340 M, 55.359 M at 1000 classes. The exact numbers are ours.
PARAMETERS = {
    "svformer-ucf101": 13_801_612, "spikevideoformer-15m": 15_116_720, "spikevideoformer-31m": 31_340_392,
    "spikevideoformer-55m": 55_358_952, "spikevideoformer-123m": 123_754_216,
}


@pytest.mark.parametrize("name", PARAMETERS)
def test_published_networks_have_their_number_of_parameters(name):
    with torch.device("meta"):
        net = build(CONFIGS[name])
    assert sum(p.numel() for p in net.parameters()) == PARAMETERS[name]


def test_svformer_has_39_neurons_that_learn_tau():
    with torch.device("meta"):
        net = build(CONFIGS["svformer-ucf101"])
    assert sum(isinstance(m, Neuron) and m.w is not None for m in net.modules()) == 39


@pytest.mark.parametrize(("name", "limit"), [("svformer-jhmdb", 1_200_000), ("spikevideoformer-jhmdb", 1_200_000),
                                             ("svformer-nmnist", 320_000), ("svformer-nano", 120_000)])
def test_small_networks_are_small(name, limit):
    config = CONFIGS[name]
    assert sum(p.numel() for p in build(config).parameters()) <= limit
    assert all(dim % 16 == 0 for dim in config.dims) and config.obstacles() == []


FULL = """
import resource, sys, torch
from golden.models.catalogue import CONFIGS, build
config = CONFIGS[sys.argv[1]]
net, (t, h, w, c) = build(config).eval(), config.encoding.shape
streams = []
for module in net.modules():
    module.register_forward_hook(lambda m, x, y: streams.append(list(y.shape)) if type(m).__name__ == "Add" else None)
with torch.no_grad():
    logits = net(torch.rand(t, 1, c, h, w))
assert torch.isfinite(logits).all()
seen = [s for s, before in zip(streams, [None, *streams]) if s != before]
print([[t, 1, c, h, w], list(logits.shape), seen, resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 2**20])
"""


@pytest.mark.parametrize(("name", "streams"), [
    pytest.param("svformer-ucf101", [[128, 56], [256, 28], [384, 14], [512, 7]], id="svformer"),
    pytest.param("spikevideoformer-15m", [[32, 112], [64, 56], [128, 28], [256, 14], [360, 14]], id="15m"),
    pytest.param("spikevideoformer-55m", [[64, 112], [128, 56], [256, 28], [512, 14], [640, 14]], id="55m",
                 marks=pytest.mark.slow),
    pytest.param("spikevideoformer-123m", [[96, 112], [192, 56], [384, 28], [768, 14], [960, 14]], id="123m",
                 marks=pytest.mark.slow),
])
def test_full_size_passes(name, streams):
    """One clip of 224 x 224 through the published network; the peak memory of the process stays below 2 GiB."""
    done = subprocess.run([sys.executable, "-c", FULL, name], capture_output=True, text=True, check=True)
    *found, peak = json.loads(done.stdout)
    t = CONFIGS[name].encoding.timesteps
    assert found == [[t, 1, 3, 224, 224], [1, len(CONFIGS[name].classes)], [[t, 1, c, s, s] for c, s in streams]]
    assert peak < 2, f"{name}: {peak} GiB"


@pytest.mark.slow
@pytest.mark.parametrize("name", ["svformer-ucf101-hw", "spikevideoformer-15m-hw"])
def test_full_size_networks_equal_their_integers(name):
    """Measured: 45 layers, 129 million values; 82 layers, 126 million values; about 2 GiB each."""
    done = subprocess.run([sys.executable, "-m", "golden.comparison", name], capture_output=True, text=True, check=False)
    assert done.returncode == 0 and done.stdout.startswith(f"equal: {name}"), done.stdout + done.stderr
    assert float(done.stdout.split()[-2]) < 3


@pytest.mark.parametrize("name", CONFIGS)
def test_configurations_survive_json(name):
    config = CONFIGS[name]
    again = config_from_json(config_to_json(config))
    assert again == config and type(again) is type(config) and config.name == name
    assert config_from_json(config_to_json(replace(config, depths=(2, 2)))) != config


@pytest.mark.parametrize("change", [
    {"model": "resnet"}, {"surprise": 1}, {"encoding": {}}, {"encoding": None}, {"attention": {"kind": "softmax"}},
])
def test_text_that_is_no_configuration_is_refused(change):
    data = {**json.loads(config_to_json(CONFIGS["svformer-nano"])), **change}
    with pytest.raises(ModelError, match="not a configuration of svformer or spikevideoformer"):
        config_from_json(json.dumps(data))
