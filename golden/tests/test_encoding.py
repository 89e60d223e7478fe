"""Pixels, samples and bins as docs/data.md specifies them, against slow arithmetic written out here."""

from dataclasses import replace
from fractions import Fraction

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from golden import encoding as data
from golden.encoding import EVENT, DataError, encode, prepare
from golden.spec.encoding import Encoding, EncodingError

LUMA = Encoding(height=8, width=12, timesteps=5, frames=2, patch=4)
RGB = replace(LUMA, kind="rgb")
DIFFERENCE = replace(LUMA, kind="difference", frames=1, threshold=20)
EVENTS = replace(LUMA, kind="events", frames=1, bits=2, sensor_height=16, sensor_width=24)


def noise(*shape):
    return np.random.default_rng(1).integers(0, 256, shape, np.uint8)


def test_grey_is_the_formula():
    r, g, b = (noise(9, 7, 3)[..., i].astype(int) for i in range(3))
    assert np.array_equal(data.grey(noise(9, 7, 3)), (77 * r + 150 * g + 29 * b + 128) >> 8)
    assert np.array_equal(data.grey(np.stack([noise(5)] * 3, axis=-1)), noise(5)), "grey stays as it is"


@pytest.mark.parametrize(("source", "target"), [((48, 64), (16, 16)), ((17, 23), (8, 8)), ((7, 5), (16, 12)), ((9, 9), (9, 9))])
def test_resize_is_the_area_average(source, target):
    frames = noise(2, *source, 3)
    fine = np.kron(frames.transpose(0, 3, 1, 2).astype(np.int64), np.ones(target, np.int64))  # common multiple of both grids
    mean = fine.reshape(2, 3, target[0], source[0], target[1], source[1]).mean(axis=(3, 5))
    wanted = np.floor(mean + 0.5).transpose(0, 2, 3, 1)
    assert np.array_equal(data.resize(frames, *target), wanted)
    assert np.array_equal(data.resize(frames[..., 1], *target), wanted[..., 1])


def test_halves_round_up():
    frames = np.array([[[0, 1], [1, 0]], [[2, 3], [3, 2]]], np.uint8)
    assert data.resize(frames, 1, 1).ravel().tolist() == [1, 3]


@pytest.mark.parametrize(("size", "part"), [
    ((240, 320), (0, 40, 240, 240)), ((320, 240), (40, 0, 240, 240)), ((100, 100), (0, 0, 100, 100)), ((7, 10), (0, 1, 7, 7)),
])
def test_the_crop_is_in_the_middle(size, part):
    assert data.window(size, (64, 64), "crop") == part
    assert data.window(size, (64, 64), "stretch") == (0, 0, *size)


@given(*[st.integers(1, 400)] * 2, *[st.integers(1, 64)] * 2)
def test_a_crop_is_the_largest_of_its_aspect(h, w, height, width):
    y, x, rows, columns = data.window((h, w), (height, width), "crop")
    assert (rows == h or columns == w) and y == (h - rows) // 2 and x == (w - columns) // 2
    if rows == h:
        assert columns in (w, 1) or abs(columns - Fraction(h * width, height)) <= Fraction(1, 2)
    else:
        assert rows == 1 or abs(rows - Fraction(w * height, width)) <= Fraction(1, 2)


@pytest.mark.parametrize(("count", "steps", "stride", "chosen"), [
    (4, 4, 0, [0, 1, 2, 3]), (12, 4, 0, [1, 4, 7, 10]), (1, 4, 0, [0, 0, 0, 0]),
    (9, 3, 2, [2, 4, 6]), (10, 4, 2, [1, 3, 5, 7]), (3, 4, 2, [0, 0, 2, 2]),
])
def test_sampling(count, steps, stride, chosen):
    assert data.sample(count, replace(LUMA, timesteps=steps, stride=stride)).tolist() == chosen


def test_too_few_frames():
    with pytest.raises(DataError, match="a clip has 1 frames; 5 are wanted, and at least 2 needed"):
        prepare(noise(1, 8, 12), LUMA)


@pytest.mark.parametrize(("encoding", "colours"), [(LUMA, 1), (RGB, 3)])
def test_channels_of_pixels(encoding, colours):
    frames = noise(2, 5, 8, 12, 3) if colours == 3 else noise(2, 5, 8, 12)
    x = encode(frames, encoding)
    assert x.shape == (2, 5, 2, 3, 2 * colours * 16) and encoding.planes == 8
    pixels = frames.reshape(2, 5, 8, 12, colours)
    for n, t, y, x_, frame, colour, row, column in np.random.default_rng(0).integers(0, (2, 5, 2, 3, 2, colours, 4, 4), (200, 8)):
        channel = ((frame * colours + colour) * 4 + row) * 4 + column
        assert x[n, t, y, x_, channel] == pixels[n, max(t - frame, 0), 4 * y + row, 4 * x_ + column, colour]


def test_differences_are_bits_of_change():
    frames = noise(5, 8, 12)
    x = encode(frames, DIFFERENCE)
    assert x.shape == (5, 2, 3, 32) and DIFFERENCE.planes == 1
    assert not x[0].any() and 0 < x.mean() < 1
    change = np.diff(frames.astype(int), axis=0)
    for polarity, bits in enumerate((change >= 20, change <= -20)):
        for row, column in np.ndindex(4, 4):
            assert np.array_equal(x[1:, :, :, (polarity * 4 + row) * 4 + column], bits[:, row::4, column::4])


def some_events(n=400, seed=0):
    rng = np.random.default_rng(seed)
    events = np.empty(n, EVENT)
    events["t"] = np.sort(rng.integers(1000, 3000, n))
    events["x"], events["y"], events["p"] = rng.integers(0, 24, n), rng.integers(0, 16, n), rng.integers(0, 2, n)
    return events


@pytest.mark.parametrize("bins", ["time", "number"])
@pytest.mark.parametrize(("sensor", "left"), [((16, 24), 0), ((16, 28), 2)])
def test_events_are_counted_in_bins(bins, sensor, left):
    encoding = replace(EVENTS, bins=bins, fit="crop", sensor_height=sensor[0], sensor_width=sensor[1])
    events = some_events()
    wanted = np.zeros((5, 8, 12, 2), int)
    first, last = int(events["t"][0]), int(events["t"][-1])
    for k, (t, x, y, p) in enumerate(events.tolist()):
        step = k * 5 // 400 if bins == "number" else (t - first) * 5 // (last - first + 1)
        if left <= x < left + 24:
            wanted[step, y // 2, (x - left) // 2, 1 - p] += 1
    assert wanted.max() > 3
    counts = prepare(events, encoding)
    assert np.array_equal(counts, np.minimum(wanted, 3))
    x = encode(counts, encoding)
    assert x.shape == encoding.shape == (5, 2, 3, 32) and encoding.planes == 2
    assert x[3, 1, 2, (1 * 4 + 2) * 4 + 3] == counts[3, 6, 11, 1]


def test_events_in_bins_already_are_the_same():
    events = some_events()
    array = np.zeros((5, 2, 16, 24), np.int16)
    steps = (events["t"] - events["t"][0]) * 5 // (events["t"][-1] - events["t"][0] + 1)
    np.add.at(array, (steps, events["p"], events["y"], events["x"]), 1)
    assert np.array_equal(prepare(array, EVENTS), prepare(events, EVENTS))
    with pytest.raises(DataError, match="in 4 bins; 5 are wanted"):
        prepare(array[:4], EVENTS)


def test_no_events_are_no_counts():
    assert not prepare(np.empty(0, EVENT), EVENTS).any()


def test_what_the_network_cannot_see_is_refused():
    with pytest.raises(DataError, match="sees colour, but the frames are grey"):
        prepare(noise(5, 8, 12), RGB)
    with pytest.raises(DataError, match="frames are 4 x 8 x 12, not 5 x 8 x 12"):
        encode(noise(4, 8, 12), LUMA)


@pytest.mark.parametrize(("base", "change", "message"), [
    (LUMA, {"kind": "pixels"}, "luma, rgb, difference, events"), (LUMA, {"height": 10}, "10 x 12 pixels are no whole patches"),
    (LUMA, {"frames": 3}, "1 or 2"), (DIFFERENCE, {"frames": 2}, "others 1"), (LUMA, {"threshold": 5}, "only difference has it"),
    (DIFFERENCE, {"threshold": 0}, r"1\.\.255"), (LUMA, {"bins": "number"}, "only events"), (LUMA, {"patch": 0}, "from 1 up"),
    (EVENTS, {"bits": 9}, r"1\.\.8 bits"), (EVENTS, {"sensor_width": 0}, "sensor size"), (EVENTS, {"stride": 2}, "no frames"),
    (LUMA, {"width": True}, "not a number"), (LUMA, {"fit": None}, "stretch, crop"), (LUMA, {"timesteps": 2.0}, "not a number"),
])
def test_senseless_encodings_are_refused(base, change, message):
    with pytest.raises(EncodingError, match=message):
        replace(base, **change)
