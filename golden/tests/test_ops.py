"""Every integer operation against loops that follow its formula, and LIF against traces made by hand."""

import numpy as np
import pytest

from golden.integer import ops


def naive_conv(x, w, stride, padding, depthwise):
    t, height, width, c = x.shape
    o, _, kh, kw = w.shape
    oh, ow = (height + 2 * padding - kh) // stride + 1, (width + 2 * padding - kw) // stride + 1
    acc = np.zeros((t, oh, ow, o), np.int64)
    sop = 0
    for step in range(t):
        for oy in range(oh):
            for ox in range(ow):
                for ky in range(kh):
                    for kx in range(kw):
                        y, z = oy * stride + ky - padding, ox * stride + kx - padding
                        if not (0 <= y < height and 0 <= z < width):
                            continue
                        for i in range(c):
                            value = int(x[step, y, z, i])
                            for out in [i] if depthwise else range(o):
                                acc[step, oy, ox, out] += value * int(w[out, 0 if depthwise else i, ky, kx])
                                sop += value.bit_count()
    return acc, sop


@pytest.mark.parametrize(
    ("high", "c", "o", "kernel", "stride", "padding", "depthwise"),
    [
        (2, 5, 3, 1, 1, 0, False),
        (256, 3, 4, 1, 1, 0, False),
        (2, 4, 4, 5, 1, 2, True),
        (2, 3, 4, 4, 2, 1, False),
        (256, 2, 3, 3, 2, 1, False),
        (256, 3, 3, 3, 1, 1, True),
    ],
)
def test_conv_and_its_operations(high, c, o, kernel, stride, padding, depthwise):
    rng = np.random.default_rng(kernel)
    x = rng.integers(0, high, (2, 6, 7, c), np.uint8)
    w = rng.integers(-8, 8, (o, 1 if depthwise else c, kernel, kernel), np.int8)
    expected, sop = naive_conv(x, w, stride, padding, depthwise)
    acc = ops.conv(x, w, stride, padding)
    assert acc.dtype == np.int32
    np.testing.assert_array_equal(acc, expected)
    assert ops.synaptic_operations(x, (kernel, kernel), stride, padding, 1 if depthwise else o) == sop


def test_affine_floors_and_shifts_left():
    acc = np.array([[7, 7, -7, -7, 7, -1]], np.int32)
    y = ops.affine(acc, np.array([0, 1, 0, 1, -8, 0], np.int32), np.array([1, 2, 1, 2, -3, 23], np.int8))
    assert y.tolist() == [[3, 2, -4, -2, -8, -1]]


def test_residual_saturates_and_counts():
    u = np.array([32767, -32768, 100, -5], np.int16)
    total, saturated = ops.residual(u, np.array([1, -1, 27, 3], np.int32), 16)
    assert total.tolist() == [32767, -32768, 127, -2] and total.dtype == np.int16 and saturated == 2
    total, saturated = ops.residual(u[2:], np.array([27, -124], np.int32), 8)
    assert total.tolist() == [127, -128] and saturated == 1


@pytest.mark.parametrize(
    ("x", "spikes"),
    [
        ([127, 64, 1], [0, 0, 0]),  # h = 127, 63 + 64 = 127, 63 + 1
        ([127, 65, 127], [0, 1, 0]),  # h = 127, 128 fires, reset: 127
        ([128, 128, -1], [1, 1, 0]),  # equality fires every time
        ([-1, 128, 128], [0, 0, 1]),  # h = -1; -1 >> 1 is -1: 127; 63 + 128
        ([-3, 130, 0], [0, 1, 0]),  # -3 >> 1 is -2: 128 fires
    ],
)
def test_lif_traces(x, spikes):
    assert ops.lif(np.array(x, np.int32)[:, None, None, None], 128)[:, 0, 0, 0].tolist() == spikes


def test_lif_channels_are_independent_and_match_python():
    rng = np.random.default_rng(3)
    x = rng.integers(-200, 300, (16, 2, 3, 4))
    spikes = ops.lif(x, 128)
    for at in np.ndindex(2, 3, 4):
        v = 0
        for t in range(16):
            h = v // 2 + int(x[(t, *at)])
            assert spikes[(t, *at)] == (h >= 128)
            v = 0 if h >= 128 else h


def test_hamming_attention_is_the_formula():
    rng = np.random.default_rng(4)
    heads, d = 2, 4
    q, k, v = (rng.integers(0, 2, (3, 2, 2, heads * d), np.uint8) for _ in range(3))
    weights, bias = ops.hamming_weights(k, v, heads)
    out = ops.sdha(q, k, v, heads).reshape(-1, heads, d)
    qn, kn, vn = (x.reshape(-1, heads, d).astype(int) for x in (q, k, v))
    for h in range(heads):
        m = np.sum([np.outer(2 * kn[n, h] - 1, vn[n, h]) for n in range(12)], axis=0)  # tokens joint over time and space
        np.testing.assert_array_equal(weights[h], 2 * m)
        np.testing.assert_array_equal(bias[h], -m.sum(axis=0))
        for n in range(12):
            np.testing.assert_array_equal(out[n, h], (2 * qn[n, h] - 1) @ m)


def test_head_sums_over_space_and_time():
    rng = np.random.default_rng(5)
    x = rng.integers(0, 2, (3, 2, 2, 4), np.uint8)
    w = rng.integers(-8, 8, (5, 4, 1, 1), np.int8)
    expected = [sum(int(w[o, c, 0, 0]) * int(x[..., c].sum()) for c in range(4)) for o in range(5)]
    assert ops.head(x, w).tolist() == expected
