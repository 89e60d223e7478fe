"""Graphs over all operations: random ones run and keep their bounds, and what breaks a rule is named."""

from collections import Counter
from dataclasses import replace
from itertools import product
from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from golden.integer import network
from golden.integer.random_graph import KINDS, SMALL, random_graph
from golden.integer.random_model import random_clip
from golden.spec.encoding import Encoding
from golden.spec.model import ATTENTION, CONV, HEAD, INPUT, MASK, SCOPES, SDHA, SSA, Layer, Model, ModelError
from golden.spec.rules import faults

SEEDS = range(30)


@pytest.fixture(scope="module")
def graphs():
    return {seed: random_graph(seed, u_bits=(16, 12, 8)[seed % 3]) for seed in SEEDS}


def test_random_graphs_run_and_keep_their_bounds(graphs):
    for seed, (model, tensors) in graphs.items():
        network.check(model, tensors)
        bounds = network.accumulator_bounds(model, tensors)
        counts: dict[str, network.Count] = {}
        known = network.run(model, tensors, random_clip(SMALL, np.random.default_rng(seed)), counts)
        assert {name: value.shape for name, value in known.items()} == model.shapes() and model.result == list(known)[-1]
        for name, high in model.highs().items():
            assert known[name].dtype == np.uint8 and known[name].max() <= high
        for layer in model.layers:
            assert (counts[layer.name].pairs > 0) <= (layer.op in ATTENTION)
            if layer.u_out:
                u = known[layer.u_out]
                assert u.dtype == np.int16 and -(1 << model.u_bits - 1) <= u.min() and u.max() < 1 << model.u_bits - 1
            if layer.op != MASK:
                assert np.abs(network.accumulate(layer, tensors, known)).max() <= bounds[layer.name].acc


def test_spikes_flow_in_random_graphs(graphs):
    alive = total = 0
    for seed, (model, tensors) in graphs.items():
        known = network.run(model, tensors, random_clip(SMALL, np.random.default_rng(seed)))
        for layer in model.layers:
            if layer.spike_out:
                total += 1
                alive += 0 < (known[layer.spike_out] > 0).mean() < 1
    assert alive >= 0.95 * total


def test_random_graphs_have_every_operation(graphs):
    found: Counter[str] = Counter()
    for model, _ in graphs.values():
        for x in model.layers:
            neuron = x.spike_out and x.op != MASK
            found.update([
                f"{x.op} {x.scope}", f"bits {x.weight_bits}", "raw" if x is model.layers[-1] and x.op != HEAD else "",
                "concat" if x.op == CONV and len(x.inputs) > 1 else "", "upsample" if x.upsample > 1 else "",
                "depthwise" if x.depthwise else "grouped" if x.groups > 1 else "", "residual" if x.residual else "",
                f"{x.reset} {min(x.levels, 2)}" if neuron else "", "leak" if neuron and x.leak not in (0, 8, 16) else "",
            ])
    wanted = {
        "conv joint", "head joint", "mask joint", *(f"{op} {scope}" for op, scope in product(ATTENTION, SCOPES)), "raw", "concat",
        "upsample", "depthwise", "grouped", "residual", "bits 4", "bits 8", "hard 1", "hard 2", "soft 1", "soft 2", "leak",
    }
    assert not wanted - set(found)


def test_a_random_graph_is_its_seed_and_reads_back(graphs):
    again = random_graph(4, u_bits=12)
    assert again[0] == graphs[4][0] and all(np.array_equal(graphs[4][1][name], value) for name, value in again[1].items())
    for model, _ in graphs.values():
        assert Model.from_json(model.to_json()) == model and not faults(model)


def test_kinds_and_neurons_can_be_restricted():
    model, _ = random_graph(3, kinds=("dense", "hamming"), neurons=False)
    assert {x.op for x in model.layers} == {CONV, SDHA, HEAD}
    assert {(x.leak, x.reset, x.levels) for x in model.layers} == {(8, "hard", 1)}
    assert {"dense", "hamming", "qk"} <= set(KINDS)


@settings(deadline=None, max_examples=60)
@given(st.data())
def test_membranes_stay_within_their_bound(data):
    """Every sequence of extreme and middling inputs, exhaustively; constant extremes reach the bound of a neuron that forgets."""
    theta, leak = data.draw(st.integers(1, 12)), data.draw(st.integers(0, 16))
    levels = data.draw(st.integers(1, 3))
    step = data.draw(st.integers(1, 12)) if levels > 1 else 0
    reset = data.draw(st.sampled_from(["hard", "soft"]))
    largest, steps = data.draw(st.integers(0, 20)), 5
    layer = Layer(name="n", op=CONV, inputs=(INPUT,), channels=1, theta=theta, leak=leak, reset=reset, levels=levels, step=step)
    values = sorted({-largest, -1 % (largest + 1), min(theta, largest), largest})
    reached = 0
    for xs in product(values, repeat=steps):
        v = 0
        for x in xs:
            h = v * leak // 16 + x
            reached = max(reached, abs(h))
            s = sum(h >= theta + k * layer.spacing for k in range(levels))
            v = h - s * layer.spacing if reset == "soft" else h * (s == 0)
    bound = network._largest_membrane(layer, largest, steps)
    assert reached <= bound
    if leak == 0:
        assert reached == bound


def attention_model(op, scope, channels=64, heads=1, size=32, timesteps=128):
    encoding = Encoding(height=size, width=size, timesteps=timesteps, frames=1, patch=1)
    q = Layer(name="q", op=CONV, inputs=(INPUT,), channels=channels, spike_out="q.s", theta=1)
    a = Layer(name="a", op=op, inputs=("q.s",) * 3, channels=channels, heads=heads, scope=scope, u_out="out")
    tensors = {"q.weight": np.ones((channels, 1, 1, 1), np.int8)}
    for name in "qa":
        tensors |= {f"{name}.bias": np.zeros(channels, np.int32), f"{name}.shift": np.zeros(channels, np.int8)}
    return Model(name="attention", encoding=encoding, classes=(), layers=(q, a)), tensors


def test_bounds_of_attention():
    """2^17 tokens of 64 channels: one past what 24 bits hold, unless fewer tokens see each other."""
    for scope, tokens in (("joint", 128 * 32 * 32), ("frame", 32 * 32), ("position", 128)):
        for op, factor in ((SSA, 1), (SDHA, 3)):
            most = factor * 64 * tokens
            if most > 2**23 - 1:
                with pytest.raises(ModelError, match=rf"'a': acc can reach {most} > 8388607"):
                    network.accumulator_bounds(*attention_model(op, scope))
            else:
                assert network.accumulator_bounds(*attention_model(op, scope))["a"].acc == most
    model, tensors = attention_model(SSA, "frame", channels=8, heads=2, size=4, timesteps=2)
    known = network.run(model, tensors, np.full(model.encoding.shape, 255, np.uint8))
    assert network.accumulate(model.layers[1], tensors, known).max() == network.accumulator_bounds(model, tensors)["a"].acc


def test_bounds_of_grouped_sums_of_pixels_and_levels():
    """Two groups, one of pixels and one of spikes of three levels; all ones reach the bound."""
    encoding = Encoding(height=2, width=2, timesteps=1, frames=1, patch=1)
    layers = (
        Layer(name="a", op=CONV, inputs=(INPUT,), channels=1, spike_out="a.s", theta=1, levels=3),
        Layer(name="b", op=CONV, inputs=(INPUT, "a.s"), channels=2, groups=2, u_out="b.u"),
    )
    model = Model(name="two", encoding=encoding, classes=(), layers=layers)
    tensors: dict[str, np.ndarray] = {}
    for name, o in (("a", 1), ("b", 2)):
        tensors[f"{name}.weight"] = np.full((o, 1, 1, 1), 7, np.int8)
        tensors[f"{name}.bias"], tensors[f"{name}.shift"] = np.zeros(o, np.int32), np.zeros(o, np.int8)
    known = network.run(model, tensors, np.full(encoding.shape, 255, np.uint8))
    acc = network.accumulate(layers[1], tensors, known)
    assert acc[0, 0, 0].tolist() == [7 * 255, 7 * 3] and network.accumulator_bounds(model, tensors)["b"].acc == 7 * 255
    assert known["b.u"].max() == 7 * 255


def test_old_files_are_refused_by_name():
    text = random_graph(1)[0].to_json().replace('"channels"', '"depthwise": false, "channels"', 1)
    with pytest.raises(ModelError, match="'l0' has the field 'depthwise' of an older format"):
        Model.from_json(text)


SPIKES: dict[str, Any] = {"op": CONV, "inputs": (INPUT,), "channels": 8, "theta": 9}


def graph_with(*layers):
    """A sound graph (bits a.s, b.s of other channels, d.s at fewer places, levels c.s, residual a.u) with more layers in it."""
    encoding = Encoding(height=8, width=8, timesteps=4, frames=1, patch=2)
    base = (
        Layer(name="a", **SPIKES, spike_out="a.s", u_out="a.u"), Layer(name="b", **{**SPIKES, "channels": 12}, spike_out="b.s"),
        Layer(name="c", **SPIKES, spike_out="c.s", levels=3), Layer(name="d", **SPIKES, spike_out="d.s", stride=2),
    )
    usual: dict[str, Any] = {"name": "x", "op": CONV, "inputs": ("a.s",), "channels": 8, "spike_out": "x.s", "theta": 1}
    more = tuple(Layer(**{**usual, **x}) for x in layers)
    head = Layer(name="head", op=HEAD, inputs=("a.s",), channels=2)
    return Model(name="rules", encoding=encoding, classes=("m", "n"), layers=(*base, *more, head))


@pytest.mark.parametrize(("layer", "message"), [
    ({"op": "softmax"}, "no operation 'softmax'"),
    ({"inputs": ("a.u",)}, "input a.u is not a spike tensor"),
    ({"inputs": ("a.s", "d.s")}, "cannot be concatenated"),
    ({"groups": 3}, "8 to 8 channels do not divide into 3 groups"),
    ({"op": SSA, "inputs": ("a.s", "a.s")}, "do not make 8 channels of 1 heads"),
    ({"op": SDHA, "inputs": ("a.s", "a.s", "d.s")}, "do not make 8 channels"),
    ({"op": SDHA, "inputs": ("a.s",) * 3, "heads": 3}, "do not make 8 channels of 3 heads"),
    ({"op": SSA, "inputs": ("a.s", "a.s", "c.s")}, "'c.s' of 0..3 is not a tensor of single bits"),
    ({"op": SSA, "inputs": ("a.s",) * 3, "scope": "row"}, "scope 'row'"),
    ({"op": SSA, "inputs": ("a.s",) * 3, "upsample": 2}, "upsample 2 of a layer that is no convolution"),
    ({"op": SSA, "inputs": ("a.s",) * 3, "kernel": 3, "padding": 1}, "kernel 3, stride 1, padding 1 of a layer that is no"),
    ({"scope": "frame"}, "scope 'frame'"),
    ({"heads": 2}, "2 heads of a layer that is no attention"),
    ({"op": MASK, "inputs": ("a.s", "b.s"), "theta": 0}, "a, b of shapes"),
    ({"op": MASK, "inputs": ("a.s", "c.s"), "theta": 0}, "'c.s' of 0..3 is not a tensor of single bits"),
    ({"op": MASK, "inputs": ("a.s", "a.s"), "u_out": "x.u"}, "a mask makes spikes and nothing else"),
    ({"spike_out": ""}, "makes neither spikes nor residual values"),
    ({"residual": "a.s"}, "residual 'a.s' is not a residual tensor"),
    ({"theta": 0}, "theta = 0 fires without input"),
    ({"leak": 17}, r"leak = 17 sixteenths is outside 0\.\.16"),
    ({"reset": "none"}, "no reset 'none'"),
    ({"levels": 256}, "levels = 256 > 255"),
    ({"step": 5}, "step = 5 of a neuron with one threshold, 1"),
    ({"theta": 2**22, "levels": 2, "step": 2**22}, "thresholds up to 8388608 > 8388607"),
    ({"weight_bits": 5}, "weights of 5 bits"),
    ({"op": HEAD}, "a head, but not the last layer"),
])
def test_broken_rules_are_named(layer, message):
    model = graph_with(layer)
    assert any(where == "x" for where, _ in faults(model))
    with pytest.raises(ModelError, match=rf"layer 'x': .*{message}"):
        network.check(model, {})


def test_all_faults_are_reported_at_once():
    model = graph_with({"theta": 0, "groups": 3}, {"name": "y", "spike_out": "y.s", "leak": 99})
    assert not faults(graph_with()) and [where for where, _ in faults(model)] == ["x", "x", "y"]


@pytest.mark.parametrize(("change", "message"), [
    ({"stride": 0}, "has stride = 0"), ({"groups": 0}, "has groups = 0"), ({"inputs": ()}, "reads nothing"),
    ({"kernel": 9}, "has no output"), ({"residual": "d.s"}, "residual 'd.s' is"), ({"inputs": ("z",)}, "'z', which no layer"),
])
def test_impossible_shapes_are_refused(change, message):
    with pytest.raises(ModelError, match=f"layer 'x'.*{message}"):
        graph_with(change).shapes()


def test_results_and_classes_belong_together():
    model = graph_with()
    with pytest.raises(ModelError, match="neither a head nor makes a residual tensor"):
        replace(model, classes=(), layers=model.layers[:2]).shapes()
    with pytest.raises(ModelError, match="2 classes but the head has 0 outputs"):
        replace(model, layers=model.layers[:1]).shapes()
    assert replace(model, classes=(), layers=model.layers[:1]).result == "a.u" and model.result == "head"
