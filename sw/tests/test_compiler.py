"""Compiled programs on the functional machine give the tensors of the integer golden model, for every shape of model."""

from dataclasses import replace
from fractions import Fraction
from itertools import pairwise

import numpy as np
import pytest
from numpy.lib.stride_tricks import sliding_window_view

from golden.integer import network
from golden.integer.ops import join
from golden.integer.random_model import NANO, random_clip, random_model
from golden.spec import descriptor
from golden.spec.config import BASE, MICRO, SMALL, SMALL_GW2AR
from golden.spec.model import CONV, HEAD, INPUT, SDHA, Encoding, Layer, Model
from sw.compiler import compile_model, plan_model
from sw.device.golden import GoldenDevice
from sw.driver import Driver
from sw.model_file import ModelFile
from sw.program import SHARE
from sw.support import UnsupportedError
from sw.tests.conftest import TINY


def descriptors(bundle, name):
    program = bundle.manifest.programs[name]
    size = len(program.steps) * descriptor.BYTES
    words = bundle.image[program.offset : program.offset + size].view("<u4").reshape(-1, descriptor.WORDS)
    return [descriptor.decode([int(x) for x in row]) for row in words]


def made_again(plan, model, known):
    """Synaptic operations of layers some of whose places several tiles make: by share of new places, in 64ths."""
    found: dict[str, Fraction] = {}
    for stage, cut in zip(plan.stages, plan.cuts, strict=True):
        for layer in (x for x in model.layers if stage.ways.get(x.name)):
            given = join([known[x] for x in layer.inputs], layer.upsample)
            bits = np.bitwise_count(given).sum(axis=(0, 3), dtype=np.int64)
            seen = sliding_window_view(np.pad(bits, layer.padding), (layer.kernel, layer.kernel))
            seen = seen[:: layer.stride, :: layer.stride]
            work, done = seen.sum(axis=(2, 3)) * (layer.channels // layer.groups), np.zeros(stage.places(layer.name), bool)
            for tile in cut.tiles():
                rows, columns = stage.rows(layer.name, tile.rows), stage.columns(layer.name, tile.columns)
                own = slice(rows.start, rows.stop), slice(columns.start, columns.stop)
                share = Fraction(int((~done[own]).sum()), done[own].size)
                counted = Fraction(round(share * SHARE), SHARE) * int(work[own].sum())
                found[layer.name] = found.get(layer.name, Fraction(0)) + counted
                done[own] = True
            assert done.all(), layer.name
    return {name: int(x) for name, x in found.items()}


def check_equal(source, config, clips):
    bundle, plan = compile_model(source, config), plan_model(source, config)[0]
    for name in ("run", "trace"):
        check_prefetch(descriptors(bundle, name), config)
    driver = Driver(GoldenDevice(config))
    driver.load(bundle)
    for clip in clips:
        counts: dict[str, network.Count] = {}
        expected = network.run(source.model, source.tensors, clip, counts)
        traced = driver.trace(clip)
        assert set(traced.tensors) == set(expected) - {INPUT}
        for name, value in traced.tensors.items():
            assert value.dtype == expected[name].dtype and np.array_equal(value, expected[name]), name
        plain = driver.run(clip)
        result = expected[source.model.result]
        assert plain.output.dtype == result.dtype and np.array_equal(plain.output, result)
        assert plain.index == (network.classify(source.model, expected) if source.model.classes else -1)
        again = made_again(plan, source.model, expected)
        for name, count in counts.items():
            assert plain.layers[name].sops == again.get(name, count.sop), name
        assert plain.saturations == sum(x.saturations for x in counts.values())
    return bundle


def regions(d):
    """Bank rows and parameter beats that a descriptor uses."""
    if d["opcode"] not in (descriptor.Opcode.LINEAR, descriptor.Opcode.HAMMING):
        return set(), set()
    return d["rows_used"], d["beats_used"]


def check_prefetch(program, config):
    """What loads early touches nothing that the descriptor before uses."""
    for d in program:
        if d["opcode"] in (descriptor.Opcode.LINEAR, descriptor.Opcode.HAMMING):
            rows = d["groups"] * d["slice_words"] * d["slices"] * (1 if d["lanewise"] else config.word)
            if d["opcode"] == descriptor.Opcode.LINEAR and not d["in_h"]:
                rows = 0  # nothing is read, no weights are used
            apart = 1 if d["lanewise"] else config.issue
            d["rows_used"] = set(range(d["weight_base"], d["weight_base"] - (-rows // apart)))
            d["beats_used"] = set(range(d["param_base"], d["param_base"] + d["groups"] * config.beats))
            assert max(d["rows_used"], default=0) < config.weight_rows and max(d["beats_used"]) < config.param_beats
            assert d["weight_base"] % config.rows_per_word == 0 and d["weight_rows"] % config.issue == 0
    for before, d in pairwise(program):
        if d["prefetch"]:
            rows, beats = regions(before)
            if d["weight_rows"]:
                assert not d["rows_used"] & rows
            assert not d["beats_used"] & beats
    for i, made in enumerate(program):
        if made["opcode"] == descriptor.Opcode.HAMMING:
            user = next(d for d in program[i + 1 :] if regions(d) == regions(made))
            assert user["opcode"] == descriptor.Opcode.LINEAR and not user["weight_rows"] and not user["param_beats"]
            assert user["after_hamming"] or not made["beside"]
            for d in program[i + 1 : program.index(user)]:
                assert not regions(d)[0] & regions(made)[0] and not regions(d)[1] & regions(made)[1]


def clips(encoding, count=1):
    rng = np.random.default_rng(11)
    return [random_clip(encoding, rng) for _ in range(count)]


@pytest.mark.parametrize("config", [MICRO, SMALL, BASE], ids=lambda c: c.name)
def test_nano_is_the_golden_model(config):
    bundle = check_equal(ModelFile(*random_model(3)), config, clips(NANO))
    assert all(d["prefetch"] for d in descriptors(bundle, "run") if d["weight_rows"])


def test_nano_on_a_machine_that_spills_it():
    """What the board with a GW2AR-18 is to run."""
    assert check_equal(ModelFile(*random_model(3)), SMALL_GW2AR, clips(NANO)).manifest.spill_bytes


@pytest.mark.parametrize("config", [BASE, replace(SMALL, name="pairs", taps=2)], ids=lambda c: c.name)
def test_depthwise_layers_read_taps_together(config):
    """Of odd and even strides, of an enlarged tensor and of one that others read, too; but attention's K and V have no gaps."""
    def layer(name, source, kernel, **more):
        return Layer(name=name, op=CONV, inputs=source, channels=72, kernel=kernel, padding=kernel // 2, theta=3,
                     spike_out=f"{name}.s", **more)

    layers = (
        layer("a", (INPUT,), 1), layer("b", ("a.s",), 5, groups=72), layer("c", ("a.s",), 3, groups=72, upsample=2),
        layer("d", ("b.s",), 3, groups=72), replace(layer("e", ("d.s", "a.s"), 1), channels=16),
        Layer(name="x", op=SDHA, inputs=("e.s", "e.s", "e.s"), channels=16, spike_out="x.s", theta=3),
        Layer(name="y", op=CONV, inputs=("e.s",), channels=16, kernel=3, padding=1, groups=16, spike_out="y.s", theta=3),
        *(Layer(name=f"h{x[0]}", op=CONV, inputs=(x,), channels=8, spike_out=f"h{x[0]}.s", theta=3) for x in ("x.s", "y.s")),
        Layer(name="k", op=CONV, inputs=("c.s",), channels=8, kernel=2, stride=2, spike_out="k.s", theta=3),
        Layer(name="head", op=HEAD, inputs=("hx.s", "hy.s", "k.s"), channels=2),
    )
    encoding = Encoding(height=6, width=7, timesteps=8, frames=1, patch=1)
    rng = np.random.default_rng(9)
    model = Model(name="gaps", encoding=encoding, classes=("one", "two"), layers=layers)
    shapes, tensors = model.shapes(), dict[str, np.ndarray]()
    for x in layers:
        tensors |= {f"{x.name}.bias": rng.integers(-3, 3, x.channels, np.int32), f"{x.name}.shift": np.zeros(x.channels, np.int8)}
        if x.op != SDHA:
            tensors[f"{x.name}.weight"] = rng.integers(-8, 8, x.weight_shape(shapes), np.int8)
    bundle = check_equal(ModelFile(model, tensors), config, clips(encoding, 1))
    steps = bundle.manifest.programs["run"].steps
    found = {step.layer: descriptor.taps_at_once(d, config)
             for step, d in zip(steps, descriptors(bundle, "run"), strict=True) if d["lanewise"] and d["kernel_w"] > 1}
    assert found == {"b": config.taps, "c": config.taps, "d": config.taps, "y": 1}


@pytest.mark.parametrize("sizes", [
    {"local": 16, "wide": 32, "heads": 1}, {"local": 24, "wide": 40, "heads": 5, "blocks": 2},
    {"local": 8, "wide": 64, "heads": 8}, {"local": 40, "wide": 128, "heads": 4, "ratio": 1},
    {"local": 16, "wide": 16, "heads": 4},
], ids=str)
@pytest.mark.parametrize("config", [MICRO, SMALL, BASE], ids=lambda c: c.name)
def test_shapes(config, sizes):
    check_equal(ModelFile(*random_model(4, TINY, 11, **sizes)), config, clips(TINY))


@pytest.mark.parametrize("config", [
    replace(SMALL, name="few rows", weight_rows=256), replace(SMALL, name="few parameters", param_beats=16),
    replace(SMALL, name="one group", weight_rows=272), replace(MICRO, name="few", weight_rows=544, param_beats=24),
], ids=lambda c: c.name)
def test_weights_split_over_lane_groups(config):
    bundle = check_equal(ModelFile(*random_model(5, TINY, local=16, wide=48, heads=3)), config, clips(TINY))
    assert len([x for x in bundle.manifest.programs["run"].steps if x.layer in ("down", "g0.fc1")]) > 2


def test_eight_bit_weights_and_wide_encodings():
    encoding = Encoding(height=20, width=12, timesteps=8, frames=1, patch=4)
    model, tensors = random_model(6, encoding, local=16, wide=32)
    rng = np.random.default_rng(6)
    layers = tuple(x if x.op == SDHA or x.depthwise else replace(x, weight_bits=8) for x in model.layers)
    for layer in layers:
        if layer.weight_bits == 8:
            weight = tensors[f"{layer.name}.weight"]
            tensors[f"{layer.name}.weight"] = rng.integers(-128, 128, weight.shape, np.int8)
    tensors["head.bias"] = rng.integers(-5, 5, 8, np.int32)
    check_equal(ModelFile(replace(model, layers=layers), tensors), SMALL, clips(encoding, 2))


def test_pixels_through_every_kind_of_convolution():
    """The input, with its planes, as source of strided, padded and depthwise layers and of the head."""
    rng = np.random.default_rng(8)
    encoding = Encoding(height=10, width=14, timesteps=4, frames=2, patch=1)
    layers = (
        Layer(name="a", op=CONV, inputs=(INPUT,), channels=20, kernel=3, stride=2, padding=1, spike_out="a.s", theta=900),
        Layer(name="b", op=CONV, inputs=(INPUT,), channels=2, kernel=3, padding=2, groups=2, u_out="b.u", spike_out="b.s",
              theta=500),
        Layer(name="c", op=CONV, inputs=("b.s",), channels=2, residual="b.u", u_out="c.u"),
        Layer(name="d", op=CONV, inputs=("a.s",), channels=33, kernel=2, stride=3, spike_out="d.s", theta=9, weight_bits=8),
        Layer(name="h", op=HEAD, inputs=(INPUT,), channels=3),
    )
    model = Model(name="odd", encoding=encoding, classes=("x", "y", "z"), layers=layers)
    shapes = model.shapes()
    tensors = {}
    for layer in layers:
        high = 1 << layer.weight_bits - 1
        tensors[f"{layer.name}.weight"] = rng.integers(-high, high, layer.weight_shape(shapes), np.int8)
        head = layer.op == HEAD
        tensors[f"{layer.name}.bias"] = rng.integers(-9, 9, layer.channels, np.int32)
        low, high = (0, 1) if head else (-2, 3)
        tensors[f"{layer.name}.shift"] = rng.integers(low, high, layer.channels, np.int8)
    for config in (MICRO, SMALL, BASE):
        large = replace(config, spike_words=1 << 16, u_beats=1 << 16, acc_bits=24)
        check_equal(ModelFile(model, tensors), large, clips(encoding))


def test_everything_unsupported_is_reported_at_once(tiny):
    model, tensors = tiny.model, dict(tiny.tensors)
    change = {
        "local.pw1": {"weight_bits": 5}, "g0.proj": {"theta": 0}, "g0.sdha": {"heads": 4},
    }
    layers = tuple(replace(x, **change.get(x.name, {})) for x in model.layers)
    tensors["stem.shift"] = np.full_like(tensors["stem.shift"], 24)
    tensors["down.bias"] = np.full_like(tensors["down.bias"], 1 << 23)
    tensors["local.pw2.weight"] = tensors["local.pw2.weight"][:3]
    tensors["local.fc1.bias"] = np.full_like(tensors["local.fc1.bias"], (1 << 23) - 1)
    tensors["head.shift"] = np.full_like(tensors["head.shift"], 3)
    del tensors["g0.q.bias"]
    tensors["extra"] = np.zeros(1, np.int8)
    config = replace(BASE, name="tight", neuron_lanes=8, u_bits=12, acc_bits=24, spike_words=64, u_beats=64,
                     weight_rows=64)
    with pytest.raises(UnsupportedError) as caught:
        compile_model(ModelFile(replace(model, layers=layers), tensors), config)
    text = str(caught.value)
    for part in (
        "residual values of 16 bits, the machine has 12",
        "'local.pw1': weights of 5 bits", "'g0.proj': theta = 0 fires without input",
        "'stem': shift goes from 24 to 24, outside -8..23", "'down': bias goes from 8388608",
        "'local.pw2': weight is int8 [3, 32, 1, 1]",
        "'local.fc1': accumulator and bias can reach", "'head': the logits are raw accumulators, but a shift is not 0",
        "no tensor 'g0.q.bias'", "tensors of no layer: extra",
    ):
        assert part in text, (part, text)
    assert len(caught.value.reasons) == len(set(caught.value.reasons)) >= 12


@pytest.mark.parametrize(("name", "change", "reason"), [
    ("g0.sdha", {"kernel": 3, "padding": 1}, "'g0.sdha': kernel 3, stride 1, padding 1 of a layer that is no convolution"),
    ("head", {"kernel": 2}, "'head': kernel 2, stride 1, padding 0 of a layer that is no convolution"),
    ("local.pw1", {"channels": 4112}, "'local.pw1': 4112 channels are 257 groups of 16 lanes, at most 256 are possible"),
])
def test_what_the_machine_cannot_do_is_refused(tiny, name, change, reason):
    layers = tuple(replace(x, **(change if x.name == name else {})) for x in tiny.model.layers)
    with pytest.raises(UnsupportedError, match=reason):
        compile_model(ModelFile(replace(tiny.model, layers=layers), tiny.tensors), SMALL)


@pytest.mark.parametrize(("sizes", "heads", "reason"), [
    ({"wide": 48}, 2, "heads of 24 channels are neither a multiple nor a divisor of 16 lanes"),
    ({"wide": 96}, 2, "heads of 48 channels straddle spike words of 32"),
    ({"wide": 128}, 1, "heads of 128 channels, at most 64 are possible"),
])
def test_head_geometry(sizes, heads, reason):
    model, tensors = random_model(1, TINY, local=8, heads=heads, **sizes)
    with pytest.raises(UnsupportedError, match=reason):
        compile_model(ModelFile(model, tensors), SMALL)
