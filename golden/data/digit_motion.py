"""Digit motion: handwritten digits that move in one of eight ways, 16 grey frames of 32 x 32.

Every motion is a closed cycle of 16 frames, started anywhere and played forwards or backwards. So the two classes of a
pair (up and down, say) show exactly the same frames, and only their order tells them apart: no single frame and no
unordered set of frames can. The digits (scikit-learn's, from UCI) of train, val and test are disjoint.
"""

from __future__ import annotations

from dataclasses import dataclass
from fractions import Fraction
from functools import cache
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

CLASSES = ("up", "down", "left", "right", "clockwise", "counter-clockwise", "zoom in", "zoom out")
FRAMES = 16
SIZE = 32
SPLITS = {"train": (0, 1200), "val": (1200, 1437), "test": (1437, 1797)}  #: places in one fixed shuffle of the digits
_SEED = {"train": 1, "val": 2, "test": 3}

Clips = NDArray[np.uint8]


@dataclass(frozen=True)
class Draw:
    """What chance decides about each clip, one entry a clip; the class is not part of it."""

    digit: NDArray[np.int64]  #: index into scikit-learn's digits
    phase: NDArray[np.int64]  #: frame of the cycle that comes first
    size: NDArray[np.float32]  #: side of the digit's 8 x 8 image, in pixels
    centre: NDArray[np.float32]  #: [N, 2] y and x of its middle, relative to the frame's, in pixels
    angle: NDArray[np.float32]  #: of the digit, in radians
    light: NDArray[np.float32]  #: brightness, 0..1


@cache
def digits() -> NDArray[np.float32]:
    """All 1797 digits, [1797, 8, 8], 0..1."""
    from sklearn.datasets import load_digits

    return (load_digits().images / 16).astype(np.float32)


def split_digits(split: str) -> NDArray[np.int64]:
    """Indices of the digits that belong to ``split``: ``train``, ``val`` or ``test``."""
    first, last = SPLITS[split]
    return np.random.default_rng(0).permutation(len(digits()))[first:last]


def draw(split: str, count: int, seed: int = 0) -> Draw:
    """Chances of ``count`` clips of a split; the same for the same arguments."""
    rng = np.random.default_rng([_SEED[split], seed])
    return Draw(
        digit=rng.choice(split_digits(split), count),
        phase=rng.integers(0, FRAMES, count),
        size=rng.uniform(15, 20, count).astype(np.float32),
        centre=rng.uniform(-3, 3, (count, 2)).astype(np.float32),
        angle=rng.uniform(-0.2, 0.2, count).astype(np.float32),
        light=rng.uniform(0.75, 1, count).astype(np.float32),
    )


def cycle(chances: Draw, pair: NDArray[np.int64]) -> Clips:
    """The 16 frames of each clip's motion, in the order of the pair's first class, before the phase: [N, 16, 32, 32].

    Parameters
    ----------
    chances : Draw
        One entry a clip.
    pair : [N]
        0 up, 1 left (both wrap around at the border, 2 pixels a frame), 2 clockwise (a full turn, about the digit's
        middle), 3 zoom in (from 0.5 to 1.5 times the size, then from the start).
    """
    step = np.arange(FRAMES, dtype=np.float32)[None, :]
    zero = np.zeros((len(pair), FRAMES), np.float32)
    is_pair = [(pair == i)[:, None] for i in range(4)]
    travel = SIZE / FRAMES * step
    y = chances.centre[:, :1] - np.where(is_pair[0], travel, zero)
    x = chances.centre[:, 1:] - np.where(is_pair[1], travel, zero)
    angle = chances.angle[:, None] + np.where(is_pair[2], 2 * np.pi / FRAMES * step, zero)
    zoom = np.where(is_pair[3], 0.5 * 3 ** (step / (FRAMES - 1)), 1)
    scale = 8 / (chances.size[:, None] * zoom)  # digit pixels per frame pixel
    cos, sin = (np.cos(angle) * scale).astype(np.float32), (np.sin(angle) * scale).astype(np.float32)

    # offset of every frame pixel from the digit's middle, around the torus: [N, 16, 32]
    grid = np.arange(SIZE, dtype=np.float32) - (SIZE - 1) / 2
    dy = np.mod(grid - y[..., None] + SIZE / 2, SIZE) - SIZE / 2
    dx = np.mod(grid - x[..., None] + SIZE / 2, SIZE) - SIZE / 2
    # turned clockwise on the screen (y points down) and scaled into the digit's 8 x 8 image, which has a black border
    row = dy[..., :, None] * cos[..., None, None] - dx[..., None, :] * sin[..., None, None] + 4.5
    column = dy[..., :, None] * sin[..., None, None] + dx[..., None, :] * cos[..., None, None] + 4.5
    images = np.pad(digits()[chances.digit] * (255 * chances.light[:, None, None]), ((0, 0), (1, 1), (1, 1)))
    return _bilinear(images, row, column)


def _bilinear(images: NDArray[np.float32], row: NDArray[np.float32], column: NDArray[np.float32]) -> Clips:
    """Images [N, 10, 10] sampled at [N, ...] rows and columns; outside is their (black) border."""
    side = images.shape[-1]
    row, column = np.clip(row, 0, side - 1.001), np.clip(column, 0, side - 1.001)
    r, c = row.astype(np.int32), column.astype(np.int32)
    fr, fc = row - r, column - c
    base = (np.arange(len(images), dtype=np.int32) * side * side)[:, None, None, None] + r * side + c
    flat = images.reshape(-1)
    top = flat[base] * (1 - fc) + flat[base + 1] * fc
    low = flat[base + side] * (1 - fc) + flat[base + side + 1] * fc
    return np.round(top * (1 - fr) + low * fr).astype(np.uint8)


def render(chances: Draw, labels: NDArray[np.int64]) -> Clips:
    """Clips [N, 16, 32, 32] of the given classes; an odd label plays the cycle of the even one before it backwards."""
    clips = np.empty((len(labels), FRAMES, SIZE, SIZE), np.uint8)
    direction = 1 - 2 * (labels % 2)
    order = (chances.phase[:, None] + direction[:, None] * np.arange(FRAMES)) % FRAMES
    for first in range(0, len(labels), 64):  # small pieces stay in the cache
        part = slice(first, first + 64)
        piece = Draw(**{name: value[part] for name, value in vars(chances).items()})
        frames = cycle(piece, labels[part] // 2)
        clips[part] = np.take_along_axis(frames, order[part][:, :, None, None], axis=1)
    return clips


def make(split: str, count: int, seed: int = 0) -> tuple[Clips, NDArray[np.int64]]:
    """Clips [N, 16, 32, 32] and their labels [N], classes in turn.

    Parameters
    ----------
    split : str
        ``train``, ``val`` or ``test``.
    count : int
        Number of clips.
    seed : int
        Same seed, same clips.
    """
    labels = np.arange(count) % len(CLASSES)
    return render(draw(split, count, seed), labels), labels


def write_video(path: str | Path, clip: Clips, rate: int = 8) -> None:
    """Write grey frames [T, H, W] as a video file: lossless FFV1 for ``.mkv``, H.264 for anything else (``.mp4``)."""
    import av

    lossless = Path(path).suffix == ".mkv"
    with av.open(str(path), "w") as container:
        stream = container.add_stream("ffv1" if lossless else "libx264", rate=Fraction(rate))
        stream.height, stream.width = clip.shape[1:]
        stream.pix_fmt = "gray" if lossless else "yuv420p"
        if not lossless:
            stream.options = {"crf": "6", "preset": "medium"}
        for image in clip:
            container.mux(stream.encode(av.VideoFrame.from_ndarray(np.ascontiguousarray(image), format="gray")))
        container.mux(stream.encode())
