"""The link's protocol as data: frames, requests, limits. Gateware, host and docs/link.md are made from it.

A frame is ``kind`` (1 byte), ``sequence`` (2 bytes), a body and the CRC-32 (4 bytes) of everything before it, all
little-endian, encoded by COBS and ended by a byte 0. The host asks, the board answers.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from enum import IntEnum

VERSION = 3  #: of the protocol

DELIMITER = 0  #: the byte that ends a frame, and is nowhere else
KIND_BYTES, SEQUENCE_BYTES, CRC_BYTES = 1, 2, 4
HEADER_BYTES = KIND_BYTES + SEQUENCE_BYTES
ADDRESS_BYTES = 4
DATA_BYTES = 448  #: most bytes of memory, or of an echo, in a frame; a multiple of every width of memory
FRAME_BYTES = HEADER_BYTES + ADDRESS_BYTES + DATA_BYTES + CRC_BYTES  #: the longest frame before it is encoded
SPARSE_BYTES = 4 * DATA_BYTES  #: most bytes of memory that a sparse write fills
LENGTH_BYTES = 2
REGISTER_BYTES = 4
SEQUENCES = 1 << (8 * SEQUENCE_BYTES)
ANSWER = 0x80  #: the bit of ``kind`` that makes it an answer

CRC_POLYNOMIAL = 0xEDB88320  #: zlib's CRC-32, lowest bit first, begun with all ones and inverted at the end
CRC_RESIDUE = 0xDEBB20E3  #: what the register holds after a good frame with its CRC, before it is inverted


class Kind(IntEnum):
    """What a frame asks for."""

    NONE = 0  #: only in answers: to a frame that was damaged, so that nobody knows what it asked for
    IDENTIFY = 1
    READ_REGISTERS = 2
    WRITE_REGISTERS = 3
    READ_MEMORY = 4
    WRITE_MEMORY = 5
    WAIT = 6
    ECHO = 7
    WRITE_SPARSE = 8


class Status(IntEnum):
    """How a request ended."""

    OK = 0
    DAMAGED = 1
    UNKNOWN = 2
    LENGTH = 3
    SEQUENCE = 4
    RANGE = 5
    BUS = 6
    SILENT = 7


STATUS_TEXT = {
    Status.OK: "done",
    Status.DAMAGED: "a frame was damaged on its way to the board; nothing was done",
    Status.UNKNOWN: "no such request; nothing was done",
    Status.LENGTH: "a body of the wrong length for this request; nothing was done",
    Status.SEQUENCE: "not the number after the last one: the board has been reset, or someone else uses it; nothing was done",
    Status.RANGE: "outside of memory or registers, no bytes at all, no multiple of `align` (of registers: 4); nothing was done",
    Status.BUS: "memory or register bank answered with an error response; what lies before it has been done",
    Status.SILENT: "the memory has not answered in time",
}


@dataclass(frozen=True)
class Field:
    """``size`` bytes of a body; ``count`` is a number, ``hex`` and ``text`` (padded with zeros) are strings, ``data`` is bytes.

    Data have any size up to ``size`` and end the body.
    """

    name: str
    size: int
    kind: str
    doc: str


@dataclass(frozen=True)
class Request:
    """What a request carries, and its answer behind the status (which stands alone where it is not OK)."""

    fields: tuple[Field, ...]
    answer: tuple[Field, ...]
    doc: str


_ADDRESS = Field("address", ADDRESS_BYTES, "count", "first byte")
_LENGTH = Field("length", LENGTH_BYTES, "count", "number of bytes, at least 1")
_DATA = Field("data", DATA_BYTES, "data", "the bytes")

IDENTITY = (
    Field("protocol", 1, "count", "version of this protocol"),
    Field("align", 1, "count", "addresses and lengths of memory are multiples of this many bytes"),
    Field("data_bytes", 2, "count", "most bytes of memory in a frame"),
    Field("clock", 4, "count", "cycles per second"),
    Field("memory", 4, "count", "bytes of memory, from address 0"),
    Field("digest", 16, "hex", "config digest"),
    Field("build", 8, "hex", "what the board was built from"),
    Field("board", 16, "text", "its name"),
)
REQUESTS = {
    Kind.IDENTIFY: Request((), IDENTITY, "Say what the board is. Takes any sequence number; those that follow count on from it."),
    Kind.READ_REGISTERS: Request(
        (_ADDRESS, _LENGTH), (_DATA,), "Read registers one behind the other, 4 bytes each (registers.md), the first one first."),
    Kind.WRITE_REGISTERS: Request(
        (_ADDRESS, _DATA), (),
        "Write registers one behind the other, 4 bytes each, the first one first. The only request that is never carried out "
        "twice."),
    Kind.READ_MEMORY: Request((_ADDRESS, _LENGTH), (_DATA,), "Read memory."),
    Kind.WRITE_MEMORY: Request((_ADDRESS, _DATA), (), "Write memory, at least one byte."),
    Kind.WAIT: Request(
        (Field("limit", 2, "count", "milliseconds"),), (Field("interrupt", 1, "count", "1 where the line is high"),),
        "Wait until the interrupt line is high, the limit is over, or another frame begins."),
    Kind.ECHO: Request((_DATA,), (_DATA,), "Send the same bytes back."),
    Kind.WRITE_SPARSE: Request(
        (_ADDRESS, Field("length", LENGTH_BYTES, "count", f"bytes of memory, 1 to {SPARSE_BYTES}"),
         Field("packed", DATA_BYTES - LENGTH_BYTES, "data", "see below")), (),
        "Write memory most of which is zeros."),
}

RULES = (
    "After a reset only IDENTIFY is taken. A request must have the number after that of the last one that was carried out, or "
    "repeat that one, byte for byte; anything else is refused with SEQUENCE. So nothing is carried out late, or out of order.",
    "A repetition is answered again: WRITE_REGISTERS with the status it had, without writing again; everything else, being "
    "harmless, is carried out again. So a host that got no answer asks again, and a program never starts twice.",
    "A frame with a wrong CRC, broken COBS or too many bytes is answered by kind NONE with sequence number 0 and status DAMAGED: "
    "ask again at once. An answer that comes to the board is ignored.",
    "Nothing is done before the CRC of the whole frame was right.",
    "A request refused with DAMAGED, UNKNOWN, LENGTH or SEQUENCE does not count as the last one.",
    "After SILENT a write may still happen.",
    "WRITE_SPARSE: of each 8 bytes of memory first a byte comes whose bit i says that byte i is not zero, then those that are "
    "not. Bytes that are missing at the end are 0; those that are too many are ignored.",
)

Values = Mapping[str, int | str | bytes]


def size(fields: Iterable[Field]) -> tuple[int, int]:
    """Least and most bytes of a body with these fields."""
    fixed = sum(f.size for f in fields if f.kind != "data")
    return fixed, fixed + sum(f.size for f in fields if f.kind == "data")


def pack(fields: Iterable[Field], values: Values) -> bytes:
    """The bytes of a body.

    Raises
    ------
    ValueError
        If a value does not fit its field.
    """
    parts = []
    for field in fields:
        value = values[field.name]
        if isinstance(value, int):
            if not 0 <= value < 1 << (8 * field.size):
                raise ValueError(f"{field.name} = {value} does not fit {field.size} bytes")
            parts.append(value.to_bytes(field.size, "little"))
            continue
        part = value if isinstance(value, bytes) else bytes.fromhex(value) if field.kind == "hex" else value.encode("ascii")
        if len(part) > field.size or (field.kind == "hex" and len(part) != field.size):
            raise ValueError(f"{field.name} = {value!r} does not fit {field.size} bytes")
        parts.append(part.ljust(field.size, b"\0") if field.kind == "text" else part)
    return b"".join(parts)


def unpack(fields: tuple[Field, ...], body: bytes) -> dict[str, int | str | bytes]:
    """The values of a body.

    Raises
    ------
    ValueError
        If its length is not one that these fields can have, or a text is no ASCII.
    """
    low, high = size(fields)
    if not low <= len(body) <= high:
        raise ValueError(f"a body of {len(body)} bytes, not {low}{'' if low == high else f' to {high}'}")
    values: dict[str, int | str | bytes] = {}
    for field in fields:
        part, body = (body, b"") if field.kind == "data" else (body[:field.size], body[field.size:])
        if field.kind == "count":
            values[field.name] = int.from_bytes(part, "little")
        elif field.kind == "data":
            values[field.name] = part
        else:
            values[field.name] = part.hex() if field.kind == "hex" else part.rstrip(b"\0").decode("ascii")
    return values


def unpack_sparse(packed: bytes, length: int) -> bytes:
    """The ``length`` bytes of memory of a WRITE_SPARSE."""
    left, found = iter(packed), bytearray()
    while len(found) < length:
        mask = next(left, 0)
        found += bytes(next(left, 0) if mask >> i & 1 else 0 for i in range(min(8, length - len(found))))
    return bytes(found)
