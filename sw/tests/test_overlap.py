"""HAMMING beside LINEAR: the order in which the compiler brings attention, and what that saves."""

from dataclasses import replace
from itertools import pairwise

import numpy as np
import pytest
from hypothesis import assume, given, settings
from hypothesis import strategies as st

from golden.integer import network
from golden.integer.random_model import calibrate
from golden.spec.config import BASE, MICRO, SMALL
from golden.spec.descriptor import Opcode
from golden.spec.encoding import EVENTS, Encoding
from golden.spec.model import CONV, FRAME, HEAD, INPUT, JOINT, POSITION, SDHA, SSA, Layer, Model
from sw.compiler import compile_model, plan_model
from sw.cycles import predict
from sw.device.golden import GoldenDevice
from sw.driver import Driver
from sw.model_file import ModelFile
from sw.packing import Array

NAMES = "qkv"


def attention(channels, heads, scope=JOINT, op=SDHA, kernel=1, order="qkv", places=4, timesteps=8, seed=0, **more):
    """A network of one attention layer, its Q, K and V convolutions in some order."""
    rng = np.random.default_rng(seed)
    projections = {x: Layer(name=x, op=CONV, inputs=(INPUT,), channels=channels, kernel=kernel, padding=kernel // 2,
                            spike_out=f"{x}.s", theta=64) for x in NAMES}
    layers = (
        *(projections[x] for x in order),
        Layer(name="a", op=op, inputs=("q.s", "k.s", "v.s"), channels=channels, heads=heads, scope=scope, spike_out="a.s",
              theta=64, **more),
        Layer(name="head", op=HEAD, inputs=("a.s",), channels=2),
    )
    encoding = Encoding(kind=EVENTS, height=8 * places, width=8 * places, timesteps=timesteps, frames=1, patch=8, bits=1,
                        sensor_height=8 * places, sensor_width=8 * places)
    clip = (rng.random(encoding.shape) < 0.2).astype(np.uint8)
    tensors: dict[str, Array] = {}
    known: list[dict[str, Array]] = [{INPUT: clip}]
    for layer in layers:
        calibrate(layer, tensors, known, rng, (5, 25), 16)
    return ModelFile(Model(name="attention", encoding=encoding, classes=("one", "two"), layers=layers), tensors), clip


def order(source, config, program="run"):
    """Layers and opcodes of a program's LINEAR and HAMMING descriptors, in their order."""
    steps = compile_model(source, config).manifest.programs[program].steps
    return [f"{x.layer}*" if x.opcode == "hamming" else x.layer for x in steps if x.opcode in ("linear", "hamming")]


def check(source, config, clip):
    """Every layer of a trace, and the result without one, are the golden model's; `golden:` looks for hazards."""
    driver = Driver(GoldenDevice(config))
    driver.load(compile_model(source, config))
    expected = network.run(source.model, source.tensors, clip)
    for name, value in driver.trace(clip).tensors.items():
        assert np.array_equal(value, expected[name]), name
    assert np.array_equal(driver.run(clip).output, expected[source.model.result])


def test_heads_one_after_the_other():
    """K and V of the first head come first; its HAMMING runs beside those of the second, whose runs beside Q."""
    source, clip = attention(128, 2, kernel=3, places=8, timesteps=16)
    assert order(source, BASE) == ["k", "v", "a*", "k", "v", "a*", "q", "q", "a", "a", "head"]
    check(source, BASE, clip)


def test_all_of_it_is_hidden():
    """Once LINEAR has begun it waits for descriptors only, a few cycles each, while HAMMING runs twice."""
    source, clip = attention(128, 2, kernel=3, places=8, timesteps=16)
    bundle = compile_model(source, BASE)
    records = predict(bundle, BASE, clip).records
    opcodes = [x["opcode"] for x in bundle.descriptors("run")][: len(records)]
    assert sum(x["cycles"] for x, opcode in zip(records, opcodes, strict=True) if opcode == Opcode.HAMMING) > 10_000
    assert max(x["wait"] for x in records[2:]) < 200


def test_words_of_several_heads():
    """Nobody reads a word of K while a pass writes other heads to it: 24 channels a pass, heads of 16 in words of 32."""
    config = replace(MICRO, name="few", weight_rows=544, param_beats=24)
    source, clip = attention(48, 3)
    check(source, config, clip)


def test_many_heads_take_turns():
    """More heads than places for weights: each application starts the next HAMMING."""
    config = replace(SMALL, name="few", weight_rows=1024)
    source, clip = attention(192, 3)
    assert order(source, config) == ["k", "v", "a*", "k", "v", "q", "q", "a", "a*", "a", "a*", "a", "head"]
    check(source, config, clip)


def test_no_room_beside():
    """Where the weights of a convolution leave none to HAMMING, all is as it is without."""
    source, clip = attention(64, 1, kernel=3)
    config = replace(SMALL, name="narrow", weight_rows=768)
    assert order(source, config) == [*"qqqqkkkkvvvv", "a*", "a", "head"]
    check(source, config, clip)


@settings(max_examples=12, deadline=None)
@given(st.sampled_from(["qkv", "vkq", "kqv"]), st.sampled_from([JOINT, FRAME, POSITION]), st.sampled_from([SDHA, SSA]),
       st.sampled_from([(32, 2), (64, 1), (64, 4), (96, 6)]), st.sampled_from([MICRO, SMALL]), st.integers(0, 99))
def test_any_order_and_scope(way, scope, op, sizes, config, seed):
    """Whatever the order of layers, the scope and the heads: the same bits, no hazards."""
    channels, heads = sizes
    assume(channels // heads <= config.head_max)
    source, clip = attention(channels, heads, scope, op, order=way, places=2, timesteps=4, seed=seed)
    check(source, config, clip)


@pytest.mark.parametrize("words", [5120, 4096, 3072, 2112])
def test_memory_that_holds_less(words):
    """With Q, K, V or what they read outside, down to what only fits without."""
    source, clip = attention(64, 1, kernel=3, places=8, timesteps=16)
    config = replace(SMALL, name=f"words{words}", spike_words=words)
    check(source, config, clip)


def test_stages():
    """Q, K and V are one stage, attention another: what the former read need not live as long as what the latter makes."""
    source, _ = attention(128, 2, kernel=3, places=8, timesteps=16)
    plan, _ = plan_model(source, BASE)
    first, second = next((x, y) for x, y in pairwise(plan.stages) if y.layer.name == "a")
    assert {x.name for x in first.layers} == set(NAMES) and second.slots == first.slots and first.slots.count == 2
