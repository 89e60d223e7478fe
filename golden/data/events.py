"""Event recordings to one kind of array: times in microseconds, places on the sensor, polarities.

Readers believe nothing: every length, address, coordinate and time is checked, and the first that cannot be is named with its
place in the file. Memory is bounded by `MAX_EVENTS`, work by the size of the file.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from golden.encoding import EVENT, DataError

SUFFIXES = (".aedat", ".bin", ".bs2", ".npy")  #: files of a folder that count as recordings
MAX_EVENTS = 1 << 27  #: that one clip may have; 13 bytes each

Events = NDArray[np.void]  #: [n] of `golden.encoding.EVENT`
Sensor = tuple[int, int]  #: rows and columns
Span = tuple[int, int]  #: first microsecond, and the first that is no longer meant

_PACKET = np.dtype([("type", "<i2"), ("source", "<i2"), ("size", "<i4"), ("at", "<i4"), ("overflow", "<i4"), ("capacity", "<i4"),
                    ("number", "<i4"), ("valid", "<i4")])
_POLARITY = 1  # type of a packet of polarity events


def read_events(path: str | Path, sensor: Sensor, span: Span | None = None) -> Events:
    """All events of a recording, or those of a span of time.

    Parameters
    ----------
    path : path
        ``.bs2`` or ``.bin`` (N-MNIST); ``.aedat`` (AEDAT 2.0 of a DVS128, AEDAT 3.1); ``.npy``, an array with fields t, x,
        y, p, or numbers of events [T, polarity, rows, columns].
    sensor : (int, int)
        Its rows and columns.
    span : (int, int), optional
        Microseconds, the end excluded; all if None.

    Returns
    -------
    [n] EVENT
        In the order of time; or [T, 2, rows, columns] as in the file.

    Raises
    ------
    DataError
        If the file is missing, empty, truncated or damaged, or has no events; names file, place and cause.
    """
    pieces = list(chunks(path, sensor, span))
    return pieces[0] if len(pieces) == 1 else np.concatenate(pieces)


def chunks(path: str | Path, sensor: Sensor, span: Span | None = None) -> Iterator[Events]:
    """The same, piece by piece, as they stand in the file; no piece is empty."""
    file = Path(path)
    reader = {".bs2": _nmnist, ".bin": _nmnist, ".aedat": _aedat, ".npy": _npy}.get(file.suffix.lower())
    if reader is None:
        raise DataError(f"'{path}' has none of the suffixes {', '.join(SUFFIXES)} of event recordings")
    if not file.is_file():
        raise DataError(f"no event file '{path}'")
    if not file.stat().st_size:
        raise DataError(f"'{path}' is empty")
    total, last = 0, None
    try:
        for piece in reader(file, sensor):
            if not piece.dtype.names:  # in bins already, without times
                yield piece
                return
            if len(piece) and last is not None and piece["t"][0] < last:
                raise DataError(f"'{path}': time runs backwards, from {last} to {piece['t'][0]} us")
            last = piece["t"][-1] if len(piece) else last
            if span:
                piece = piece[np.searchsorted(piece["t"], span[0]) : np.searchsorted(piece["t"], span[1])]
            if not len(piece):
                continue
            total += len(piece)
            if total > MAX_EVENTS:
                raise DataError(f"'{path}' has more than {MAX_EVENTS} events: give a shorter span")
            yield piece
    except OSError as error:
        raise DataError(f"cannot read '{path}': {error}") from error
    if not total:
        raise DataError(f"'{path}' has no events" + (f" from {span[0]} to {span[1]} us" if span else ""))


def structured(array: NDArray, sensor: Sensor, name: str) -> Events:
    """Events of an array with whole-numbered fields t (microseconds), x, y and p, in any order and of any width, as tonic gives.

    Raises
    ------
    DataError
        If a field is missing or no whole number, or an event is impossible; calls the array ``name``.
    """
    found = array.dtype.names or ()
    if array.ndim != 1 or not {"t", "x", "y", "p"} <= set(found):
        raise DataError(f"{name} is {array.dtype} {list(array.shape)}, not events [n] with fields t, x, y, p")
    for key in ("t", "x", "y", "p"):
        if array.dtype[key].kind not in "iub" or array.dtype[key].shape:
            raise DataError(f"{name}: field {key} is {array.dtype[key]}, not whole numbers")
    t, x, y, p = (array[key].astype(np.int64) for key in ("t", "x", "y", "p"))
    return _checked(t, x, y, p, sensor, lambda i: f"{name}, event {i}")


def _checked(t: NDArray, x: NDArray, y: NDArray, p: NDArray, sensor: Sensor, place: Callable[[int], str]) -> Events:
    """Events of four columns of int64, if all are on the sensor and in order; ``place(i)`` says where event i stands."""
    outside = (x < 0) | (x >= sensor[1]) | (y < 0) | (y >= sensor[0])
    if outside.any():
        i = int(outside.argmax())
        raise DataError(f"{place(i)}: x = {x[i]}, y = {y[i]} is outside of the sensor's {sensor[0]} rows and {sensor[1]} columns")
    strange = (p < 0) | (p > 1)
    if strange.any():
        i = int(strange.argmax())
        raise DataError(f"{place(i)}: polarity {p[i]} is neither 0 nor 1")
    back = t[1:] < t[:-1]
    if back.any() or (t[:1] < 0).any():
        i = int(back.argmax()) + 1 if back.any() else 0
        raise DataError(f"{place(i)}: time runs backwards, from {t[i - 1] if i else 0} to {t[i]} us")
    events = np.empty(len(t), EVENT)
    events["t"], events["x"], events["y"], events["p"] = t, x, y, p
    return events


def _bytes(file: Path, start: int, size: int, index: NDArray[np.int64] | None = None) -> Callable[[int], str]:
    """Where event i (or ``index[i]``) of those of ``size`` bytes that begin at ``start`` stands."""
    return lambda i: f"'{file}', byte {start + size * (i if index is None else int(index[i]))}"


def _nmnist(file: Path, sensor: Sensor) -> Iterator[Events]:
    """Five bytes an event: x, y, then one bit of polarity and 23 of time, big-endian (Orchard et al., 2015)."""
    size = file.stat().st_size
    if size % 5:
        raise DataError(f"'{file}', byte {size - size % 5}: truncated in the middle of an event of 5 bytes")
    raw = np.memmap(file, np.uint8, "r").reshape(-1, 5)
    for first in range(0, len(raw), 1 << 20):
        b = raw[first : first + (1 << 20)].astype(np.int64)
        time = (b[:, 2] & 127) << 16 | b[:, 3] << 8 | b[:, 4]
        yield _checked(time, b[:, 0], b[:, 1], b[:, 2] >> 7, sensor, _bytes(file, 5 * first, 5))


def _aedat(file: Path, sensor: Sensor) -> Iterator[Events]:
    """Either version, by the first line."""
    with file.open("rb") as start:
        head = start.readline(64).rstrip()
    if head == b"#!AER-DAT2.0":
        return _aedat2(file, sensor)
    if head == b"#!AER-DAT3.1":
        return _aedat3(file, sensor)
    raise DataError(f"'{file}', byte 0: begins with {head[:20]!r}, not #!AER-DAT2.0 or #!AER-DAT3.1")


def _aedat2(file: Path, sensor: Sensor) -> Iterator[Events]:
    """Lines that begin with #, then address and microseconds, 32 bits each, big-endian; addresses of a DVS128."""
    start, size = 0, file.stat().st_size
    with file.open("rb") as text:
        while (line := text.readline(1 << 16)).startswith(b"#"):
            start += len(line)
            if line.startswith(b"#End Of ASCII Header"):
                break
    if (size - start) % 8:
        raise DataError(f"'{file}', byte {size - (size - start) % 8}: truncated in the middle of an event of 8 bytes")
    if size == start:
        return
    raw = np.memmap(file, ">u4", "r", start).reshape(-1, 2)
    wraps, last = 0, 0
    for first in range(0, len(raw), 1 << 20):
        address, time = (raw[first : first + (1 << 20), i].astype(np.int64) for i in (0, 1))
        place = _bytes(file, start + 8 * first, 8)
        if (address >> 16).any():
            i = int((address >> 16 != 0).argmax())
            raise DataError(f"{place(i)}: address {address[i]:#x} is none of a DVS128")
        # the clock of 32 bits starts again after 71 minutes: a fall by more than half of its range
        falls = np.diff(time, prepend=last) < -(1 << 31)
        last = int(time[-1])
        time += (wraps + np.cumsum(falls)) << 32
        wraps += int(falls.sum())
        checked = _checked(time, 127 - (address >> 1 & 127), address >> 8 & 127, 1 - (address & 1), sensor, place)
        yield checked[address >> 15 == 0]  # bit 15: a signal from outside, no event of a pixel


def _aedat3(file: Path, sensor: Sensor) -> Iterator[Events]:
    """Text up to #!END-HEADER, then packets of 28 bytes of header and ``number`` events, little-endian (iniVation, AEDAT 3.1)."""
    size = file.stat().st_size
    raw = np.memmap(file, np.uint8, "r")
    end = b"#!END-HEADER\r\n"
    at = raw[: 1 << 16].tobytes().find(end) + len(end)
    if at < len(end):
        raise DataError(f"'{file}', byte 0: no #!END-HEADER in the first {min(size, 1 << 16)} bytes")
    while at < size:
        if size - at < _PACKET.itemsize:
            raise DataError(f"'{file}', byte {at}: truncated in the middle of a packet's header")
        head = raw[at : at + _PACKET.itemsize].view(_PACKET)[0]
        kind, wide, overflow, number = (int(head[key]) for key in ("type", "size", "overflow", "number"))
        if wide < 1 or number < 0 or overflow < 0 or (kind == _POLARITY and (wide, int(head["at"])) != (8, 4)):
            raise DataError(f"'{file}', byte {at}: packet of type {kind} with {number} events of {wide} bytes, time at "
                            f"{head['at']}, {overflow} overflows")
        body = at + _PACKET.itemsize
        if number * wide > size - body:
            raise DataError(f"'{file}', byte {at}: packet of {number} events of {wide} bytes, but {size - body} bytes follow")
        at = body + number * wide
        if kind != _POLARITY or not number:
            continue
        if number > MAX_EVENTS:
            raise DataError(f"'{file}', byte {body}: packet of {number} events, at most {MAX_EVENTS} are read")
        words = raw[body:at].view("<u4").reshape(-1, 2).astype(np.int64)
        valid = np.flatnonzero(words[:, 0] & 1)
        data, time = words[valid, 0], words[valid, 1] + (overflow << 31)
        yield _checked(time, data >> 17, data >> 2 & 0x7FFF, data >> 1 & 1, sensor, _bytes(file, body, 8, valid))


def _npy(file: Path, sensor: Sensor) -> Iterator[Events]:
    """An array in NumPy's format."""
    try:
        array = np.load(file, mmap_mode="r", allow_pickle=False)
    except Exception as error:  # NumPy parses the header as Python text, and raises whatever that raises
        raise DataError(f"'{file}', byte 0: no array in NumPy's format: {error}") from error
    if array.size > MAX_EVENTS:
        raise DataError(f"'{file}' has {array.size} values, at most {MAX_EVENTS} are read")
    if array.ndim != 4:
        yield structured(array, sensor, f"'{file}'")
    elif array.dtype.kind not in "iub" or not len(array) or array.shape[1:] != (2, *sensor) or array.min() < 0:
        raise DataError(f"'{file}' is {array.dtype} {list(array.shape)}, not numbers of events [T, 2, {sensor[0]}, {sensor[1]}]")
    else:
        yield array
