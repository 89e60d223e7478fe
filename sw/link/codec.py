"""Frames between requests and bytes."""

from __future__ import annotations

import binascii
from dataclasses import dataclass

from cobs import cobs

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
