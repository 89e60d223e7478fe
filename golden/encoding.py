"""Clip to input tensor, for training, golden model and host alike. All of it on integers, exactly specified here.

Grey: ``(77 R + 150 G + 29 B + 128) >> 8`` of the 8-bit RGB picture; a grey picture stays as it is.
Resize: area average. Output pixel i of n covers ``[i*S/n, (i+1)*S/n)`` of the S source pixels; sums of source pixels
weighted by the covered area, in units of ``1/n`` per axis, are rounded to nearest, halves up. Same size: unchanged.
Crop: the largest window of the wanted aspect ratio, its size rounded to nearest, in the middle (rounded down).
Sampling: frame i of T is frame ``(2i + 1) * N // (2T)`` of N, or with a stride s frame ``(N - 1 - (T - 1) * s) // 2 + i * s``,
where frames before the first and after the last are these. Fewer than T frames repeat, down to T/4.
Bins of events: event k of n at time t falls into bin ``(t - first) * T // (last - first + 1)``, or by number ``k * T // n``;
pixel x of the S of the sensor (or of its crop) belongs to ``x * width // S``; counts saturate.
"""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from golden.spec.encoding import DIFFERENCE, EVENTS, NUMBER, RGB, STRETCH, Encoding

Frames = NDArray[np.uint8]  #: [N, h, w] grey, [N, h, w, 3] colour, or [T, h, w, 2] counts of ON and OFF events

LUMA_WEIGHTS = (77, 150, 29)

#: One event: time in microseconds, never falling; column, row; polarity 1 is ON (brighter).
EVENT = np.dtype([("t", "<i8"), ("x", "<u2"), ("y", "<u2"), ("p", "u1")])


class DataError(ValueError):
    """A file or clip that cannot be used; the message names it, the place and the cause."""


def grey(rgb: Frames) -> Frames:
    """Luma [...] of RGB pixels [..., 3]."""
    return ((rgb.astype(np.int32) @ np.array(LUMA_WEIGHTS, np.int32) + 128) >> 8).astype(np.uint8)


def resize(frames: Frames, height: int, width: int) -> Frames:
    """Area average of every frame, [N, height, width] or [N, height, width, 3]."""
    h, w = frames.shape[1:3]
    if (h, w) == (height, width):
        return frames
    planes = frames if frames.ndim == 3 else np.moveaxis(frames, 3, 1)
    # all values are whole numbers far below 2^53, so float64, whose matrix product is fast, is exact
    total = (_areas(h, height) @ planes.astype(np.float64, order="C") @ _areas(w, width).T).astype(np.int64)
    mean = ((2 * total + h * w) // (2 * h * w)).astype(np.uint8)
    return mean if frames.ndim == 3 else np.ascontiguousarray(np.moveaxis(mean, 1, 3))


def _areas(size: int, out: int) -> NDArray[np.float64]:
    """Overlap of every output pixel with every source pixel, [out, size], in units of 1/out; a row sums to ``size``."""
    start, source = np.arange(out)[:, None] * size, np.arange(size)[None, :] * out
    return np.maximum(np.minimum(start + size, source + out) - np.maximum(start, source), 0).astype(np.float64)


def window(size: tuple[int, int], wanted: tuple[int, int], how: str) -> tuple[int, int, int, int]:
    """Part of a picture (or sensor) of ``size`` that is seen as ``wanted`` pixels: first row, first column, rows, columns."""
    (h, w), (height, width) = size, wanted
    if how == STRETCH:
        return 0, 0, h, w
    rows = min(h, max(1, (2 * w * height + width) // (2 * width)))
    columns = min(w, max(1, (2 * h * width + height) // (2 * height)))
    return (h - rows) // 2, (w - columns) // 2, rows, columns


def fit(frames: Frames, height: int, width: int, how: str) -> Frames:
    """Every frame cropped (or not, with ``stretch``) and resized: [N, height, width] or [N, height, width, 3]."""
    y, x, rows, columns = window((frames.shape[1], frames.shape[2]), (height, width), how)
    return resize(frames[:, y : y + rows, x : x + columns], height, width)


def tone(frames: Frames, encoding: Encoding) -> Frames:
    """Frames in grey, [N, h, w], unless the network sees colour, [N, h, w, 3].

    Raises
    ------
    DataError
        If it sees colour and the frames are grey.
    """
    if encoding.kind == RGB and frames.ndim == 3:
        raise DataError("the network sees colour, but the frames are grey")
    return grey(frames) if encoding.kind != RGB and frames.ndim == 4 else frames


def look(frames: Frames, encoding: Encoding) -> Frames:
    """Frames as the network sees them: grey unless it sees colour, cropped, resized to its size.

    Parameters
    ----------
    frames : [N, h, w] or [N, h, w, 3] uint8
        Grey or RGB pictures.
    encoding : Encoding
        Of the network.

    Returns
    -------
    [N, height, width] uint8, with another axis of 3 for kind rgb

    Raises
    ------
    DataError
        As `tone`.
    """
    return fit(tone(frames, encoding), encoding.height, encoding.width, encoding.fit)


def sample(count: int, encoding: Encoding, name: str = "a clip") -> NDArray[np.int64]:
    """Indices [T] of the frames that the network sees of ``count``.

    Raises
    ------
    DataError
        If there are fewer than a quarter of T; the message calls the clip ``name``.
    """
    t = encoding.timesteps
    if 4 * count < t:
        raise DataError(f"{name} has {count} frames; {t} are wanted, and at least {-(-t // 4)} needed")
    step = np.arange(t)
    if not encoding.stride:
        return (2 * step + 1) * count // (2 * t)
    return np.clip((count - 1 - (t - 1) * encoding.stride) // 2 + step * encoding.stride, 0, count - 1)


def count(events: NDArray, encoding: Encoding, name: str = "a clip") -> Frames:
    """Number of ON and OFF events of every pixel in every bin, [T, height, width, 2], at most ``2**bits - 1``.

    Parameters
    ----------
    events : [n] EVENT, or [T, 2, H, W] whole numbers
        On the sensor of the encoding, in the order of time; or how many of polarity 0 and 1 fell into each bin.
    encoding : Encoding
        Of kind ``events``.
    name : str
        Of the clip, for errors.

    Raises
    ------
    DataError
        If the events are in bins already, but not in T.
    """
    t, height, width = encoding.timesteps, encoding.height, encoding.width
    if events.dtype.names:
        when, n = events["t"] - events["t"][:1], len(events)  # of no events: none
        bins = np.arange(n) * t // max(n, 1) if encoding.bins == NUMBER else when * t // (when[-1:] + 1)
        y, x, polarity, times = events["y"].astype(np.int64), events["x"].astype(np.int64), events["p"], np.ones(n)
    elif len(events) != t:
        raise DataError(f"{name} has its events in {len(events)} bins; {t} are wanted")
    else:
        bins, polarity, y, x = np.nonzero(events)
        times = events[bins, polarity, y, x].astype(np.float64)
    top, left, rows, columns = window((encoding.sensor_height, encoding.sensor_width), (height, width), encoding.fit)
    y, x = y - top, x - left
    inside = (y >= 0) & (y < rows) & (x >= 0) & (x < columns)
    place = ((bins * height + y * height // rows) * width + x * width // columns) * 2 + (polarity == 0)
    counts = np.bincount(place[inside], times[inside], t * height * width * 2)
    return np.minimum(counts, (1 << encoding.bits) - 1).astype(np.uint8).reshape(t, height, width, 2)


def encode(frames: Frames, encoding: Encoding) -> Frames:
    """Input tensor of a clip: previous frame, colours and patches become channels.

    Parameters
    ----------
    frames : [..., T, height, width], for rgb [..., T, height, width, 3], for events [..., T, height, width, 2], uint8
        What the network sees, by `look` and `sample`, or by `count`; leading axes are a batch.
    encoding : Encoding
        Of the network.

    Returns
    -------
    [..., T, H, W, C] uint8
        Values up to ``2**planes - 1``; channels in the order of `Encoding`, the first frame is its own predecessor.

    Raises
    ------
    DataError
        If the frames have another shape.
    """
    colours = {RGB: (3,), EVENTS: (2,)}.get(encoding.kind, ())
    wanted = (encoding.timesteps, encoding.height, encoding.width, *colours)
    if frames.shape[-len(wanted) :] != wanted:
        raise DataError(f"frames are {' x '.join(map(str, frames.shape))}, not {' x '.join(map(str, wanted))}")
    x = frames if colours else frames[..., None]
    if encoding.kind == DIFFERENCE or encoding.frames == 2:
        previous = np.concatenate([x[..., :1, :, :, :], x[..., :-1, :, :, :]], axis=-4)
        if encoding.kind == DIFFERENCE:
            change = x.astype(np.int16) - previous
            x = np.concatenate([change >= encoding.threshold, -change >= encoding.threshold], axis=-1).astype(np.uint8)
        else:
            x = np.concatenate([x, previous], axis=-1)
    p = encoding.patch
    *batch, t, height, width, channels = x.shape
    tiles = x.reshape(*batch, t, height // p, p, width // p, p, channels)
    n = len(batch)
    tiles = np.transpose(tiles, (*range(n), n, n + 1, n + 3, n + 5, n + 2, n + 4))
    return np.ascontiguousarray(tiles.reshape(*batch, *encoding.shape))


def prepare(clip: NDArray, encoding: Encoding, name: str = "a clip") -> Frames:
    """What the network sees of a whole clip, ready for `encode`.

    Parameters
    ----------
    clip : [N, h, w] or [N, h, w, 3] uint8, or what `count` takes
        All frames, grey or RGB, or all events.
    encoding : Encoding
        Of the network.
    name : str
        Of the clip, for errors.

    Raises
    ------
    DataError
        As `sample`, `look` and `count`.
    """
    if encoding.kind == EVENTS:
        return count(clip, encoding, name)
    return look(clip[sample(len(clip), encoding, name)], encoding)
