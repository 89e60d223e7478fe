"""Frames between requests and bytes."""

from __future__ import annotations

import binascii
from dataclasses import dataclass

import numpy as np
from cobs import cobs
from numpy.typing import NDArray

from golden.spec.link import ANSWER, CRC_BYTES, DELIMITER, FRAME_BYTES, HEADER_BYTES, KIND_BYTES, Kind, Status

END = bytes([DELIMITER])
LINE_BYTES = FRAME_BYTES + FRAME_BYTES // 254 + 1  #: of the longest frame, encoded


@dataclass(frozen=True)
class Answer:
    """A good frame of the board."""

    kind: Kind
    sequence: int
    status: Status
    body: bytes


def encode(kind: Kind, sequence: int, body: bytes) -> bytes:
    """A request as it goes over the line.

    An end goes before it, too, so that whatever the line has made up meanwhile is a frame of its own.
    """
    frame = bytes([kind]) + sequence.to_bytes(HEADER_BYTES - KIND_BYTES, "little") + body
    return END + cobs.encode(frame + binascii.crc32(frame).to_bytes(CRC_BYTES, "little")) + END


def octets(data: bytes) -> NDArray[np.uint8]:
    """Bytes in rows of 8, filled up with zeros."""
    rows = np.zeros((-(-len(data) // 8), 8), np.uint8)
    rows.reshape(-1)[: len(data)] = np.frombuffer(data, np.uint8)
    return rows


def sparse_sizes(data: bytes) -> NDArray[np.int64]:
    """Bytes that `pack_sparse` makes of the first 0, 1, 2, ... rows of 8 bytes."""
    return np.concatenate([[0], np.cumsum(1 + np.count_nonzero(octets(data), axis=1))])


def pack_sparse(data: bytes) -> bytes:
    """What a WRITE_SPARSE carries: of each 8 bytes which ones are not zero, then these; see `golden.spec.link.unpack_sparse`."""
    rows = octets(data)
    kept = rows != 0
    masks = np.packbits(kept, axis=1, bitorder="little")
    return np.concatenate([masks, rows], axis=1)[np.concatenate([np.ones_like(masks, bool), kept], axis=1)].tobytes()


def decode(line: bytes) -> Answer | None:
    """The answer in a line without its end; None where it is damaged."""
    try:
        frame = cobs.decode(line)
    except cobs.DecodeError:
        return None
    content, crc = frame[:-CRC_BYTES], int.from_bytes(frame[-CRC_BYTES:], "little")
    if len(content) <= HEADER_BYTES or binascii.crc32(content) != crc or not content[0] & ANSWER:
        return None
    try:
        kind, status = Kind(content[0] & ~ANSWER), Status(content[HEADER_BYTES])
    except ValueError:
        return None
    return Answer(kind, int.from_bytes(content[KIND_BYTES:HEADER_BYTES], "little"), status, content[HEADER_BYTES + 1:])


class Decoder:
    """Cuts what comes from the line in answers; keeps no more than the longest one."""

    def __init__(self) -> None:
        self._line = bytearray()
        self._too_long = False

    def feed(self, data: bytes) -> list[Answer | None]:
        """The answers that ended within ``data``, None for a damaged one; empty frames are ignored."""
        *ended, rest = data.split(END)
        found: list[Answer | None] = []
        for part in ended:
            line = bytes(self._line) + part
            if self._too_long or len(line) > LINE_BYTES:
                found.append(None)
            elif line:
                found.append(decode(line))
            self._line.clear()
            self._too_long = False
        self._line += rest
        if len(self._line) > LINE_BYTES:
            self._line.clear()
            self._too_long = True
        return found
