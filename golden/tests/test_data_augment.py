"""Augmentation: shapes, types, determinism, and that each step does what it says."""

from collections.abc import Callable
from dataclasses import replace

import numpy as np
import pytest

from golden.data import augment
from golden.data.augment import Augmentation
from golden.encoding import EVENT, DataError, encode, prepare, sample
from golden.spec.encoding import Encoding
from golden.tests.test_data_events import some

CLIP = np.random.default_rng(0).integers(0, 256, (20, 24, 32, 3), np.uint8)
ENCODING = Encoding(height=16, width=20, timesteps=8, frames=2, patch=4)
NOTHING = Augmentation(area=1, aspect=1, flip=0, length=1, speed=1, jitter=0, light=0, erase=0)
STEPS = {"crop": ((16, 16), "stretch", 0.5, 1.5), "relight": (0.4,), "erase": (0.3,)}


def rng(seed=0):
    return np.random.default_rng(seed)


@pytest.mark.parametrize("name", STEPS)
@pytest.mark.parametrize("clip", [CLIP, CLIP[..., 0], CLIP[:1]], ids=["colour", "grey", "one frame"])
def test_same_seed_same_frames(name, clip):
    step: Callable = (lambda *values: augment.crop(*values)[0]) if name == "crop" else getattr(augment, name)
    before = clip.copy()
    one, again = (step(clip, rng(1), *STEPS[name]) for _ in range(2))
    assert np.array_equal(one, again) and one.dtype == np.uint8 and len(one) == len(clip) and one.shape[3:] == clip.shape[3:]
    assert one.shape[1:3] == ((16, 16) if name == "crop" else clip.shape[1:3])
    assert np.array_equal(clip, before) and not np.shares_memory(one, clip)
    assert len({step(clip, rng(seed), *STEPS[name]).tobytes() for seed in range(20)}) > 1


@pytest.mark.parametrize("change", [{}, {"kind": "rgb"}, {"kind": "difference", "frames": 1, "threshold": 9}, {"stride": 2}])
def test_augmented_clips_are_encoded_like_others(change):
    encoding = Encoding(**{**vars(ENCODING), **change})
    before = CLIP.copy()
    one, again, other = (augment.augment(CLIP, rng(seed), Augmentation(), encoding).frames for seed in (1, 1, 2))
    assert np.array_equal(one, again) and not np.array_equal(one, other) and np.array_equal(CLIP, before)
    assert encode(one, encoding).shape == encoding.shape
    same = augment.augment(CLIP, rng(), NOTHING, encoding)
    assert np.array_equal(same.frames, prepare(CLIP, encoding))
    assert not same.flipped and same.at.tolist() == sample(len(CLIP), encoding).tolist() and same.box == augment.WHOLE


def test_short_clips_stay_long_enough():
    for seed in range(50):
        assert len(augment.augment(CLIP[:2], rng(seed), Augmentation(length=0.1, speed=4), ENCODING).frames) == 8
    with pytest.raises(DataError, match="mine has 1 frames; 8 are wanted"):
        augment.augment(CLIP[:1], rng(), Augmentation(), ENCODING, "mine")


def test_time_runs_on():
    lengths, kept = set(), set()
    for seed in range(200):
        at = augment.retime(20, rng(seed), 0.5, 1.5, 1)
        assert (np.diff(at) >= 0).all() and at[0] >= 0 and at[-1] < 20
        assert np.array_equal(at, augment.retime(20, rng(seed), 0.5, 1.5, 1))
        lengths.add(len(at))
        kept.add(at[-1] - at[0] + 1)
    assert min(lengths) < 9 and max(lengths) > 24 and min(kept) <= 11 and max(kept) == 20


def test_crop_is_a_part_of_the_picture():
    ramp = np.broadcast_to(np.arange(0, 64, 2, dtype=np.uint8), (2, 24, 32))
    widths = []
    for seed in range(100):
        row = augment.crop(ramp, rng(seed), (24, 32), "stretch", 0.5, 1.0)[0][0, 0].astype(int)
        assert (np.diff(row) >= 0).all()
        widths.append((row[-1] - row[0] + 2) / 64)
    assert 0.65 < min(widths) < 0.78 and max(widths) > 0.95  # the root of half of the area


def test_crop_keeps_the_aspect_ratio_where_the_network_does():
    square = np.zeros((1, 30, 60), np.uint8)
    square[:, :, 20:40] = 255  # 20 of 60 columns; the network sees 30 of them
    shares = [augment.crop(square, rng(seed), (30, 30), "crop", 1, 1.0)[0][0, 0].mean() / 255 for seed in range(50)]
    assert 0.3 < min(shares) < 0.45 and max(shares) == pytest.approx(20 / 30)


def test_flips_and_frames_are_told():
    known = prepare(CLIP, replace(ENCODING, timesteps=20))
    flips = 0
    for seed in range(100):
        seen = augment.augment(CLIP, rng(seed), replace(NOTHING, flip=0.5, length=0.5, jitter=1), ENCODING)
        assert np.array_equal(seen.frames, known[seen.at][:, :, ::-1] if seen.flipped else known[seen.at])
        flips += seen.flipped
    assert 30 < flips < 70


def test_events():
    encoding = Encoding(kind="events", height=34, width=34, timesteps=4, frames=1, patch=2, bits=4,
                        sensor_height=34, sensor_width=34)
    events = some()
    assert np.array_equal(augment.augment(events, rng(), NOTHING, encoding).frames, prepare(events, encoding))
    mirrored = augment.augment(events, rng(), replace(NOTHING, flip=1), encoding)
    assert mirrored.flipped and np.array_equal(mirrored.frames, prepare(events, encoding)[:, :, ::-1])
    assert np.array_equal(events, some()), "not changed itself"
    one, again, other = (augment.augment(events, rng(seed), Augmentation(), encoding).frames for seed in (1, 1, 2))
    assert np.array_equal(one, again) and not np.array_equal(one, other) and one.shape == (4, 34, 34, 2)
    sums = [augment.augment(events, rng(seed), replace(NOTHING, length=0.7), encoding).frames.sum() for seed in range(50)]
    assert 200 < min(sums) < 230 and max(sums) > 285
    zoomed = [augment.augment(events, rng(seed), replace(NOTHING, area=0.5), encoding).frames for seed in range(20)]
    assert min(frames.sum() for frames in zoomed) < 250 and len({frames.tobytes() for frames in zoomed}) > 10
    everywhere = np.zeros(34 * 34, EVENT)
    everywhere["y"], everywhere["x"] = np.divmod(np.arange(34 * 34), 34)
    erased = [augment.augment(everywhere, rng(seed), replace(NOTHING, erase=0.2), encoding).frames for seed in range(50)]
    shares = [rectangular(frames.sum(axis=(0, 3)) == 0) for frames in erased]
    assert max(shares) < 0.22 and np.mean(shares) > 0.05
    with pytest.raises(DataError, match="in bins already"):
        augment.augment(np.zeros((4, 2, 34, 34), int), rng(), NOTHING, encoding)


def test_events_turn_about_the_middle():
    events = np.zeros(3, EVENT)
    events["x"], events["y"] = [0, 4, 2], [1, 2, 2]
    turned = augment.turn(events, np.pi / 2, 5, 5)  # what lies right of the middle comes below it
    assert list(zip(turned["x"], turned["y"], strict=True)) == [(3, 0), (2, 4), (2, 2)]
    assert len(augment.turn(events, np.pi / 4, 3, 5)) < 3, "what leaves the sensor is left out"


def test_light_keeps_the_order_of_pixels():
    ramp = np.arange(256, dtype=np.uint8).reshape(1, 16, 16)
    means = []
    for seed in range(50):
        out = augment.relight(ramp, rng(seed), 0.4)
        assert (np.diff(out.ravel().astype(int)) >= 0).all()
        means.append(out.mean())
    assert min(means) < 105 and max(means) > 150


def rectangular(gone):
    """Share of the picture that is gone, which is one rectangle."""
    rows, columns = np.flatnonzero(gone.any(axis=1)), np.flatnonzero(gone.any(axis=0))
    assert not gone.any() or gone[rows[0] : rows[-1] + 1, columns[0] : columns[-1] + 1].mean() > 0.99
    return gone.mean()


def test_erased_part_is_the_same_in_all_frames():
    noisy = np.random.default_rng(1).integers(0, 256, (6, 24, 32), np.uint8)
    shares = [rectangular((augment.erase(noisy, rng(seed), 0.3) != noisy).any(axis=0)) for seed in range(50)]
    assert max(shares) < 0.32 and np.mean(shares) > 0.08
