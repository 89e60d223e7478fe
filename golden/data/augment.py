"""Random changes of training clips. Every step takes frames of uint8 and a generator, and returns new frames of uint8.

Frames are [N, h, w] or [N, h, w, 3]. Same generator state, same result. What is drawn in space or of colour is drawn once for all
frames of a clip, since a change from frame to frame would be a motion.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from golden.encoding import DataError, Frames, prepare, resize, sample, tone, window
from golden.spec.encoding import EVENTS, Encoding

Generator = np.random.Generator
Box = tuple[float, float, float, float]  #: first row, first column, rows, columns of a part, as shares of the picture
WHOLE: Box = (0.0, 0.0, 1.0, 1.0)


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
    turn: float = 0.0  #: degrees that a recording of events is turned about the sensor's middle, at most


class Augmented(NamedTuple):
    """What the network sees of a clip that was changed."""

    frames: Frames  #: ready for `golden.encoding.encode`, as `prepare` makes them
    at: NDArray[np.int64]  #: [T], which of the clip's frames each is; of events, the bin
    flipped: bool  #: left and right have changed places
    box: Box  #: part of the picture, before it was flipped


def augment(clip: NDArray, rng: Generator, how: Augmentation, encoding: Encoding, name: str = "a clip") -> Augmented:
    """`prepare` with random changes.

    Parameters
    ----------
    clip : [N, h, w] or [N, h, w, 3] uint8, or [n] EVENT
        Out of the cache; not changed itself.
    rng : Generator
        Decides everything.
    how : Augmentation
        How much. Of events, speed, jitter and light are not used.
    encoding : Encoding
        Of the network.
    name : str
        Of the clip, for errors.

    Raises
    ------
    DataError
        As `prepare`, and if events are in bins already.
    """
    if encoding.kind == EVENTS:
        return _augment_events(clip, rng, how, encoding, name)
    sample(len(clip), encoding, name)  # the whole clip must be long enough; then a part of it is, too
    at = retime(len(clip), rng, how.length, how.speed, how.jitter, -(-encoding.timesteps // 4))
    at = at[sample(len(at), encoding)]
    frames = tone(clip[at], encoding)
    frames, box = crop(frames, rng, (encoding.height, encoding.width), encoding.fit, how.area, how.aspect)
    flipped = bool(rng.random() < how.flip)
    frames = frames[:, :, ::-1] if flipped else frames
    frames = relight(frames, rng, how.light)
    return Augmented(erase(frames, rng, how.erase), at, flipped, box)


def _augment_events(events: NDArray, rng: Generator, how: Augmentation, encoding: Encoding, name: str) -> Augmented:
    """A part of the recording and of the sensor, turned, mirrored or not, without the events of a rectangle."""
    if not events.dtype.names:
        raise DataError(f"{name} has its events in bins already: they cannot be augmented")
    height, width = encoding.sensor_height, encoding.sensor_width
    kept = max(1, round(len(events) * rng.uniform(how.length, 1)))
    first = rng.integers(0, len(events) - kept + 1)
    events = np.array(events[first : first + kept])
    events = events[~_inside(events, *rectangle(height, width, rng, how.erase))]
    if how.turn:
        events = turn(events, np.radians(rng.uniform(-how.turn, how.turn)), height, width)
    y, x, rows, columns = part((height, width), (height, width), rng, how.area, how.aspect)
    events = events[_inside(events, y, x, rows, columns)]
    events["y"], events["x"] = (events["y"] - y) * height // rows, (events["x"] - x) * width // columns
    flipped = bool(rng.random() < how.flip)
    if flipped:
        events["x"] = width - 1 - events["x"]
    return Augmented(prepare(events, encoding, name), np.arange(encoding.timesteps), flipped, WHOLE)


def turn(events: NDArray, angle: float, height: int, width: int) -> NDArray:
    """Events turned about the middle of the sensor by ``angle`` (radians, from x towards y), without those that leave it."""
    y, x = events["y"] - (height - 1) / 2, events["x"] - (width - 1) / 2
    rows = np.rint(np.cos(angle) * y + np.sin(angle) * x + (height - 1) / 2).astype(np.int64)
    columns = np.rint(np.cos(angle) * x - np.sin(angle) * y + (width - 1) / 2).astype(np.int64)
    inside = (rows >= 0) & (rows < height) & (columns >= 0) & (columns < width)
    events = events[inside]
    events["y"], events["x"] = rows[inside], columns[inside]
    return events


def _inside(events: NDArray, y: int, x: int, rows: int, columns: int) -> NDArray[np.bool_]:
    """Which events are in a rectangle."""
    return (events["y"] >= y) & (events["y"] < y + rows) & (events["x"] >= x) & (events["x"] < x + columns)


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


def crop(
    clip: Frames, rng: Generator, size: tuple[int, int], fit: str, area: float, aspect: float,
) -> tuple[Frames, Box]:
    """A part of the picture resized to ``size``: at least ``area`` of what ``fit`` takes, from anywhere, stretched a bit."""
    h, w = clip.shape[1:3]
    _, _, rows, columns = window((h, w), size, fit)
    y, x, rows, columns = part((h, w), (rows, columns), rng, area, aspect)
    return resize(clip[:, y : y + rows, x : x + columns], *size), (y / h, x / w, rows / h, columns / w)


def part(
    picture: tuple[int, int], whole: tuple[int, int], rng: Generator, area: float, aspect: float,
) -> tuple[int, int, int, int]:
    """First row, first column, rows, columns of a part of a picture: ``area`` or more of the size ``whole``, stretched a bit."""
    side, shape = np.sqrt(rng.uniform(area, 1)), aspect ** rng.uniform(-0.5, 0.5)
    rows, columns = (
        min(size, max(1, round(x))) for size, x in zip(picture, (whole[0] * side * shape, whole[1] * side / shape), strict=True)
    )
    return int(rng.integers(0, picture[0] - rows + 1)), int(rng.integers(0, picture[1] - columns + 1)), rows, columns


def relight(clip: Frames, rng: Generator, light: float) -> Frames:
    """Contrast about the clip's mean, and brightness, changed by up to ``light`` of the range."""
    gain, shift = 1 + rng.uniform(-light, light), 255 * rng.uniform(-light, light) / 2
    table = np.clip((np.arange(256) - clip.mean()) * gain + clip.mean() + shift + 0.5, 0, 255).astype(np.uint8)
    return table[clip]


def erase(clip: Frames, rng: Generator, area: float) -> Frames:
    """A rectangle of up to ``area`` of the picture, in the colour of the clip's mean, in all frames."""
    out = clip.copy()
    y, x, rows, columns = rectangle(clip.shape[1], clip.shape[2], rng, area)
    out[:, y : y + rows, x : x + columns] = np.round(clip.mean(axis=(0, 1, 2)))
    return out


def rectangle(height: int, width: int, rng: Generator, area: float) -> tuple[int, int, int, int]:
    """First row, first column, rows and columns of a rectangle of up to ``area`` of a picture, anywhere in it."""
    part, shape = rng.uniform(0, area), 3 ** rng.uniform(-0.5, 0.5)
    rows, columns = min(height, int(height * np.sqrt(part) * shape)), min(width, int(width * np.sqrt(part) / shape))
    return int(rng.integers(0, height - rows + 1)), int(rng.integers(0, width - columns + 1)), rows, columns
