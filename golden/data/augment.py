"""Random changes of training clips. Every step takes frames of uint8 and a generator, and returns new frames of uint8.

Frames are [N, h, w] or [N, h, w, 3]. Same generator state, same result. What is drawn in space or of colour is drawn once for all
frames of a clip, since a change from frame to frame would be a motion.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from golden.encoding import Frames, resize, sample, tone, window
from golden.spec.encoding import Encoding

Generator = np.random.Generator


@dataclass(frozen=True, kw_only=True)
class Augmentation:
    """How much clips are changed; the defaults suit small sets of actions. Values that change nothing switch a step off."""

    area: float = 0.6  #: least share of the picture that a crop keeps; 1 for no crop
    aspect: float = 4 / 3  #: most that a crop is stretched
    flip: float = 0.5  #: chance of left and right changing places; 0 where classes differ in direction
    length: float = 0.7  #: least share of the frames that are kept
    speed: float = 1.25  #: most that a clip is made faster or slower, as ratio of frames; it matters with a stride only
    jitter: int = 1  #: frames by which a frame is early or late, at most
    light: float = 0.3  #: most that brightness and contrast change, as share
    erase: float = 0.2  #: most of the picture that is erased, as share of its area


def augment(clip: Frames, rng: Generator, how: Augmentation, encoding: Encoding, name: str = "a clip") -> Frames:
    """What the network sees of a clip that was changed at random, ready for `golden.encoding.encode`: `prepare` with all steps.

    Parameters
    ----------
    clip : [N, h, w] or [N, h, w, 3] uint8
        Out of the cache; not changed itself.
    rng : Generator
        Decides everything.
    how : Augmentation
        How much.
    encoding : Encoding
        Of the network.
    name : str
        Of the clip, for errors.

    Raises
    ------
    DataError
        As `prepare`.
    """
    sample(len(clip), encoding, name)  # the whole clip must be long enough; then a part of it is, too
    at = retime(len(clip), rng, how.length, how.speed, how.jitter, -(-encoding.timesteps // 4))
    frames = tone(clip[at[sample(len(at), encoding)]], encoding)
    frames = crop(frames, rng, (encoding.height, encoding.width), encoding.fit, how.area, how.aspect)
    frames = flip(frames, rng, how.flip)
    frames = relight(frames, rng, how.light)
    return erase(frames, rng, how.erase)


def retime(count: int, rng: Generator, length: float, speed: float, jitter: int, least: int = 1) -> NDArray[np.int64]:
    """Frames of ``count`` to be shown: a stretch of them, faster or slower, each a little early or late.

    Parameters
    ----------
    count : int
        Frames of the clip.
    rng : Generator
        Decides everything.
    length, speed, jitter
        As in `Augmentation`.
    least : int
        Number of frames that are shown at least, some of them repeatedly.

    Returns
    -------
    [M] indices
        Never falling.
    """
    kept = max(1, round(count * rng.uniform(length, 1)))
    first = rng.integers(0, count - kept + 1)
    shown = max(least, round(kept * speed ** rng.uniform(-1, 1)))
    at = first + (2 * np.arange(shown) + 1) * kept // (2 * shown) + rng.integers(-jitter, jitter + 1, shown)
    return np.sort(np.clip(at, 0, count - 1))


def crop(clip: Frames, rng: Generator, size: tuple[int, int], fit: str, area: float, aspect: float) -> Frames:
    """A part of the picture resized to ``size``: at least ``area`` of what ``fit`` takes, from anywhere, stretched a bit."""
    h, w = clip.shape[1:3]
    _, _, rows, columns = window((h, w), size, fit)
    side, shape = np.sqrt(rng.uniform(area, 1)), aspect ** rng.uniform(-0.5, 0.5)
    rows, columns = min(h, max(1, round(rows * side * shape))), min(w, max(1, round(columns * side / shape)))
    y, x = rng.integers(0, h - rows + 1), rng.integers(0, w - columns + 1)
    return resize(clip[:, y : y + rows, x : x + columns], *size)


def flip(clip: Frames, rng: Generator, chance: float) -> Frames:
    """Left and right change places, or not."""
    return np.ascontiguousarray(clip[:, :, ::-1]) if rng.random() < chance else clip.copy()


def relight(clip: Frames, rng: Generator, light: float) -> Frames:
    """Contrast about the clip's mean, and brightness, changed by up to ``light`` of the range."""
    gain, shift = 1 + rng.uniform(-light, light), 255 * rng.uniform(-light, light) / 2
    table = np.clip((np.arange(256) - clip.mean()) * gain + clip.mean() + shift + 0.5, 0, 255).astype(np.uint8)
    return table[clip]


def erase(clip: Frames, rng: Generator, area: float) -> Frames:
    """A rectangle of up to ``area`` of the picture, in the colour of the clip's mean, in all frames."""
    out = clip.copy()
    h, w = clip.shape[1:3]
    part, shape = rng.uniform(0, area), 3 ** rng.uniform(-0.5, 0.5)
    rows, columns = min(h, int(h * np.sqrt(part) * shape)), min(w, int(w * np.sqrt(part) / shape))
    y, x = rng.integers(0, h - rows + 1), rng.integers(0, w - columns + 1)
    out[:, y : y + rows, x : x + columns] = np.round(clip.mean(axis=(0, 1, 2)))
    return out
