"""Digit motion: what makes it a data set of order, and its video files."""

import av
import numpy as np
import pytest

from golden.data import digit_motion
from golden.data.baselines import baselines
from golden.data.digit_motion import CLASSES, FRAMES, SIZE


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
    for name, score in scores.items():
        if not name.startswith("control"):
            assert 0.4 < score.within < 0.6 and score.overall < 0.58, score  # 5 standard errors about one half
    assert scores["frames, order hidden, logistic regression"].pair > 0.9
    assert scores["control: order seen, logistic regression"].within > 0.9
