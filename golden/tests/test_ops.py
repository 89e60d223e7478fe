"""Every integer operation against loops that follow its formula, and neurons against traces made by hand."""

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from golden.integer import ops


def naive_conv(x, w, groups, stride, padding):
    """Accumulators, and the additions that make them, tap by tap and bit by bit."""
    t, height, width, _ = x.shape
    o, inputs, kh, kw = w.shape
    oh, ow = (height + 2 * padding - kh) // stride + 1, (width + 2 * padding - kw) // stride + 1
    acc = np.zeros((t, oh, ow, o), np.int64)
    sop = 0
    for step, oy, ox, ky, kx in np.ndindex(t, oh, ow, kh, kw):
        y, z = oy * stride + ky - padding, ox * stride + kx - padding
        if not (0 <= y < height and 0 <= z < width):
            continue
        for out in range(o):
            group = out // (o // groups)
            for i in range(inputs):
                value = int(x[step, y, z, group * inputs + i])
                acc[step, oy, ox, out] += value * int(w[out, i, ky, kx])
                sop += value.bit_count()
    return acc, sop


@settings(deadline=None, max_examples=60)
@given(st.data())
def test_conv_and_its_operations(data):
    """Any groups, kernel, stride, padding, upsampling, several inputs, bits and pixels."""

    def draw(low, high):
        return data.draw(st.integers(low, high))

    rng = np.random.default_rng(draw(0, 1000))
    groups, kernel, stride, upsample = draw(1, 3), draw(1, 4), draw(1, 3), draw(1, 2)
    padding = draw(0, kernel)
    c, o = groups * draw(1, 2), groups * draw(1, 2)
    t, height, width = draw(1, 2), draw(2, 4), draw(2, 4)
    kernel = min(kernel, min(height, width) * upsample + 2 * padding)
    split = draw(0, c - 1)
    high = data.draw(st.sampled_from([2, 4, 256]))
    x = rng.integers(0, high, (t, height, width, c), np.uint8)
    w = rng.integers(-128, 128, (o, c // groups, kernel, kernel), np.int8)
    large = np.zeros((t, height * upsample, width * upsample, c), np.uint8)
    for y, z in np.ndindex(*large.shape[1:3]):
        large[:, y, z] = x[:, y // upsample, z // upsample]
    expected, sop = naive_conv(large, w, groups, stride, padding)
    joined = ops.join([x[..., :split], x[..., split:]] if split else [x], upsample)
    acc = ops.conv(joined, w, stride, padding)
    assert acc.dtype == np.int32
    np.testing.assert_array_equal(acc, expected)
    assert ops.synaptic_operations(joined, (kernel, kernel), stride, padding, o // groups) == sop


def test_conv_in_pieces(monkeypatch):
    """A few frames at a time give what all at once do."""
    rng = np.random.default_rng(1)
    x, w = rng.integers(0, 2, (7, 5, 6, 4), np.uint8), rng.integers(-8, 8, (3, 4, 3, 3), np.int8)
    whole = ops.conv(x, w, 1, 1)
    monkeypatch.setattr(ops, "CHUNK", 2 * 5 * 6 * 9 * 4)
    np.testing.assert_array_equal(ops.conv(x, w, 1, 1), whole)


def test_sums_past_single_precision_are_exact():
    """2^24 + 1 is no float32, and a sum past 32 bits wraps as an adder does."""
    x = np.full((1, 1, 1, 3), 255, np.uint8)
    w = np.array([[2**16, 2**8, 1]], np.int64).reshape(1, 3, 1, 1)
    assert ops.conv(x, w)[0, 0, 0, 0] == 255 * (2**16 + 2**8 + 1)
    assert ops.conv(x, np.full((1, 3, 1, 1), 2**24, np.int64))[0, 0, 0, 0] == 3 * 255 * 2**24 - 3 * 2**32
    with pytest.raises(ValueError, match="not exact"):
        ops.conv(x, np.full((1, 3, 1, 1), 2**44, np.int64))


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
    total, saturated = ops.residual(u[2:], np.array([1948, -2044], np.int32), 12)
    assert total.tolist() == [2047, -2048] and saturated == 2


@pytest.mark.parametrize(
    ("x", "neuron", "spikes"),
    [
        ([127, 64, 1], {}, [0, 0, 0]),  # h = 127, 63 + 64 = 127, 63 + 1
        ([127, 65, 127], {}, [0, 1, 0]),  # h = 127, 128 fires, reset: 127
        ([128, 128, -1], {}, [1, 1, 0]),  # equality fires every time
        ([-1, 128, 128], {}, [0, 0, 1]),  # h = -1; -1 >> 1 is -1: 127; 63 + 128
        ([-3, 130, 0], {}, [0, 1, 0]),  # -3 >> 1 is -2: 128 fires
        ([200, 92, 92], {"reset": "soft"}, [1, 1, 0]),  # v = 72; h = 36 + 92 = 128 fires, v = 0; 92
        ([50, 50, 50], {"leak": 16}, [0, 0, 1]),  # integrate and fire: 50, 100, 150
        ([150, 100, 6], {"leak": 16, "reset": "soft"}, [1, 0, 1]),  # v = 22; 122; 128
        ([127, 127, 128], {"leak": 0}, [0, 0, 1]),  # no memory
        ([127, 8, 8], {"leak": 15}, [0, 0, 0]),  # 127*15 >> 4 = 119: 127; 119 + 8
        ([127, 9, 8], {"leak": 15}, [0, 1, 0]),  # 119 + 9 fires
        ([-1, -1, 0], {"leak": 1}, [0, 0, 0]),
        ([127, 128, 256, 900], {"leak": 0, "levels": 3}, [0, 1, 2, 3]),  # thresholds 128, 256, 384
        ([192, 0, 64], {"levels": 2, "step": 64, "reset": "soft"}, [2, 0, 0]),  # v = 192 - 2*64 = 64; 32; 16 + 64
        ([255, 0], {"levels": 2, "step": 64, "reset": "soft", "leak": 16}, [2, 0]),  # v = 127; 127
        ([191, 128], {"levels": 2, "step": 64}, [1, 1]),  # hard: v = 0
    ],
)
def test_neuron_traces(x, neuron, spikes):
    assert ops.lif(np.array(x, np.int32)[:, None, None, None], 128, **neuron)[:, 0, 0, 0].tolist() == spikes


@given(st.data())
def test_neurons_are_independent_and_match_python(data):
    theta, leak, levels = data.draw(st.integers(1, 200)), data.draw(st.integers(0, 16)), data.draw(st.integers(1, 9))
    step = data.draw(st.integers(0, 300)) if levels > 1 else 0
    reset = data.draw(st.sampled_from(["hard", "soft"]))
    x = np.random.default_rng(data.draw(st.integers(0, 1000))).integers(-300, 400, (9, 2, 3, 4))
    spikes = ops.lif(x, theta, leak, reset, levels, step)
    for at in np.ndindex(2, 3, 4):
        v = 0
        for t in range(9):
            h = v * leak // 16 + int(x[(t, *at)])
            s = sum(h >= theta + k * (step or theta) for k in range(levels))
            assert spikes[(t, *at)] == s
            v = h - s * (step or theta) if reset == "soft" else h if s == 0 else 0


def test_stateless_multi_level_neuron_rounds():
    """Leak 0 and theta = step / 2 is round(clip(x / step, 0, D)), halves up."""
    x = np.arange(-40, 300)
    spikes = ops.lif(x[None], theta=32, leak=0, levels=4, step=64)[0]
    np.testing.assert_array_equal(spikes, np.floor(np.clip(x / 64, 0, 4) + 0.5))


def test_head_sums_over_space_and_time():
    rng = np.random.default_rng(5)
    x = rng.integers(0, 200, (3, 2, 2, 4), np.uint8)
    w = rng.integers(-8, 8, (5, 4, 1, 1), np.int8)
    expected = [sum(int(w[o, c, 0, 0]) * int(x[..., c].sum()) for c in range(4)) for o in range(5)]
    assert ops.head(x, w).tolist() == expected
