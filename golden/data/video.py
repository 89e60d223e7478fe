"""Video files and cameras to pictures, by PyAV (FFmpeg): whatever it decodes, completely or with a reason why not."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import av
import numpy as np

from golden.encoding import DataError, Frames

SUFFIXES = (".avi", ".mkv", ".mov", ".mp4", ".mpeg", ".mpg", ".webm")  #: files of a folder that count as videos


def read_frames(path: str | Path) -> Iterator[Frames]:
    """Every picture of the first video stream, RGB [h, w, 3], one at a time.

    Raises
    ------
    DataError
        If the file is missing, empty, or no video, at the first picture that is damaged, and after the last one if
        there are less than nine tenths of what the file promises; the message shows the numbers.
    """
    file = Path(path)
    if not file.is_file():
        raise DataError(f"no video file '{path}'")
    if not file.stat().st_size:
        raise DataError(f"'{path}' is empty")
    count = 0
    try:
        with av.open(str(path)) as container:
            if not container.streams.video:
                raise DataError(f"'{path}' has no video stream")
            stream = container.streams.video[0]
            for frame in container.decode(stream):
                if frame.is_corrupt:
                    raise DataError(f"'{path}' is damaged or truncated: frame {count} cannot be decoded")
                yield frame.to_ndarray(format="rgb24").astype(np.uint8, copy=False)
                count += 1
            expected = stream.frames
            if not expected and container.duration and stream.average_rate:
                expected = int(container.duration / av.time_base * stream.average_rate)
    except DataError:
        raise
    except (av.FFmpegError, OSError, ValueError) as error:
        what = f"damaged or truncated: only {count} frames can be decoded" if count else "no video, or a damaged one"
        raise DataError(f"'{path}' is {what} ({error})") from error
    if 10 * count < 9 * expected:
        raise DataError(f"'{path}' is truncated: {count} of {expected} frames can be decoded")
    if not count:
        raise DataError(f"'{path}' has no frames")


def watch(path: str, system: str = "v4l2") -> Iterator[Frames]:
    """Every picture of a camera, RGB [h, w, 3], for as long as it gives any.

    Parameters
    ----------
    path : str
        Such as ``/dev/video0``.
    system : str
        FFmpeg's name of the device's kind.

    Raises
    ------
    DataError
        If the camera cannot be opened, or is gone.
    """
    try:
        with av.open(path, format=system) as container:
            for frame in container.decode(video=0):
                yield frame.to_ndarray(format="rgb24").astype(np.uint8, copy=False)
    except (av.FFmpegError, OSError, ValueError, IndexError) as error:
        raise DataError(f"camera '{path}' cannot be used: {error}") from error
