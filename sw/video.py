"""Video file to input tensor: decode, grey, resize, sample, cut in patches. All of it on integers, exactly specified here.

Grey: ``(77 R + 150 G + 29 B + 128) >> 8`` of the 8-bit RGB picture; a grey picture stays as it is.
Resize: area average. Output pixel i of n covers ``[i*S/n, (i+1)*S/n)`` of the S source pixels; sums of source pixels
weighted by the covered area, in units of ``1/n`` per axis, are rounded to nearest, halves up. Same size: unchanged.
Sampling: frame i of T is frame ``(2i + 1) * N // (2T)`` of the N decoded ones. Fewer than T repeat, down to T/4.
"""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import av
import numpy as np
from numpy.typing import NDArray

from golden.spec.model import Encoding

Frames = NDArray[np.uint8]

LUMA = (77, 150, 29)


class VideoError(ValueError):
    """A video file that cannot be used."""


def read_clip(path: str | Path, encoding: Encoding) -> tuple[Frames, Frames]:
    """Grey frames [T, height, width] and input tensor [T, H, W, C] of a video file.

    Raises
    ------
    VideoError
        If the file is missing, empty, truncated, no video, or too short; the message shows the numbers.
    """
    frames = sample(read_frames(path, encoding.height, encoding.width), encoding.timesteps, str(path))
    return frames, encode(frames, encoding)


def read_frames(path: str | Path, height: int, width: int) -> Frames:
    """All frames of a video file, grey, resized: [N, height, width].

    Raises
    ------
    VideoError
        As `read_clip`.
    """
    file = Path(path)
    if not file.is_file():
        raise VideoError(f"no video file '{path}'")
    if not file.stat().st_size:
        raise VideoError(f"'{path}' is empty")
    try:
        with av.open(str(path)) as container:
            if not container.streams.video:
                raise VideoError(f"'{path}' has no video stream")
            stream = container.streams.video[0]
            frames = [resize(picture, height, width) for picture in _pictures(container, str(path))]
            expected = stream.frames
            if not expected and container.duration and stream.average_rate:
                expected = int(container.duration / av.time_base * stream.average_rate)
    except VideoError:
        raise
    except (av.FFmpegError, OSError, ValueError) as error:
        raise VideoError(f"'{path}' is no video, or a damaged one: {error}") from error
    if 10 * len(frames) < 9 * expected:
        raise VideoError(f"'{path}' is truncated: {len(frames)} of {expected} frames can be decoded")
    if not frames:
        raise VideoError(f"'{path}' has no frames")
    return np.stack(frames)


def _pictures(container: av.container.InputContainer, path: str) -> Iterator[Frames]:
    """Grey pictures of the first video stream; a damaged one ends in a `VideoError` that says how many were good."""
    count = 0
    try:
        for frame in container.decode(video=0):
            if frame.is_corrupt:
                raise VideoError(f"'{path}' is damaged or truncated: frame {count} cannot be decoded")
            yield grey(frame.to_ndarray(format="rgb24").astype(np.uint8, copy=False))
            count += 1
    except av.FFmpegError as error:
        raise VideoError(f"'{path}' is damaged or truncated: only {count} frames can be decoded ({error})") from error


def grey(rgb: Frames) -> Frames:
    """Luma [height, width] of an RGB picture [height, width, 3]."""
    return ((rgb.astype(np.int32) @ np.array(LUMA, np.int32) + 128) >> 8).astype(np.uint8)


def resize(picture: Frames, height: int, width: int) -> Frames:
    """Area average of a grey picture, [height, width]."""
    h, w = picture.shape
    if (h, w) == (height, width):
        return picture
    total = _areas(h, height) @ picture.astype(np.int64) @ _areas(w, width).T
    return ((2 * total + h * w) // (2 * h * w)).astype(np.uint8)


def _areas(size: int, out: int) -> NDArray[np.int64]:
    """Overlap of every output pixel with every source pixel, [out, size], in units of 1/out; a row sums to ``size``."""
    start, source = np.arange(out)[:, None] * size, np.arange(size)[None, :] * out
    return np.maximum(np.minimum(start + size, source + out) - np.maximum(start, source), 0).astype(np.int64)


def sample(frames: Frames, timesteps: int, name: str) -> Frames:
    """``timesteps`` frames, uniformly out of all.

    Raises
    ------
    VideoError
        If there are fewer than a quarter.
    """
    count = len(frames)
    if 4 * count < timesteps:
        raise VideoError(f"'{name}' has {count} frames; {timesteps} are wanted, and at least {-(-timesteps // 4)} needed")
    return frames[(2 * np.arange(timesteps) + 1) * count // (2 * timesteps)]


def encode(frames: Frames, encoding: Encoding) -> Frames:
    """Input tensor [T, H, W, C]: patches become channels, the previous frame (the first has itself) follows the current one."""
    p = encoding.patch
    previous = np.concatenate([frames[:1], frames[:-1]])
    stack = np.stack([frames, previous][: encoding.frames], axis=1)
    t, count, height, width = stack.shape
    tiles = stack.reshape(t, count, height // p, p, width // p, p).transpose(0, 2, 4, 1, 3, 5)
    return np.ascontiguousarray(tiles.reshape(encoding.shape))
