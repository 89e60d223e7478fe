"""NIR graphs against hand-worked traces and a floating point simulation, and what is refused."""

from itertools import pairwise

import nir
import numpy as np
import pytest
from typer.testing import CliRunner

from golden.__main__ import app
from golden.integer import network
from golden.nir_import import import_nir
from golden.spec.encoding import Encoding
from golden.spec.model import ModelError

DT = 1e-4


def bits(height, width, timesteps=4):
    """One pixel makes two channels of single bits."""
    return Encoding(kind="difference", height=height, width=width, timesteps=timesteps, frames=1, patch=1, threshold=9)


def lif(n, keep=0.5, gain=1.0, threshold=1.0, leak=0.0, reset=0.0):
    """Neurons that keep this share of v at each step, and get ``gain`` times what comes in."""
    shape = (n,) if isinstance(n, int) else n
    tau = DT / (1 - keep)
    return nir.LIF(tau=np.full(shape, tau), r=np.full(shape, gain / (1 - keep)), v_leak=np.full(shape, leak),
                   v_threshold=np.full(shape, threshold), v_reset=np.full(shape, reset))


def integrate(n, threshold=1.0):
    return nir.IF(r=np.full(n, 1 / DT), v_threshold=np.full(n, threshold), v_reset=np.zeros(n))


def conv(weight, bias=None, stride=1, padding=0, dilation=1, groups=1):
    return nir.Conv2d((6, 6), weight, stride, padding, dilation, groups, np.zeros(len(weight)) if bias is None else bias)


def pool(kind, kernel, stride):
    return kind(np.array([kernel, kernel]), np.array([stride, stride]), np.array([0, 0]))


FLATTEN = nir.Flatten({"input": np.array([1, 1, 1])}, 0, -1)


def graph(shape, *nodes):
    every = [nir.Input(np.array(shape)), *nodes, nir.Output(np.array([1]))]
    names = [f"{type(x).__name__.lower()}{i}" for i, x in enumerate(every)]
    return nir.NIRGraph(dict(zip(names, every, strict=True)), list(pairwise(names)), type_check=False)


@pytest.fixture
def load(tmp_path):
    def load(graph, encoding, **settings):
        nir.write(tmp_path / "g.nir", graph)
        return import_nir(tmp_path / "g.nir", encoding, **settings)

    return load


@pytest.mark.parametrize(("neuron", "spikes"), [
    # Each input bit is worth 0.625 to output 0 and -0.25 to output 1.
    (lif(2), [[0, 0], [0, 0], [1, 0], [0, 0], [0, 0], [0, 0]]),  # v = .625, .9375, 1.09375 fires; 0, .625, .9375
    (lif(2, gain=2.0), [[1, 0], [1, 0], [1, 0], [0, 0], [1, 0], [1, 0]]),  # 1.25 fires at once
    (integrate(2), [[0, 0], [1, 0], [0, 0], [0, 0], [1, 0], [0, 0]]),  # .625, 1.25 fires; .625, .625, 1.25 fires; .625
    (integrate(2, threshold=1.25), [[0, 0], [0, 0], [1, 0], [0, 0], [0, 0], [0, 0]]),  # 1.25 is not above 1.25: 1.875 fires
    (lif(2, leak=1.0), [[1, 0], [1, 0], [1, 0], [0, 0], [1, 0], [1, 0]]),  # + .5: 1.125 fires; without input .5, then 1.375
])
def test_hand_worked_traces(load, neuron, spikes):
    weight = np.array([[0.625, 0.0], [-0.25, 0.0]])
    model, tensors, _ = load(graph((2,), nir.Linear(weight), neuron), bits(1, 1, timesteps=6))
    clip = np.zeros((6, 1, 1, 2), np.uint8)
    clip[:, 0, 0, 0] = [1, 1, 1, 0, 1, 1]
    known = network.run(model, tensors, clip)
    assert known[model.layers[0].spike_out][:, 0, 0].tolist() == spikes
    assert known["rate"].ravel().tolist() == np.sum(spikes, axis=0).tolist()


def simulate(graph, x):
    """Floating point, forward Euler, node by node: [T, C, H, W] of what reaches the output."""
    follow = dict(graph.edges)
    name = next(name for name, node in graph.nodes.items() if isinstance(node, nir.Input))
    x = x.astype(float)
    while (name := follow[name]) in follow:
        node = graph.nodes[name]
        if isinstance(node, nir.Flatten):
            x = x.reshape(len(x), -1)
        elif isinstance(node, nir.Linear | nir.Affine):
            x = (x.reshape(len(x), -1) @ node.weight.T + getattr(node, "bias", 0))[..., None, None]
        elif isinstance(node, nir.SumPool2d | nir.AvgPool2d):
            k = int(node.kernel_size[0])
            t, c, h, w = x.shape
            x = x.reshape(t, c, h // k, k, w // k, k).sum(axis=(3, 5)) / (k * k if isinstance(node, nir.AvgPool2d) else 1)
        elif isinstance(node, nir.Conv2d):
            x = convolve(x, node)
        else:
            v, spikes = np.zeros(x.shape[1:]), np.zeros(x.shape)
            names = ("r", "v_threshold") if isinstance(node, nir.IF) else ("r", "v_threshold", "tau", "v_leak")
            r, threshold, *more = (p.reshape(*p.shape, *(1,) * (v.ndim - p.ndim)) for p in (getattr(node, x) for x in names))
            for t in range(len(x)):
                v = v + (DT / more[0] * (more[1] - v + r * x[t]) if more else DT * r * x[t])
                spikes[t] = v > threshold
                v = np.where(spikes[t] > 0, 0, v)
            x = spikes
    return x


def convolve(x, node):
    (sy, sx), (py, px), (dy, dx) = (np.broadcast_to(n, 2) for n in (node.stride, node.padding, node.dilation))
    x = np.pad(x, ((0, 0), (0, 0), (py, py), (px, px)))
    o, inputs, kh, kw = node.weight.shape
    oh, ow = (x.shape[2] - dy * (kh - 1) - 1) // sy + 1, (x.shape[3] - dx * (kw - 1) - 1) // sx + 1
    out = np.zeros((len(x), o, oh, ow)) + node.bias[:, None, None]
    for c, i, ky, kx in np.ndindex(o, inputs, kh, kw):
        source = c // (o // node.groups) * inputs + i
        window = x[:, source, ky * dy : ky * dy + sy * (oh - 1) + 1 : sy, kx * dx : kx * dx + sx * (ow - 1) + 1 : sx]
        out[:, c] += node.weight[c, i, ky, kx] * window
    return out


def exact(rng, *shape):
    """Weights that four bits hold: -8..7 eighths, at least one of which needs them all."""
    weight = rng.integers(-8, 8, shape) / 8
    weight.reshape(len(weight), -1)[:, 0] = 7 / 8
    return weight


def network_of_everything(rng, neuron):
    return graph(
        (2, 8, 12), conv(exact(rng, 4, 2, 3, 3), rng.integers(-4, 4, 4) / 8, padding=1), neuron(4),
        pool(nir.SumPool2d, 2, 2),
        conv(exact(rng, 6, 2, 2, 2), rng.integers(-4, 4, 6) / 8, padding=1, dilation=2, groups=2), neuron(6),
        pool(nir.AvgPool2d, 2, 2), neuron(6), FLATTEN, nir.Affine(exact(rng, 5, 36), rng.integers(-4, 4, 5) / 8), neuron(5),
        nir.Linear(exact(rng, 3, 5)), neuron(3),
    )


@pytest.mark.parametrize("neuron", [integrate, lif, lambda n: lif(n, keep=0.0), lambda n: lif(n, threshold=2.0, leak=0.25)],
                         ids=["IF", "LIF", "stateless", "threshold and leak"])
def test_a_network_of_every_node_spikes_as_simulated(load, neuron):
    """Parameters that the integers hold exactly, and few enough steps that halving loses no bit: every spike is equal."""
    rng = np.random.default_rng(3)
    source = network_of_everything(rng, neuron)
    encoding = bits(8, 12)
    model, tensors, changes = load(source, encoding)
    clip = (rng.random(encoding.shape) < 0.4).astype(np.uint8)
    known = network.run(model, tensors, clip)
    seen = 0
    for i, layer in enumerate(model.layers[:-1]):
        nodes = list(source.nodes)
        until = nodes[1 : nodes.index(layer.name) + 1]
        part = graph((2, 8, 12), *(source.nodes[n] for n in until))
        expected = simulate(part, clip.transpose(0, 3, 1, 2)).transpose(0, 2, 3, 1)
        np.testing.assert_array_equal(known[layer.spike_out], expected, err_msg=f"layer {i}")
        seen += int(expected.sum())
    assert seen > 100 and known["rate"].ravel().tolist() == known[model.layers[-2].spike_out].sum(axis=(0, 1, 2)).tolist()
    assert max(x.error for x in changes if "membranes" not in x.what) == 0


def test_approximations_are_reported_and_small(load):
    """Any weights: errors are those of rounding, and more bits make them smaller; nearly all spikes are as simulated."""
    rng = np.random.default_rng(5)
    source = graph(
        (2, 6, 6), conv(rng.normal(size=(8, 2, 3, 3)), rng.normal(size=8) / 4), lif((8, 4, 4), keep=0.8187), FLATTEN,
        nir.Affine(rng.normal(size=(4, 128)) / 4, rng.normal(size=4)), lif(4, keep=0.9, gain=0.3),
    )
    encoding = Encoding(height=6, width=6, timesteps=16, frames=2, patch=1)
    clip = rng.integers(0, 256, encoding.shape, np.uint8)
    part = graph((2, 6, 6), *list(source.nodes.values())[1:3])
    expected = simulate(part, clip.transpose(0, 3, 1, 2) / 256).transpose(0, 2, 3, 1)
    errors, wrong = {}, {}
    for width in (4, 8):
        model, tensors, changes = load(source, encoding, weight_bits=width)
        assert {x.weight_bits for x in model.layers[:-1]} == {width}
        texts = [str(x) for x in changes]
        assert "node 'lif2' (LIF): leak 0.8187 -> 13/16, error 0.0062" in texts and any("leak 0.9 -> 14/16" in x for x in texts)
        errors[width] = max(x.error for x in changes if "weights" in x.what)
        wrong[width] = float(np.mean(network.run(model, tensors, clip)["lif2.s"] != expected))
    assert errors[8] < errors[4] / 8 and wrong[8] < 0.02 and wrong[4] < 0.2 and 0.05 < expected.mean() < 0.95


def test_a_synapse_on_one_place_is_the_head(load):
    """Logits are its sums over time, biases included, on one scale."""
    rng = np.random.default_rng(6)
    source = graph((2,), nir.Linear(exact(rng, 4, 2)), integrate(4), nir.Affine(exact(rng, 3, 4), np.array([0.5, -0.25, 0.0])))
    encoding = bits(1, 1, timesteps=8)
    model, tensors, _ = load(source, encoding)
    clip = (rng.random(encoding.shape) < 0.6).astype(np.uint8)
    expected = simulate(source, clip.transpose(0, 3, 1, 2)).sum(axis=(0, 2, 3))
    assert model.classes == ("0", "1", "2") and [x.op for x in model.layers] == ["conv", "head"]
    assert (network.run(model, tensors, clip)[model.result].ravel() / 8).tolist() == expected.tolist() and expected.any()


def test_a_synapse_on_several_places_is_a_dense_result(load):
    rng = np.random.default_rng(7)
    last = conv(exact(rng, 3, 4, 1, 1), np.array([1.0, 0, -1]))
    source = graph((2, 4, 6), conv(exact(rng, 4, 2, 3, 3), padding=1), integrate(4), last)
    encoding = bits(4, 6)
    model, tensors, _ = load(source, encoding)
    clip = (rng.random(encoding.shape) < 0.4).astype(np.uint8)
    expected = simulate(source, clip.transpose(0, 3, 1, 2)).transpose(0, 2, 3, 1)
    found = network.run(model, tensors, clip)[model.result] / 2**model.u_frac
    assert model.classes == () and expected.any()
    np.testing.assert_array_equal(found, expected)


def test_padding_words(load):
    rng = np.random.default_rng(8)
    for word, size in (("same", 6), ("valid", 4)):
        first = conv(exact(rng, 4, 2, 3, 3), padding=word)
        model, _, _ = load(graph((2, 6, 6), first, lif(4), conv(np.ones((1, 4, 1, 1)))), bits(6, 6))
        assert model.shapes()["lif2.s"] == (4, size, size, 4)


def test_everything_unsupported_is_listed_at_once(load):
    nodes = {
        "in": nir.Input(np.array([2, 6, 6])), "conv": conv(np.ones((3, 2, 3, 3)), stride=(1, 2)),
        "even": conv(np.ones((3, 3, 2, 2)), padding="same"), "cuba": nir.CubaLIF(*(np.ones(3) for _ in range(5))),
        "scale": nir.Scale(np.ones(3)), "pool": pool(nir.SumPool2d, 3, 2), "fast": lif(3, keep=-1.0),
        "reset": lif(3, reset=0.5), "negative": lif(3, threshold=-1.0), "out": nir.Output(np.array([3])),
        "mixed": nir.LIF(*(np.array(x) for x in ([DT * 2, DT * 9, DT], [1.0] * 3, [0.0] * 3, [1.0] * 3))),
    }
    chain = ["in", "conv", "even", "cuba", "scale", "pool", "fast", "reset", "negative", "mixed", "out"]
    edges = [*pairwise(chain), ("reset", "scale")]
    with pytest.raises(ModelError) as caught:
        load(nir.NIRGraph(nodes, edges, type_check=False), bits(6, 6))
    for text in (
        "node 'conv' (Conv2d): stride (1, 2), not one positive number",
        "node 'even' (Conv2d): padding 'same' of this kernel and stride",
        "node 'cuba' (CubaLIF): its synaptic current is a second state", "node 'scale' (Scale): no such operation",
        "node 'pool' (SumPool2d): padded, or stride and kernel differ", "node 'fast' (LIF): tau 5e-05 is shorter than a time",
        "node 'reset' (LIF): resets to 0.5, not to 0", "node 'negative' (LIF): threshold -1 is not positive",
        "node 'mixed' (LIF): leaks 0..0.8889, but all neurons of a node", "node 'reset' (LIF): 1 edges in and 2 out",
        "node 'scale' (Scale): 2 edges in and 1 out",
    ):
        assert text in str(caught.value), (text, str(caught.value))


@pytest.mark.parametrize(("source", "message"), [
    (graph((2, 6, 6), conv(np.full((3, 2, 3, 3), np.nan)), lif(3)), "weight not finite"),
    (graph((2, 6, 6), nir.Linear(np.ones((1, 3, 72))), lif(3)), r"weight of shape \(1, 3, 72\)"),
    (graph((2, 6, 6), pool(nir.SumPool2d, 2, 0), lif(2)), r"stride \(0, 0\), not one positive number"),
    (graph((2, 6, 6), conv(np.ones((3, 2, 3, 3)), np.ones(4)), lif(3)), "4 biases for 3 channels"),
    (graph((3, 6, 6), lif(3)), r"shape \(3, 6, 6\), but the encoding makes \(2, 6, 6\)"),
    (graph((2, 6, 6)), "neither synapses nor neurons"),
    (graph((2, 6, 6), lif(2)), "neurons at 6 x 6 places as output"),
    (graph((2, 6, 6), conv(np.ones((3, 2, 3, 3))), conv(np.ones((3, 3, 3, 3)))), r"'conv2d2' \(Conv2d\): no neurons between"),
    (graph((2, 6, 6), conv(np.ones((3, 4, 3, 3))), lif(3)), "weights for 4 channels, there are 2"),
    (graph((2, 6, 6), nir.Linear(np.ones((3, 70))), lif(3)), "weights for 70 values, there are 2 x 6 x 6"),
    (graph((2, 6, 6), pool(nir.SumPool2d, 4, 4), lif(2)), "do not divide into squares of 4"),
    (graph((2, 6, 6), conv(np.ones((3, 2, 6, 6))), lif((3, 2))), None),
    (graph((2, 6, 6), conv(np.ones((3, 2, 6, 6))), lif(2)), r"parameters of shape \(2,\) are not one for each of 3 channels"),
])
def test_what_does_not_fit_is_named(load, source, message):
    if message is None:
        assert load(source, bits(6, 6))[0].layers[0].channels == 3
        return
    with pytest.raises(ModelError, match=message):
        load(source, bits(6, 6))


def test_files_that_are_none(tmp_path):
    with pytest.raises(ModelError, match="cannot read NIR file"):
        import_nir(tmp_path / "none.nir", bits(6, 6))
    (tmp_path / "text.nir").write_text("no graph")
    with pytest.raises(ModelError, match="cannot read NIR file"):
        import_nir(tmp_path / "text.nir", bits(6, 6))
    rng = np.random.default_rng(11)
    nir.write(tmp_path / "good.nir", network_of_everything(rng, lif))
    good = np.fromfile(tmp_path / "good.nir", np.uint8)
    for _ in range(40):
        damaged = good[: rng.integers(len(good))] if rng.random() < 0.3 else good.copy()
        at = rng.integers(0, len(damaged), 20)
        damaged[at] = rng.integers(0, 256, 20)
        damaged.tofile(tmp_path / "damaged.nir")
        try:
            import_nir(tmp_path / "damaged.nir", bits(8, 12))
        except ModelError:
            continue
    nir.write(tmp_path / "node.nir", lif(3))
    with pytest.raises(ModelError, match="cannot read NIR file"):
        import_nir(tmp_path / "node.nir", bits(6, 6))


def test_the_command_writes_a_model_that_runs_and_names_what_it_cannot_import(tmp_path):
    first = conv(np.full((4, 2, 3, 3), 0.3), padding=1)
    nir.write(tmp_path / "g.nir", graph((2, 6, 6), first, lif(4, keep=0.8187), conv(np.ones((1, 4, 1, 1)))))
    files = [str(tmp_path / "g.nir"), "--out", str(tmp_path / "m.safetensors")]
    command = ["import-nir", *files, "--size", "6", "6", "--timesteps", "8"]
    done = CliRunner().invoke(app, command)
    assert done.exit_code == 0 and "node 'lif2' (LIF): leak 0.8187 -> 13/16" in done.output, (done.output, done.exception)
    model, tensors = network.load(tmp_path / "m.safetensors")
    assert model.encoding.kind == "events" and model.encoding.shape == (8, 6, 6, 2)
    assert network.run(model, tensors, np.ones(model.encoding.shape, np.uint8))["lif2.s"].any()
    nir.write(tmp_path / "g.nir", graph((2, 6, 6), nir.Scale(np.ones(2)), lif(2)))
    done = CliRunner().invoke(app, command)
    assert done.exit_code == 1 and "node 'scale1' (Scale): no such operation" in str(done.exception)
