"""Where clips come from: files, folders, cameras, arrays; as whole clips or as windows that slide over what goes on and on.

All that makes a clip out of pictures and events is `golden.encoding`, the same as in training.
"""

from __future__ import annotations

import threading
import time
from collections import deque
from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass, field
from itertools import chain
from pathlib import Path
from types import TracebackType
from typing import Self

import numpy as np

from golden.data.events import SUFFIXES as RECORDINGS
from golden.data.events import Events, chunks, structured
from golden.data.files import draw_events, read_clip
from golden.data.video import SUFFIXES as VIDEOS
from golden.data.video import read_frames, watch
from golden.encoding import EVENT, DataError, Frames, count, encode, look, prepare, sample
from golden.spec.encoding import EVENTS, Encoding

BLOCK, DROP = "block", "drop"  #: what a source that is faster than the device does: wait, or lose the oldest clip that waits
DEPTH = 2  #: clips that wait for the device
IDLE = 0.02  #: seconds after which a feed says that there is nothing just now
CLOSING = 2.0  #: seconds for a source to come to its end
CAMERA = "/dev/video"  #: how the path of a camera begins

Complain = Callable[[DataError], None]


@dataclass(frozen=True)
class Clip:
    """A clip, ready for the device.

    Attributes
    ----------
    name : str
        File, and in it the first frame or microsecond of a window.
    frames : [T, height, width] or [T, height, width, 3] uint8
        To be looked at.
    tensor : [T, H, W, C] uint8
        What the network takes.
    made : float
        When it was complete, by `time.monotonic`.
    """

    name: str
    frames: Frames = field(repr=False)
    tensor: Frames = field(repr=False)
    made: float = field(default_factory=time.monotonic)


@dataclass(frozen=True)
class Window:
    """A part of something longer: ``size`` and ``step`` from one to the next, in frames of video or milliseconds of events.

    Raises
    ------
    DataError
        If one is less than 1.
    """

    size: int
    step: int

    def __post_init__(self) -> None:
        """Check both."""
        if self.size < 1 or self.step < 1:
            raise DataError(f"a window of {self.size} and steps of {self.step}; both are at least 1")


def arrays(clips: Iterable[np.ndarray], encoding: Encoding) -> Iterator[Clip]:
    """Clips of arrays: pictures [N, h, w] or [N, h, w, 3] uint8, or for a network that sees events what `count` takes.

    Raises
    ------
    DataError
        As `golden.encoding.prepare`.
    """
    for i, clip in enumerate(clips):
        name = f"clip {i}"
        known = encoding.kind != EVENTS or not clip.dtype.names or clip.dtype == EVENT
        seen = prepare(clip if known else structured(clip, _sensor(encoding), name), encoding, name)
        yield Clip(name, draw_events(seen) if encoding.kind == EVENTS else seen, encode(seen, encoding))


def files(paths: Iterable[str | Path], encoding: Encoding, window: Window | None = None,
          complain: Complain | None = None) -> Iterator[Clip]:
    """Clips of files, and of the files in folders and below, by their names; each file is one clip, or as many as windows fit.

    Parameters
    ----------
    paths : iterable of path
        Videos, or for a network that sees events recordings.
    encoding : Encoding
        Of the network.
    window : Window, optional
        Of which each file is cut; none where a file is one clip.
    complain : callable, optional
        Is told of a file that is no good, and the next one follows; else the error is raised.

    Raises
    ------
    DataError
        If a folder has no such file, or as the readers.
    """
    for path in chain.from_iterable(_expand(Path(path), encoding) for path in paths):
        try:
            yield from _file(path, encoding, window)
        except DataError as error:
            if complain is None:
                raise
            complain(error)


def camera(path: str, encoding: Encoding, window: Window, system: str = "v4l2") -> Iterator[Clip]:
    """Windows of what a camera sees, without end.

    Parameters
    ----------
    path : str
        Such as ``/dev/video0``.
    encoding : Encoding
        Of the network; it must see pictures.
    window : Window
        Of frames.
    system : str
        FFmpeg's name of the device's kind.

    Raises
    ------
    DataError
        If the camera cannot be opened, or is gone.
    """
    if encoding.kind == EVENTS:
        raise DataError(f"the network sees events, but '{path}' is a camera")
    yield from _pictures(watch(path, system), encoding, window, path)


def _sensor(encoding: Encoding) -> tuple[int, int]:
    return encoding.sensor_height, encoding.sensor_width


def _expand(path: Path, encoding: Encoding) -> list[Path]:
    """A file, or all files of a folder that the network could see."""
    if not path.is_dir():
        return [path]
    suffixes = RECORDINGS if encoding.kind == EVENTS else VIDEOS
    found = sorted(x for x in path.rglob("*") if x.suffix.lower() in suffixes and x.is_file())
    if not found:
        raise DataError(f"no file in '{path}' has one of the suffixes {', '.join(suffixes)}")
    return found


def _file(path: Path, encoding: Encoding, window: Window | None) -> Iterator[Clip]:
    if window is None:
        yield Clip(str(path), *read_clip(path, encoding))
    elif encoding.kind == EVENTS:
        yield from _events(chunks(path, _sensor(encoding)), encoding, window, str(path))
    else:
        yield from _pictures(read_frames(path), encoding, window, str(path))


def _pictures(pictures: Iterable[Frames], encoding: Encoding, window: Window, name: str) -> Iterator[Clip]:
    """Windows of pictures [h, w, 3]; of less than one window, that as a whole. Only what a window needs is kept."""
    kept: deque[Frames] = deque(maxlen=window.size)
    number, given = 0, False

    def clip(first: int) -> Clip:
        where = f"{name}, frame {first}"
        seen = np.concatenate([kept[int(i)] for i in sample(len(kept), encoding, where)])
        return Clip(where, seen, encode(seen, encoding))

    for number, picture in enumerate(pictures, 1):
        kept.append(look(picture[None], encoding))
        if number >= window.size and (number - window.size) % window.step == 0:
            yield clip(number - window.size)
            given = True
    if number and not given:
        yield clip(0)


def _events(pieces: Iterable[Events], encoding: Encoding, window: Window, name: str) -> Iterator[Clip]:
    """Windows of events, from the first one on; of less than one window, that as a whole. Windows without events are left out."""
    size, step = 1000 * window.size, 1000 * window.step
    kept, start, given = np.empty(0, EVENT), -1, False

    def clip(part: Events) -> Clip:
        where = f"{name}, {start} us"
        counts = count(part, encoding, where)
        return Clip(where, draw_events(counts), encode(counts, encoding))

    for piece in pieces:
        if not piece.dtype.names:
            raise DataError(f"{name} has its events in bins already: there are no windows to cut")
        start = int(piece["t"][0]) if start < 0 else start
        kept = np.concatenate([kept[np.searchsorted(kept["t"], start) :], piece])
        while len(kept) and kept["t"][-1] >= start + size:
            first, end = np.searchsorted(kept["t"], [start, start + size])
            if end > first:
                yield clip(kept[first:end])
                given = True
                start += step
            else:
                start += max((int(kept["t"][first]) - start - size) // step + 1, 1) * step  # the next one that has events
            kept = kept[np.searchsorted(kept["t"], start) :]
    if len(kept) and not given:
        yield clip(kept)


class Feed:
    """Takes clips from a source in a thread of its own, so that files are read while the device computes.

    Iterating gives clips, and None where there is nothing just now. Use it in a ``with`` statement.

    Parameters
    ----------
    source : iterable of Clip
    policy : str
        `BLOCK`: a source that is faster than the device waits; `DROP`: the oldest clip that waits is lost, and counted.

    Attributes
    ----------
    made, dropped : int
        Clips that came, and those of them that were lost.
    """

    def __init__(self, source: Iterable[Clip], policy: str = BLOCK) -> None:
        if policy not in (BLOCK, DROP):
            raise ValueError(f"policy '{policy}' is neither {BLOCK} nor {DROP}")
        self._source, self.policy = source, policy
        self.made = self.dropped = 0
        self._waiting: deque[Clip] = deque()
        self._change = threading.Condition()
        self._ended = self._closed = False
        self._error: Exception | None = None
        self._thread = threading.Thread(target=self._serve, daemon=True)  # a camera may never give its next picture

    @property
    def waiting(self) -> int:
        """Clips that wait for the device."""
        return len(self._waiting)

    def __enter__(self) -> Self:
        """Begin to take clips."""
        self._thread.start()
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None) -> None:
        """Take no more."""
        with self._change:
            self._closed = True
            self._change.notify_all()
        self._thread.join(CLOSING)

    def __iter__(self) -> Iterator[Clip | None]:
        """Clips in order; an error of the source comes behind those before it."""
        while True:
            with self._change:
                if not self._waiting and not self._ended:
                    self._change.wait(IDLE)
                clip = self._waiting.popleft() if self._waiting else None
                if clip is None and self._ended:
                    if self._error:
                        raise self._error
                    return
                self._change.notify_all()
            yield clip

    def _serve(self) -> None:
        try:
            for clip in self._source:
                if not self._take(clip):
                    break
        except Exception as error:  # it belongs to whoever iterates
            self._error = error
        with self._change:
            self._ended = True
            self._change.notify_all()

    def _take(self, clip: Clip) -> bool:
        """Whether more is wanted."""
        with self._change:
            self.made += 1
            if self.policy == BLOCK:
                self._change.wait_for(lambda: len(self._waiting) < DEPTH or self._closed)
            elif len(self._waiting) >= DEPTH:
                self._waiting.popleft()
                self.dropped += 1
            self._waiting.append(clip)
            self._change.notify_all()
            return not self._closed
