"""Every operation of the contract, compiled and run on the functional machine, gives the tensors of the integer golden model."""

from dataclasses import replace
from itertools import product
from typing import Any

import numpy as np
import pytest

from golden.integer import network
from golden.integer.graph import sdsa
from golden.integer.random_graph import KINDS, random_graph
from golden.integer.random_graph import SMALL as ENCODING
from golden.integer.random_model import calibrate, random_clip
from golden.spec.config import BASE, MICRO, SMALL
from golden.spec.encoding import EVENTS, RGB
from golden.spec.model import CONV, FRAME, HEAD, INPUT, MASK, POSITION, SCOPES, SDHA, SOFT, SSA, Encoding, Layer, Model
from sw.model_file import ModelFile
from sw.tests.test_compiler import check_equal, clips, descriptors

CONFIGS = (MICRO, SMALL, BASE)
ROOM: dict[str, Any] = {"spike_words": 1 << 16, "u_beats": 1 << 16, "weight_rows": 4096, "acc_bits": 24, "x_bits": 24,
                        "levels_max": 15, "any_neuron": True}
WIDE = Encoding(height=5, width=9, timesteps=4, frames=2, patch=1)


def possible(source):
    """The model with thresholds a power of two apart where the machine needs that."""
    model, tensors = source

    def change(x):
        return replace(x, step=1 << x.spacing.bit_length() - 1) if x.levels > 1 else x

    return ModelFile(replace(model, layers=tuple(change(x) for x in model.layers)), tensors)


def conv(name, source, channels, **fields):
    """A convolution that fires, and the names of its tensors."""
    inputs = (source,) if isinstance(source, str) else source
    return Layer(name=name, op=CONV, inputs=inputs, channels=channels, spike_out=f"{name}.s", **{"theta": 64, **fields})


def made(*layers, encoding=WIDE, seed=0):
    """A model of these layers (and of a head, unless the last can be the end), with random tensors."""
    if layers[-1].op != HEAD and (not layers[-1].u_out or layers[-1].spike_out):
        last = next(x.spike_out for x in reversed(layers) if x.spike_out)
        layers = (*layers, Layer(name="head", op=HEAD, inputs=(last,), channels=3))
    rng = np.random.default_rng(seed)
    known: list[dict[str, network.Array]] = [{INPUT: random_clip(encoding, rng)}]
    tensors: dict[str, network.Array] = {}
    for layer in layers:
        if layer.op == MASK:
            network.step(layer, tensors, known[0], 16)
        else:
            calibrate(layer, tensors, known, rng, (20, 50), 16)
    classes = tuple(f"class {i}" for i in range(layers[-1].channels)) if layers[-1].op == HEAD else ()
    return ModelFile(Model(name="made", encoding=encoding, classes=classes, layers=layers), tensors)


@pytest.mark.parametrize("kind", sorted(KINDS))
@pytest.mark.parametrize("config", CONFIGS, ids=lambda c: c.name)
def test_kinds(config, kind):
    for seed in range(2):
        check_equal(possible(random_graph(seed, parts=3, kinds=(kind,))), replace(config, **ROOM), clips(ENCODING))


@pytest.mark.parametrize("seed", range(12))
def test_random_graphs(seed):
    check_equal(possible(random_graph(seed)), replace(CONFIGS[seed % 3], **ROOM), clips(ENCODING))


@pytest.mark.parametrize("seed", [0, 1, 3, 4, 5, 6])
@pytest.mark.parametrize("config", [
    replace(SMALL, **ROOM | {"name": "few rows", "weight_rows": 64}), replace(SMALL, **ROOM | {"name": "few", "param_beats": 16}),
    replace(MICRO, **ROOM | {"name": "few of one bank", "weight_rows": 160}),
], ids=lambda c: c.name)
def test_small_memories(config, seed):
    check_equal(possible(random_graph(seed, parts=5, neurons=False)), config, clips(ENCODING))


def test_sums_in_parts():
    """Over words, over rows of taps and over taps, dense and channel by channel; the sum goes where the layer's U will be."""
    source = made(
        conv("a", INPUT, 70, weight_bits=8), conv("b", "a.s", 70, kernel=5, padding=2, u_out="b.u"),
        conv("c", "b.s", 20, kernel=3, padding=2, weight_bits=8), conv("d", "c.s", 20, kernel=9, padding=4, groups=20,
                                                               weight_bits=8),
    )
    for rows, config in product((64, 128, 256), CONFIGS):
        bundle = check_equal(source, replace(config, **ROOM | {"weight_rows": rows}), clips(WIDE))
        steps = bundle.manifest.programs["run"].steps
        parts = {step.layer for step, d in zip(steps, descriptors(bundle, "run"), strict=True) if d["partial"]}
        assert {"b", "c"} <= parts and ("d" in parts) == (rows < 2 * 9 * 9)  # each bank holds all of its rows


def test_sums_in_parts_that_go_on():
    """Added to residual tensors, in place and not, and logits that the host adds up."""
    source = made(
        conv("a", INPUT, 70, u_out="a.u"),
        conv("b", "a.s", 70, kernel=3, padding=1, residual="a.u", u_out="b.u", weight_bits=8),
        Layer(name="c", op=CONV, inputs=("b.s",), channels=70, kernel=3, padding=1, residual="a.u", u_out="c.u"),
        conv("d", "b.s", 200, kernel=1), conv("e", "d.s", 70, kernel=3, padding=1, residual="c.u"),
        Layer(name="head", op=HEAD, inputs=("d.s", "e.s"), channels=20, weight_bits=8),
    )
    for config, levels in zip(CONFIGS, (15, 7, 1), strict=True):
        bundle = check_equal(source, replace(config, **ROOM | {"weight_rows": 64, "levels_max": levels}), clips(WIDE))
        assert bundle.manifest.programs["run"].tensors["head"].parts > 1


@pytest.mark.parametrize("layers", [
    [conv("a", INPUT, 36, groups=2), conv("b", "a.s", 60, groups=12, kernel=3, padding=1), conv("c", "b.s", 15, groups=3)],
    [conv("a", INPUT, 100), conv("b", "a.s", 100, groups=50), conv("c", "b.s", 10, groups=10), conv("d", "c.s", 100, groups=5)],
    [conv("a", INPUT, 70), conv("b", "a.s", 140, groups=70, weight_bits=8, kernel=2), conv("c", "b.s", 70, groups=70)],
], ids=("odd groups", "many groups", "several outputs of a channel"))
@pytest.mark.parametrize("config", CONFIGS, ids=lambda c: c.name)
def test_groups(config, layers):
    check_equal(made(*layers), replace(config, **ROOM), clips(WIDE))


@pytest.mark.parametrize("layers", [
    [conv("a", INPUT, 40, kernel=30, stride=30, padding=13)],  # one place that sees the whole frame, and much around it
    [conv("a", INPUT, 8, groups=2, kernel=17, stride=17, padding=12)],
    [conv("a", INPUT, 9), conv("b", "a.s", 9, groups=9, kernel=13, stride=13, padding=4)],
    [conv("a", INPUT, 9), conv("b", "a.s", 9, groups=9, kernel=4, stride=5, padding=2)],
    [conv("a", INPUT, 5, padding=3), conv("b", "a.s", 5, groups=5, kernel=2, padding=9)],
    [conv("a", INPUT, 5, upsample=4), conv("b", "a.s", 8, kernel=3, stride=17), conv("c", "b.s", 8)],  # no tap is outside
], ids=range(6))
def test_kernels(layers):
    for config in CONFIGS:
        check_equal(made(*layers), replace(config, **ROOM), clips(WIDE))


@pytest.mark.parametrize("layers", [
    [conv("a", INPUT, 37), conv("b", (INPUT, "a.s", INPUT), 40, kernel=3, padding=1)],
    [conv("a", INPUT, 37), conv("b", ("a.s", INPUT), 39, groups=39, weight_bits=8)],  # a channel's bit is not its number
    [conv("a", INPUT, 64), conv("b", ("a.s", "a.s"), 128, groups=128, kernel=2)],  # it is
    [conv("a", INPUT, 37, levels=5, step=32), conv("b", ("a.s", INPUT), 13, groups=13, upsample=2, stride=2)],
    [conv("a", INPUT, 21, upsample=3, kernel=3), conv("b", "a.s", 5, levels=15, step=16),
     conv("c", ("a.s", "b.s"), 9, upsample=2)],
], ids=range(5))
def test_gathered_inputs(layers):
    for config in CONFIGS:
        check_equal(made(*layers), replace(config, **ROOM), clips(WIDE))


def test_a_head_of_several_inputs():
    head = Layer(name="head", op=HEAD, inputs=("a.s", INPUT, "b.s"), channels=3, weight_bits=8)
    source = made(conv("a", INPUT, 40), conv("b", "a.s", 10, levels=3, step=64), head)
    for config in CONFIGS:
        check_equal(source, replace(config, **ROOM), clips(WIDE))


def test_masks():
    """Gates of every shape; the second tensor above and below the first, and the first itself."""
    first = [conv(x, INPUT, 72) for x in "ab"] + [conv("h", INPUT, 6), *sdsa("g", "a.s", "b.s", "a.s", "g.s", (5, 9, 72), 4)]
    masks = [
        Layer(name=f"m{i}", op=MASK, inputs=x, channels=72, heads=heads, spike_out=f"m{i}.s")
        for i, (x, heads) in enumerate([(("a.s", "b.s"), 1), (("b.s", "a.s"), 1), (("a.s", "a.s"), 1), (("g.s", "h.s"), 6)])
    ]
    source = made(*first, *masks, conv("last", tuple(f"m{i}.s" for i in range(4)), 8))
    for config in CONFIGS:
        check_equal(source, replace(config, **ROOM), clips(WIDE))


@pytest.mark.parametrize("op", [SDHA, SSA])
@pytest.mark.parametrize("scope", [FRAME, POSITION])
@pytest.mark.parametrize("fields", [
    {"spike_out": "x.s", "theta": 64}, {"u_out": "x.u"}, {"spike_out": "x.s", "theta": 64, "residual": "r.u", "u_out": "x.u"},
    {"spike_out": "x.s", "theta": 64, "leak": 0, "levels": 3},
    {"spike_out": "x.s", "theta": 64, "reset": SOFT, "residual": "r.u"},
], ids=("spikes", "residual", "both", "forgets", "soft"))
def test_scopes(op, scope, fields):
    """Neurons that remember, and those that forget; heads narrower than the lanes, and wider."""
    qkv = [conv(x, INPUT, 64, groups=2) for x in "qkv"]
    r = Layer(name="r", op=CONV, inputs=(INPUT,), channels=64, u_out="r.u")
    x = Layer(name="x", op=op, scope=scope, inputs=("q.s", "k.s", "v.s"), channels=64, heads=4, **fields)
    last = [] if "spike_out" in fields else [conv("z", "q.s", 4)]
    source = made(*qkv, r, x, *last)
    for config in CONFIGS:
        check_equal(source, replace(config, **ROOM), clips(WIDE))


@pytest.mark.parametrize("kind", sorted(KINDS))
@pytest.mark.parametrize(("config", "timesteps"), [(SMALL, 3), (BASE, 3), (BASE, 5), (BASE, 6), (BASE, 10)],
                         ids=lambda x: str(x) if isinstance(x, int) else x.name)
def test_time_steps_that_leave_cores_idle(config, timesteps, kind):
    """The cores without a last time step add nothing to attention, logits or counts of operations and saturations."""
    encoding = replace(ENCODING, timesteps=timesteps)
    check_equal(possible(random_graph(timesteps, encoding, parts=3, kinds=(kind,))), replace(config, **ROOM), clips(encoding))


@pytest.mark.parametrize("op", [SDHA, SSA])
@pytest.mark.parametrize("scope", SCOPES)
@pytest.mark.parametrize("fields", [
    {"spike_out": "x.s", "theta": 64, "residual": "r.u", "u_out": "x.u"},
    {"spike_out": "x.s", "theta": 64, "leak": 0, "levels": 3},
], ids=("both", "forgets"))
@pytest.mark.parametrize("timesteps", [3, 5, 6])
def test_scopes_of_time_steps_that_leave_cores_idle(op, scope, fields, timesteps):
    """What attention makes is what the next one sees; with a larger bias most neurons fire without any spike to see."""
    r = Layer(name="r", op=CONV, inputs=(INPUT,), channels=64, u_out="r.u")
    x = Layer(name="x", op=op, scope=scope, inputs=("q.s", "k.s", "v.s"), channels=64, heads=4, **fields)
    other = "v.s" if x.levels > 1 else "x.s"
    y = Layer(name="y", op=op, inputs=("q.s", other, "v.s"), channels=64, heads=4, spike_out="y.s", theta=64)
    encoding = Encoding(height=2, width=3, timesteps=timesteps, frames=2, patch=1)
    source = made(*(conv(x, INPUT, 64, groups=2) for x in "qkv"), r, x, y, encoding=encoding)
    fires = {name: value + 1000 if name.endswith(".bias") else value for name, value in source.tensors.items()}
    for config, tensors in product((SMALL, BASE), (source.tensors, fires)):
        check_equal(ModelFile(source.model, tensors), replace(config, **ROOM), clips(encoding))


@pytest.mark.parametrize("encoding", [
    Encoding(kind=RGB, height=16, width=16, timesteps=4, frames=2, patch=4),
    Encoding(kind=EVENTS, height=10, width=10, timesteps=4, frames=1, patch=1, bits=2, sensor_height=10, sensor_width=10),
], ids=lambda x: x.kind)
def test_encodings(encoding):
    """Other input tensors than pixels; their values are made up."""
    source = made(conv("a", INPUT, 20, kernel=3, padding=1), Layer(name="b", op=CONV, inputs=("a.s",), channels=5, u_out="b.u"))
    model = replace(source.model, encoding=encoding)
    shapes = model.shapes()
    rng = np.random.default_rng(0)
    tensors = {**source.tensors, "a.weight": rng.integers(-8, 8, model.layers[0].weight_shape(shapes), np.int8)}
    clip = rng.integers(0, 1 << encoding.planes, encoding.shape, np.uint8)
    for config in CONFIGS:
        check_equal(ModelFile(model, tensors), replace(config, **ROOM), [clip])
