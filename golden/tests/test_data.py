"""Digit motion: what makes it a data set of order, and its video files."""

import av
import numpy as np
import pytest

from golden.data import baselines as features
from golden.data import digit_motion
from golden.data.baselines import baselines
from golden.data.cache import Clips
from golden.data.digit_motion import CLASSES, FRAMES, SIZE
from golden.data.folder import Item
from golden.encoding import EVENT
from golden.spec.encoding import Encoding


def test_digits_of_the_splits_are_disjoint():
    parts = [set(digit_motion.split_digits(split).tolist()) for split in digit_motion.SPLITS]
    assert len(set().union(*parts)) == sum(len(part) for part in parts) == 1797
    images = digit_motion.digits()
    seen = [{images[i].tobytes() for i in part} for part in parts]
    assert not seen[0] & seen[2] and not seen[0] & seen[1] and not seen[1] & seen[2]


@pytest.mark.parametrize("pair", range(4))
def test_reversal_pairs_show_the_same_frames(pair):
    chances = digit_motion.draw("test", 12)
    one, other = (digit_motion.render(chances, np.full(12, 2 * pair + i)) for i in (0, 1))
    for a, b in zip(one, other, strict=True):
        assert sorted(x.tobytes() for x in a) == sorted(x.tobytes() for x in b)
        assert len({x.tobytes() for x in a}) == FRAMES
        assert np.array_equal(np.roll(a[::-1], 1, axis=0), b)  # backwards, from the same first frame


def test_motions_are_what_they_are_called():
    chances = digit_motion.draw("test", 40)
    rows, columns = np.mgrid[:SIZE, :SIZE]

    def shift(clip, axis):  # of the circular mean position, per frame
        mass = clip.astype(float).sum(axis=(1, 2) if axis is None else 2 - axis)
        if axis is None:
            return np.median(np.diff(mass))
        at = np.angle((mass * np.exp(2j * np.pi * np.arange(SIZE) / SIZE)).sum(axis=1))
        return np.angle(np.exp(1j * np.diff(at))).mean() * SIZE / (2 * np.pi)

    for label, axis, sign in ((0, 0, -2), (1, 0, 2), (2, 1, -2), (3, 1, 2)):
        moved = [shift(clip, axis) for clip in digit_motion.render(chances, np.full(40, label))]
        assert np.allclose(moved, sign, atol=0.3), CLASSES[label]
    for label, sign in ((6, 1), (7, -1)):
        grown = [np.sign(shift(clip, None)) for clip in digit_motion.render(chances, np.full(40, label))]
        assert grown == [sign] * 40, CLASSES[label]
    # clockwise: the brightest part turns from the top to the right (of a 7, whose bar is off its middle, say)
    for label, sign in ((4, 1), (5, -1)):
        turned = []
        for (y, x), clip in zip(chances.centre, digit_motion.render(chances, np.full(40, label)), strict=True):
            dy, dx = rows - (SIZE - 1) / 2 - y, columns - (SIZE - 1) / 2 - x
            angle = np.angle((clip * (dx + 1j * dy)).sum(axis=(1, 2)))
            turned.append(np.angle(np.exp(1j * np.diff(angle))).mean())
        assert np.median(turned) * sign == pytest.approx(2 * np.pi / FRAMES, rel=0.1), CLASSES[label]


def test_same_seed_same_clips():
    one, labels = digit_motion.make("val", 16, 5)
    again, _ = digit_motion.make("val", 16, 5)
    other, _ = digit_motion.make("val", 16, 6)
    assert np.array_equal(one, again) and not np.array_equal(one, other)
    assert one.shape == (16, FRAMES, SIZE, SIZE) and one.dtype == np.uint8
    assert np.bincount(labels).tolist() == [2] * 8


@pytest.mark.parametrize(("suffix", "error"), [("mkv", 0), ("mp4", 16)])
def test_video_files_hold_the_pixels(tmp_path, suffix, error):
    clip = digit_motion.make("test", 1)[0][0]
    digit_motion.write_video(tmp_path / f"a.{suffix}", clip)
    with av.open(str(tmp_path / f"a.{suffix}")) as container:
        read = np.stack([frame.to_ndarray(format="gray") for frame in container.decode(video=0)])
    assert read.shape == clip.shape
    assert np.abs(read.astype(int) - clip).max() <= error


def test_without_order_only_the_pair_is_known():
    scores = {score.name: score for score in baselines(train=800, test=400)}
    for name in ("one frame", "frames, order hidden"):
        assert 0.4 < scores[name].within < 0.6 and scores[name].overall < 0.58, scores[name]  # 5 standard errors about a half
    assert scores["frames, order hidden"].pair > 0.9
    assert scores["motion"].overall > 0.9, "the control: what hides the order is not the features"


def test_features_of_moving_edges():
    x = np.arange(64)
    bar = lambda at: np.broadcast_to(np.where(abs(x - at) < 6, 200, 20).astype(np.uint8), (64, 64))  # noqa: E731
    right = np.stack([bar(10 + 2 * t) for t in range(16)])
    flow = [features.motion(clip)[1764:].reshape(3, 4, 4, 8).sum(axis=(0, 1, 2)) for clip in (right, right[::-1])]
    assert flow[0].argmax() in (0, 7) and flow[1].argmax() in (3, 4), "angles in eighths of a turn: 0 is to the right"
    assert np.array_equal(features.frame_set(right), features.frame_set(right[::-1]))
    edges = features.hog(right[0]).reshape(7, 7, 4, 9).sum(axis=(0, 1, 2))
    assert edges.argmax() in (0, 8) and edges[1:8].max() < 0.1 * edges.max(), "upright edges have level gradients"


def stored(folder, clips, labels):
    """Clips as a cache gives them."""
    for i, clip in enumerate(clips):
        np.save(folder / f"{i}.npy", clip)
    items = tuple(Item(folder / f"{i}.npy", int(label), "") for i, label in enumerate(labels))
    return Clips(items, tuple(item.path for item in items), ())


def test_baselines_of_videos_and_events(tmp_path):
    encoding = Encoding(height=32, width=32, timesteps=8, frames=2, patch=4)
    parts = []
    for split, count in (("train", 64), ("val", 16), ("test", 16)):
        (tmp_path / split).mkdir()
        clips, labels = digit_motion.make(split, count)
        parts.append(stored(tmp_path / split, np.repeat(clips[..., None], 3, axis=-1), labels // 2))
    found = features.accuracies(parts[0], parts[1], parts[2], encoding)
    assert list(found) == list(features.FEATURES) and found["motion"] > 0.7 and all(0 <= value <= 1 for value in found.values())

    rng, parts = np.random.default_rng(0), []
    for split in "abc":
        (tmp_path / split).mkdir()
        labels = np.arange(20) % 2
        events = [np.zeros(50, EVENT) for _ in labels]
        for label, event in zip(labels, events, strict=True):
            event["t"], event["x"], event["y"] = np.arange(50), rng.integers(0, 8, 50) + 8 * label, rng.integers(0, 16, 50)
        parts.append(stored(tmp_path / split, events, labels))
    encoding = Encoding(kind="events", height=16, width=16, timesteps=8, frames=1, patch=4, bits=4,
                        sensor_height=16, sensor_width=16)
    assert features.accuracies(parts[0], parts[1], parts[2], encoding) == {"all events in one picture": 1.0}


def test_the_classifier_is_chosen_on_validation_clips():
    """A ring around a disc: no line parts them, an RBF machine does."""
    rng = np.random.default_rng(0)

    def part(n):
        labels = np.arange(n) % 2
        angle, radius = rng.uniform(0, 2 * np.pi, n), np.where(labels, 2, rng.uniform(0, 1, n))
        return np.stack([radius * np.cos(angle), radius * np.sin(angle), np.zeros(n)], axis=1).astype(np.float32), labels

    train, val, (test, truth) = part(60), part(40), part(100)
    decision = features.judge(train, val, test)
    assert decision.shape == (100, 2) and (decision.argmax(axis=1) == truth).mean() > 0.95
