"""Clips decoded once: one memory-mapped array a clip, found by the content of its file and by how it is stored.

Arrays are written under another name first and then renamed, so what has a clip's name is complete, and a run that was
killed goes on where it stopped. Memory holds one frame (or one piece of a recording) at a time.
"""

from __future__ import annotations

import fcntl
import hashlib
import json
import os
import sys
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import asdict, dataclass
from itertools import chain
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray
from tqdm import tqdm

from golden.data import events, video
from golden.data.folder import Item, labels
from golden.encoding import DataError, fit, grey, resize
from golden.spec.encoding import EVENTS, RGB, STRETCH, Encoding

COVER = "cover"  #: the whole picture in its aspect ratio, just large enough to cover the size
VERSION = 1  #: of what is stored; another one makes all clips again


@dataclass(frozen=True, kw_only=True)
class Storage:
    """How clips are stored.

    Parameters
    ----------
    height, width : int
        Size in pixels; of events, the sensor's.
    how : str
        ``stretch`` or ``crop`` as in `Encoding`, ``cover``, or ``events``.
    colour : bool
        RGB rather than grey.
    """

    height: int
    width: int
    how: str = STRETCH
    colour: bool = True

    def pieces(self, item: Item) -> Iterator[NDArray]:
        """A clip as stored, in pieces along the first axis: [1, h, w, 3] or [1, h, w] uint8, or [n] events."""
        if self.how == EVENTS:
            yield from events.chunks(item.path, (self.height, self.width), item.span)
            return
        size = None
        for picture in video.read_frames(item.path):
            frames = picture[None] if self.colour else grey(picture[None])
            if self.how == COVER:
                size = size or _cover((picture.shape[0], picture.shape[1]), self.height, self.width)
                yield resize(frames, *size)
            else:
                yield fit(frames, self.height, self.width, self.how)


def _cover(size: tuple[int, int], height: int, width: int) -> tuple[int, int]:
    """Smallest height and width of the same aspect ratio (rounded) with at least the given ones."""
    h, w = size
    return (height, max(width, round(w * height / h))) if h * width <= w * height else (max(height, round(h * width / w)), width)


def exact(encoding: Encoding) -> Storage:
    """Clips as the network sees them, but for the sampling: what `prepare` makes of them is what it makes of the file."""
    if encoding.kind == EVENTS:
        return Storage(height=encoding.sensor_height, width=encoding.sensor_width, how=EVENTS)
    return Storage(height=encoding.height, width=encoding.width, how=encoding.fit, colour=encoding.kind == RGB)


def roomy(encoding: Encoding, margin: float = 1.25) -> Storage:
    """Clips in colour, ``margin`` times as large as the network sees them, to be augmented before it does."""
    if encoding.kind == EVENTS:
        return exact(encoding)
    how = STRETCH if encoding.fit == STRETCH else COVER
    return Storage(height=round(encoding.height * margin), width=round(encoding.width * margin), how=how)


@dataclass(frozen=True)
class Clips(Sequence[NDArray]):
    """Stored clips; ``clips[i]`` is memory-mapped and read-only: [N, h, w, 3] or [N, h, w] uint8, or [n] events."""

    items: tuple[Item, ...]  #: those that could be read, in their order
    paths: tuple[Path, ...]  #: of their arrays
    broken: tuple[tuple[Item, str], ...]  #: those that could not, and why

    def __len__(self) -> int:
        """Number of clips."""
        return len(self.items)

    def __getitem__(self, i):
        return np.load(self.paths[i], mmap_mode="r", allow_pickle=False)

    @property
    def labels(self) -> NDArray[np.int64]:
        """Classes [N]."""
        return labels(self.items)


def cached(items: Sequence[Item], storage: Storage, folder: str | Path) -> Clips:
    """The clips out of a cache, which first gets those that it has not.

    Parameters
    ----------
    items : sequence of Item
        Clips of a data set.
    storage : Storage
        How they are stored; `exact` or `roomy` make it from an encoding.
    folder : path
        Of the cache, made if it is not there. Any number of data sets and storages may share it.

    Returns
    -------
    Clips
        Those that could be read; ``broken`` names the others with the reason.

    Raises
    ------
    DataError
        If no clip can be read, or the cache cannot be written.
    """
    root = Path(folder)
    try:
        root.mkdir(parents=True, exist_ok=True)
        with _alone(root):
            index = _Index(root / "index.json")
            keys = [_fill(root, item, storage, index) for item in tqdm(items, "clips", disable=None)]
            index.save()
    except OSError as error:
        raise DataError(f"cannot write cache '{folder}': {error}") from error
    good = [(item, root / f"{key}.npy") for item, key in zip(items, keys, strict=True) if key not in index.broken]
    bad = [(item, index.broken[key]) for item, key in zip(items, keys, strict=True) if key in index.broken]
    if not good:
        raise DataError("no clip can be read" + (f"; the first: {bad[0][1]}" if bad else ", since there are none"))
    return Clips(tuple(item for item, _ in good), tuple(path for _, path in good), tuple(bad))


class _Index:
    """What is known already: digests of files by path, size and time of change; reasons of broken clips by key."""

    def __init__(self, path: Path) -> None:
        self.path = path
        try:
            known = json.loads(path.read_text(encoding="utf-8"))
            self.files: dict[str, list[Any]] = dict(known["files"])
            self.broken: dict[str, str] = dict(known["broken"])
        except (OSError, ValueError, TypeError, KeyError):  # none yet, or no good: it is made again
            self.files, self.broken = {}, {}

    def key(self, item: Item, storage: Storage) -> str:
        """Name of a clip's array: a digest of the file's content, the span and the storage."""
        state = item.path.stat()
        mark = [state.st_size, state.st_mtime_ns]
        name = str(item.path.absolute())
        known = self.files.get(name)
        if known is None or known[:2] != mark:
            with item.path.open("rb") as file:
                known = self.files[name] = [*mark, hashlib.file_digest(file, "sha256").hexdigest()]
        text = json.dumps([VERSION, known[2], item.span, asdict(storage)], sort_keys=True)
        return hashlib.sha256(text.encode()).hexdigest()[:32]

    def save(self) -> None:
        """Write the index whole, or not at all."""
        part = self.path.with_suffix(".part")
        part.write_text(json.dumps({"files": self.files, "broken": self.broken}), encoding="utf-8")
        os.replace(part, self.path)


@contextmanager
def _alone(root: Path) -> Iterator[None]:
    """Only one process fills a cache; others wait, and then find the clips. The lock ends with its process."""
    with (root / "lock").open("w") as file:
        try:
            fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            tqdm.write(f"waiting for the process that fills '{root}'", file=sys.stderr)
            fcntl.flock(file, fcntl.LOCK_EX)
        for left in root.glob("*.part"):  # by a run that was killed
            left.unlink()
        yield


def _fill(root: Path, item: Item, storage: Storage, index: _Index) -> str:
    """Key of a clip whose array is in the cache, now if not before, or that is broken."""
    try:
        key = index.key(item, storage)
    except OSError as error:
        key = hashlib.sha256(str(item.path).encode()).hexdigest()[:32]
        index.broken[key] = f"cannot read '{item.path}': {error.strerror}"
        return key
    path = root / f"{key}.npy"
    if key in index.broken or path.is_file():
        return key
    part = path.with_suffix(".part")
    try:
        _write(part, storage.pieces(item))
        os.replace(part, path)
    except DataError as error:
        part.unlink(missing_ok=True)
        index.broken[key] = str(error)
    return key


def _write(path: Path, pieces: Iterator[NDArray]) -> None:
    """One array in NumPy's format out of pieces along its first axis; there is at least one piece."""
    with path.open("wb") as file:
        first = next(pieces)
        head = {"descr": np.lib.format.dtype_to_descr(first.dtype), "fortran_order": False}
        np.lib.format.write_array_header_1_0(file, {**head, "shape": (0, *first.shape[1:])})
        count = 0
        for piece in chain([first], pieces):
            file.write(np.ascontiguousarray(piece).tobytes())
            count += len(piece)
        # NumPy leaves room in the header for a first axis of any length
        file.seek(0)
        np.lib.format.write_array_header_1_0(file, {**head, "shape": (count, *first.shape[1:])})
