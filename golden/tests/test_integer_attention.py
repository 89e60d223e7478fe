"""Attention of every kind and scope, masks and what is composed of them, against naive NumPy."""

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from golden.integer import graph, network, ops
from golden.spec.model import Layer


def bits(rng, *shape, share=0.5):
    return (rng.random(shape) < share).astype(np.uint8)


def sees(scope, a, b):
    """Whether token a = (t, y, x) and token b see each other."""
    return scope == "joint" or (a[0] == b[0] if scope == "frame" else a[1:] == b[1:])


@settings(deadline=None, max_examples=40)
@given(st.sampled_from(["joint", "frame", "position"]), st.tuples(*[st.integers(1, 3)] * 5), st.integers(0, 1000))
def test_attention_is_its_formula_token_by_token(scope, sizes, seed):
    t, h, w, heads, d = sizes
    rng = np.random.default_rng(seed)
    q, k, v = (bits(rng, t, h, w, heads * d) for _ in range(3))
    hamming, dot = np.zeros(q.shape, int), np.zeros(q.shape, int)
    for a in np.ndindex(t, h, w):
        for b in np.ndindex(t, h, w):
            if not sees(scope, a, b):
                continue
            for head in range(heads):
                part = slice(head * d, head * d + d)
                qa, kb, vb = (x.astype(int)[part] for x in (q[a], k[b], v[b]))
                hamming[a][part] += int((2 * qa - 1) @ (2 * kb - 1)) * vb  # similarity of two tokens in -d..d
                dot[a][part] += int(qa @ kb) * vb
    np.testing.assert_array_equal(ops.sdha(q, k, v, heads, scope), hamming)
    np.testing.assert_array_equal(ops.ssa(q, k, v, heads, scope), dot)
    assert ops.sdha(q, k, v, heads, scope).dtype == ops.ssa(q, k, v, heads, scope).dtype == np.int32


def test_hamming_weights_make_it_a_linear_layer():
    rng = np.random.default_rng(4)
    heads, d = 2, 4
    k, v = (bits(rng, 3, 2, 2, heads * d) for _ in range(2))
    weights, bias = ops.hamming_weights(k, v, heads)
    kn, vn = (x.reshape(-1, heads, d).astype(int) for x in (k, v))
    for h in range(heads):
        m = np.sum([np.outer(2 * kn[n, h] - 1, vn[n, h]) for n in range(12)], axis=0)
        np.testing.assert_array_equal(weights[h], 2 * m)
        np.testing.assert_array_equal(bias[h], -m.sum(axis=0))


def test_operations_of_attention_are_counted():
    rng = np.random.default_rng(6)
    q, k, v = (bits(rng, 2, 2, 3, 8) for _ in range(3))
    layer = Layer(name="a", op="ssa", inputs=("q", "k", "v"), channels=8, heads=2, scope="frame", spike_out="s", theta=1)
    count = network.Count()
    network.tally(layer, {"q": q, "k": k, "v": v}, count)
    pairs = sum(int(k[(*at, h * 4 + i)] & v[(*at, h * 4 + j)]) for *at, h, i, j in np.ndindex(2, 2, 3, 2, 4, 4))
    assert (count.sop, count.pairs) == (int(q.sum()) * 4, pairs)


def test_masks():
    rng = np.random.default_rng(7)
    a = bits(rng, 2, 3, 4, 6)
    for shape, index in [
        ((2, 3, 4, 6), lambda t, y, x, c: (t, y, x, c)), ((2, 1, 1, 6), lambda t, y, x, c: (t, 0, 0, c)),
        ((2, 3, 4, 2), lambda t, y, x, c: (t, y, x, c // 3)),
    ]:
        b = bits(rng, *shape)
        out = ops.mask(a, b)
        assert out.dtype == np.uint8
        for at in np.ndindex(a.shape):
            assert out[at] == (a[at] and b[index(*at)])


def run(layers, tensors, known):
    for layer in layers:
        network.step(layer, tensors, known, 16)
    return known


@pytest.mark.parametrize("size", [(3, 3), (2, 5), (4, 1), (1, 6)])
def test_sdsa_is_its_formula(size):
    rng = np.random.default_rng(8)
    q, k, v = (bits(rng, 5, *size, 6, share=0.4) for _ in range(3))
    layers = graph.sdsa("a", "q", "k", "v", "out", (*size, 6), theta=3)
    found = run(layers, graph.constants(layers, 6), {"q": q, "k": k, "v": v})
    membrane = np.zeros(6, int)
    for t in range(5):
        membrane = membrane // 2 + (k[t] * v[t]).sum(axis=(0, 1), dtype=int)
        g = membrane >= 3
        membrane[g] = 0
        np.testing.assert_array_equal(found["out"][t], q[t] * g)
    assert found["a.g"].any() and not found["a.g"].all()


def test_qk_token_attention_is_its_formula():
    rng = np.random.default_rng(9)
    q, k = (bits(rng, 4, 2, 3, 8) for _ in range(2))
    layers = graph.qk_token("a", "q", "k", "out", 8, heads=2, theta=3)
    found = run(layers, graph.constants(layers, 8), {"q": q, "k": k})
    membrane = np.zeros((2, 3, 2), int)
    for t in range(4):
        membrane = membrane // 2 + q[t].reshape(2, 3, 2, 4).sum(axis=-1, dtype=int)
        fired = membrane >= 3
        membrane[fired] = 0
        np.testing.assert_array_equal(found["out"][t], k[t] * fired.repeat(4, axis=-1))
    assert found["a.a"].any() and not found["a.a"].all()


def test_or_pool_is_a_maximum():
    x = bits(np.random.default_rng(10), 3, 7, 6, 4, share=0.2)
    layers = graph.or_pool("p", "x", "out", 4, kernel=3, stride=2, padding=1)
    found = run(layers, graph.constants(layers, 4), {"x": x})["out"]
    for t, y, z, c in np.ndindex(found.shape):
        window = x[t, max(2 * y - 1, 0) : 2 * y + 2, max(2 * z - 1, 0) : 2 * z + 2, c]
        assert found[t, y, z, c] == window.max()
    assert found.shape == (3, 4, 3, 4) and found.any() and not found.all()
