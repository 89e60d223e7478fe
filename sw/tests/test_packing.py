"""Every layout comes back as it went, and lies in memory as docs/architecture.md says."""

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from sw import packing
from sw.clips import ClipPacker
from sw.windows import Windows

sizes = st.integers(1, 5)
seeds = st.integers(0, 2**32 - 1)


@settings(max_examples=40, deadline=None)
@given(st.tuples(sizes, sizes, sizes, st.integers(1, 70)), st.sampled_from([8, 32, 64]), st.integers(1, 8), seeds)
def test_spikes(shape, word, planes, seed):
    x = np.random.default_rng(seed).integers(0, 1 << planes, shape, np.uint8)
    pack = ClipPacker(shape, Windows(), word, planes)
    data = pack(x)
    assert np.array_equal(packing.unpack_spikes(data, shape, word, planes), x)
    other = pack((1 << planes) - 1 - x)
    assert np.array_equal(pack(x, other), data)
    t, h, w, c = (n - 1 for n in shape)
    words = -(-shape[3] // word)
    position = ((h * shape[2] + w) * shape[0] + t) * planes + planes - 1
    bit = (position * words + c // word) * word + c % word
    assert data[bit // 8] >> bit % 8 & 1 == x[t, h, w, c] >> planes - 1


def test_time_steps_up_to_the_next_multiple_of_the_cores():
    x = np.random.default_rng(0).integers(0, 2, (5, 2, 3, 9), np.uint8)
    pack = ClipPacker(x.shape, Windows(), 8, cores=4)
    pack(np.ones_like(x))
    found = packing.unpack_spikes(pack(x), (8, 2, 3, 9), 8)
    assert np.array_equal(found[:5], x) and not found[5:].any()


@settings(max_examples=40, deadline=None)
@given(st.tuples(sizes, sizes, sizes, st.integers(1, 70)), st.sampled_from([8, 32]), st.integers(1, 3),
       st.sampled_from([1, 2, 4]), st.integers(0, 2), seeds)
def test_places_of_banks(shape, word, planes, cores, gap, seed):
    steps, h, w, c = shape
    shape = steps * cores, h, w, c
    rng = np.random.default_rng(seed)
    words = ClipPacker(shape, Windows(), word, planes)(rng.integers(0, 1 << planes, shape, np.uint8))
    size = words.size // (h * w * steps * cores)  # bytes of a time step of a place
    stored = rng.integers(0, 256, (h * w, cores, steps * size + gap * word // 8), np.uint8)
    for place, t in np.ndindex(h * w, steps * cores):
        at = t // cores * size
        stored[place, t % cores, at : at + size] = words.reshape(h * w, steps * cores, size)[place, t]
    assert np.array_equal(packing.join_banks(stored.reshape(-1), cores, stored.shape[2], steps * cores, size), words)


@settings(max_examples=40, deadline=None)
@given(st.tuples(sizes, sizes, sizes, st.integers(1, 40)), st.sampled_from([8, 16, 64]), seeds)
def test_residual(shape, lanes, seed):
    u = np.random.default_rng(seed).integers(-(1 << 15), 1 << 15, shape, np.int16)
    data = packing.pack_residual(u, lanes)
    assert np.array_equal(packing.unpack_residual(data, shape, lanes), u)
    assert data.size == shape[0] * shape[1] * shape[2] * 2 * packing.round_up(shape[3], lanes)


@settings(max_examples=40, deadline=None)
@given(st.tuples(st.integers(1, 40), st.integers(1, 70), st.integers(1, 3), st.integers(1, 3)),
       st.sampled_from([(8, 32), (16, 32), (64, 64)]), st.integers(1, 3), seeds)
def test_broadcast_weights(shape, sizes, slices, seed):
    lanes, word = sizes
    o, i, kh, kw = shape
    high = 1 << 4 * slices - 1
    w = np.random.default_rng(seed).integers(-high, high, shape, np.int32)
    rows = packing.broadcast_rows(w, lanes, word, slices)
    stored = packing.unpack_rows(packing.pack_rows(rows), lanes)
    assert np.array_equal(stored, rows)
    groups, words = -(-o // lanes), -(-i // word)
    assert len(rows) == groups * slices * kh * kw * words * word
    back = packing.join_broadcast_rows(stored, groups, slices, (kh, kw))
    assert np.array_equal(back[:o, :i], w) and not back[o:].any() and not back[:, i:].any()
    g, s, tap = (o - 1) // lanes, slices - 1, kh * kw - 1
    row = (((g * slices + s) * kh * kw + tap) * words + (i - 1) // word) * word + (i - 1) % word
    assert rows[row, (o - 1) % lanes] == w[-1, -1, -1, -1] >> 4 * s & 15


@settings(max_examples=20, deadline=None)
@given(st.integers(1, 70), st.sampled_from([8, 16, 64]), st.integers(1, 5), st.integers(1, 3), seeds)
def test_lanewise_weights(o, lanes, k, slices, seed):
    high = 1 << 4 * slices - 1
    w = np.random.default_rng(seed).integers(-high, high, (o, 1, k, k), np.int32)
    rows = packing.lanewise_rows(w, lanes, slices)
    groups = -(-o // lanes)
    back = packing.join_lanewise_rows(packing.unpack_rows(packing.pack_rows(rows), lanes), groups, (k, k), slices)
    assert len(rows) == groups * slices * k * k and np.array_equal(back[:o], w)
    row = ((o - 1) // lanes * slices + slices - 1) * k * k + k * k - 1
    assert rows[row, (o - 1) % lanes] == w[-1, 0, -1, -1] >> 4 * (slices - 1) & 15


@settings(max_examples=20, deadline=None)
@given(st.integers(1, 70), seeds)
def test_parameters(o, seed):
    rng = np.random.default_rng(seed)
    bias = rng.integers(-(1 << 23), 1 << 23, o, np.int32)
    shift = rng.integers(-8, 24, o).astype(np.int8)
    got = packing.unpack_parameters(packing.pack_parameters(bias, shift, 16))
    assert np.array_equal(got[0][:o], bias) and np.array_equal(got[1][:o], shift)
    assert not got[0][o:].any() and not got[1][o:].any()


def test_what_does_not_fit_is_refused():
    with pytest.raises(packing.PackingError, match="up to 2 do not fit 1 bit planes"):
        ClipPacker((1, 1, 1, 2), Windows(), 8)(np.array([[[[0, 2]]]], np.uint8))
    with pytest.raises(packing.PackingError, match=r"a clip of int64 \[1, 1, 1, 2\], not uint8 \[1, 1, 1, 2\]"):
        ClipPacker((1, 1, 1, 2), Windows(), 8)(np.array([[[[0, 1]]]]))
    with pytest.raises(packing.PackingError, match="-9 to 0 do not fit 1 signed slices"):
        packing.weight_slices(np.array([-9, 0]), 1)
