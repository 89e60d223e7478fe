"""Quantised networks equal the integer model in every tensor, whatever they are made of."""

from dataclasses import replace
from typing import Any

import numpy as np
import pytest
import torch

from golden.comparison import compare, random_qat
from golden.integer import network
from golden.models.attention import AttentionConfig
from golden.models.catalogue import CONFIGS
from golden.models.catalogue import build as build_network
from golden.models.network import as_input, export
from golden.models.neurons import Neuron, NeuronConfig
from golden.models.synapses import Quantisation
from golden.spec.encoding import DIFFERENCE, EVENTS, RGB, Encoding
from golden.spec.model import ATTENTION, CONV, HEAD, MASK, ModelError
from golden.spec.rules import faults

ENCODING = Encoding(height=16, width=24, timesteps=5, frames=2, patch=4)
SMALL: dict[str, Any] = {"encoding": ENCODING, "depths": (1, 1, 1), "dims": (16, 16, 32)}
SVFORMER: Any = replace(CONFIGS["svformer-nano"], **{**SMALL, "dims": (16, 32), "depths": (1, 1), "head_dim": 16})
SPIKEVIDEOFORMER: Any = replace(CONFIGS["spikevideoformer-jhmdb"], **SMALL, classes=("a", "b"))
THREE_STAGES = replace(SVFORMER, **{**SMALL, "head_dim": 8, "branch": True, "encoding": replace(ENCODING, patch=1)})

VARIANTS: dict[str, tuple[Any, dict[str, int]]] = {
    "nano": (SVFORMER, {}),
    "two blocks": (replace(SVFORMER, depths=(2, 2)), {}),
    "8-bit weights": (SVFORMER, {"weight_bits": 8}),
    "12-bit U": (SVFORMER, {"u_bits": 12}),
    "8-bit U": (SVFORMER, {"u_bits": 8, "u_frac": 4}),
    "PLIF, coarse U": (replace(SVFORMER, neuron=NeuronConfig(learned=True)), {"u_bits": 8, "u_frac": 2}),  # shifts go right, too
    "PLIF": (replace(SVFORMER, neuron=NeuronConfig(learned=True)), {}),
    "tau 4": (replace(SVFORMER, neuron=NeuronConfig(tau=4.0)), {}),
    "soft reset": (replace(SVFORMER, neuron=NeuronConfig(reset="soft", surrogate="sigmoid")), {}),
    "integer-LIF": (replace(SVFORMER, neuron=NeuronConfig(tau=1.0, levels=4)), {}),
    "leaky integer-LIF, soft reset": (replace(SVFORMER, neuron=NeuronConfig(levels=3, reset="soft")), {}),
    "branch": (THREE_STAGES, {}),
    "inverted blocks": (replace(SVFORMER, inverted=((3, 1, 1, 8, 1), (5, 2, 3, 16, 2))), {}),
    "colour, strided stem": (replace(SVFORMER, stem=(6, 4, 1), encoding=replace(ENCODING, kind=RGB, frames=1, patch=1)), {}),
    "differences": (replace(SVFORMER, encoding=Encoding(
        kind=DIFFERENCE, height=16, width=24, timesteps=5, frames=1, patch=4, threshold=9)), {}),
    "events": (replace(SVFORMER, encoding=Encoding(
        kind=EVENTS, height=16, width=24, timesteps=5, frames=1, patch=2, bits=3, sensor_height=16, sensor_width=24)), {}),
    "SpikeVideoFormer": (SPIKEVIDEOFORMER, {}),
    "SpikeVideoFormer, RepConv": (replace(SPIKEVIDEOFORMER, attention=AttentionConfig(rep=True)), {"weight_bits": 8}),
    **{f"{kind}, {design}, {scale}": (replace(SVFORMER, attention=AttentionConfig(kind=kind, design=design, scale=scale)), {})
       for kind, design, scale in (
           ("sdha", "spatial", "centred"), ("sdha", "factorised", "centred"), ("sdha", "hierarchical", "centred"),
           ("ssa", "spatial", "eighth"), ("ssa", "joint", "centred"), ("ssa", "factorised", "centred"),
           ("sdsa1", "spatial", "centred"), ("qk", "spatial", "centred"))},
}


@pytest.fixture(autouse=True)
def one_thread():
    before = torch.get_num_threads()
    torch.set_num_threads(1)
    yield
    torch.set_num_threads(before)


@pytest.mark.parametrize("variant", VARIANTS)
def test_every_variant_equals_its_integers(variant):
    config, widths = VARIANTS[variant]
    qat, inputs = random_qat(config, Quantisation(**widths), clips=4)
    graph, tensors = export(qat, {})
    assert faults(graph) == [], faults(graph)
    network.check(graph, tensors)
    bounds = network.accumulator_bounds(graph, tensors)
    assert all(bounds[x.name].membrane < 2**19 for x in graph.layers if x.op in ATTENTION)
    assert type(graph).from_json(graph.to_json()) == graph
    _, difference = compare(qat, graph, tensors, inputs)
    assert difference is None, str(difference)
    known = network.run(graph, tensors, inputs[0])
    rates = {x.spike_out: known[x.spike_out].mean() for x in graph.layers if x.spike_out}
    assert sum(0 < rate < graph.layers[0].levels for rate in rates.values()) > 0.8 * len(rates), rates  # spikes flow
    bits = widths.get("weight_bits", 4)
    assert all(x.weight_bits == bits for x in graph.layers if x.op in (CONV, HEAD) and not x.name.endswith("count"))
    assert max(np.abs(v).max() for n, v in tensors.items() if n.endswith("weight")) == 2 ** (bits - 1) - 1


def test_learned_tau_and_soft_reset_reach_the_graph():
    graph, _ = export(random_qat(VARIANTS["PLIF"][0], Quantisation())[0], {})
    assert len({x.leak for x in graph.layers if x.spike_out}) > 2
    for layer in graph.layers:
        if layer.spike_out and layer.op != MASK:
            assert layer.theta == round(64 * 16 / (16 - layer.leak))  # tau = 1 / (1 - leak)
    graph, _ = export(random_qat(VARIANTS["soft reset"][0], Quantisation())[0], {})
    assert {x.reset for x in graph.layers if x.spike_out} == {"soft"}


def test_published_networks_say_why_they_cannot_be_quantised():
    for name, parts in (("svformer-ucf101", ("per time step", "local blocks", "Conv3d", "another tau")),
                        ("spikevideoformer-15m", ("depthwise", "mean of U", "scale 'norm'"))):
        with pytest.raises(ModelError, match="cannot be quantised") as caught:
            build_network(CONFIGS[name], Quantisation())
        assert all(part in str(caught.value) for part in parts), caught.value


def test_a_float_network_is_not_exported():
    with pytest.raises(ModelError, match="fold it first"):
        export(build_network(SVFORMER), {})


def test_quantised_training_moves_every_parameter():
    qat, inputs = random_qat(VARIANTS["PLIF"][0], Quantisation(), clips=4)
    qat.train()
    loss = torch.nn.functional.cross_entropy(qat(as_input(inputs, ENCODING)) / 16, torch.arange(4))
    loss.backward()
    still = [name for name, value in qat.named_parameters() if value.grad is None or not value.grad.abs().sum() > 0]
    assert still == []
    assert any(isinstance(node, Neuron) and node.w is not None for node in qat.nodes().values())


def test_a_channel_without_weights_stays_silent():
    """Its scale is the least there is: its bias, of a channel that learned never to fire, would not fit an accumulator."""
    qat, inputs = random_qat(SVFORMER, Quantisation(), clips=2)
    stem: Any = qat.nodes()["stem"]
    with torch.no_grad():
        stem.conv.weight[3] *= 1e-6
        stem.bias[3] = -300.0
    graph, tensors = export(qat, {})
    network.check(graph, tensors)
    assert tensors["stem.bias"][3] == -(2**18)
    _, difference = compare(qat, graph, tensors, inputs)
    assert difference is None, str(difference)
    assert (network.run(graph, tensors, inputs[0])["stem.u"][..., 3] < 0).all()
