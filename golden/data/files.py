"""A file that somebody names, as the network sees it: what host, evaluation and demo do with one clip."""

from __future__ import annotations

from pathlib import Path

import numpy as np

from golden.data.events import read_events
from golden.data.video import read_frames
from golden.encoding import Frames, count, encode, look, sample
from golden.spec.encoding import EVENTS, Encoding


def read_clip(path: str | Path, encoding: Encoding) -> tuple[Frames, Frames]:
    """Frames that the network sees, and its input tensor [T, H, W, C], of a video or event file.

    Parameters
    ----------
    path : path
        Anything that FFmpeg decodes or, for a network that sees events, a recording that `golden.data.events` reads.
    encoding : Encoding
        Of the network.

    Returns
    -------
    frames : [T, height, width] or [T, height, width, 3] uint8
        To be looked at. Events as `draw_events` draws them.
    tensor : [T, H, W, C] uint8

    Raises
    ------
    DataError
        If the file is missing, empty, truncated, damaged, of another kind, or too short; the message shows the numbers.
    """
    if encoding.kind == EVENTS:
        counts = count(read_events(path, (encoding.sensor_height, encoding.sensor_width)), encoding, f"'{path}'")
        return draw_events(counts), encode(counts, encoding)
    seen = [look(picture[None], encoding) for picture in read_frames(path)]
    frames = np.concatenate(seen)[sample(len(seen), encoding, f"'{path}'")]
    return frames, encode(frames, encoding)


def draw_events(counts: Frames) -> Frames:
    """Pictures [T, height, width] of numbers of ON and OFF events [T, height, width, 2]: brighter and darker than grey."""
    balance = counts[..., 0].astype(int) - counts[..., 1]
    return np.clip(128 + 64 * balance, 0, 255).astype(np.uint8)
