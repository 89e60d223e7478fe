"""Ethernet frames, as far as ARP and UDP over IPv4 need them; checks everything that it reads."""

from __future__ import annotations

import struct
import zlib
from dataclasses import dataclass
from ipaddress import IPv4Address

PREAMBLE = bytes([0x55] * 7 + [0xD5])
LEAST_BYTES = 60  #: of a frame, without its check sequence
BROADCAST = b"\xff" * 6
ARP, IPV4 = b"\x08\x06", b"\x08\x00"
ARP_KIND = struct.pack(">HHBB", 1, 0x0800, 6, 4)  #: addresses of Ethernet and IPv4
REQUEST, REPLY = 1, 2
UDP = 17


class FrameError(ValueError):
    """A frame that breaks a rule; the message says which."""


@dataclass(frozen=True)
class Host:
    """Somebody in the network."""

    mac: bytes
    ip: bytes

    @classmethod
    def at(cls, ip: str, mac: int) -> Host:
        """From readable addresses."""
        return cls(mac.to_bytes(6, "big"), IPv4Address(ip).packed)


def on_the_line(frame: bytes) -> bytes:
    """A frame from preamble to check sequence, filled up to the least size."""
    frame = frame.ljust(LEAST_BYTES, b"\0")
    return PREAMBLE + frame + zlib.crc32(frame).to_bytes(4, "little")


def off_the_line(line: bytes) -> bytes:
    """The frame in what was on the line.

    Raises
    ------
    FrameError
        If its preamble, its size or its check sequence is wrong.
    """
    frame, check = line[len(PREAMBLE):-4], line[-4:]
    if not line.startswith(PREAMBLE) or len(frame) < LEAST_BYTES:
        raise FrameError(f"no frame: {line.hex()}")
    if zlib.crc32(frame).to_bytes(4, "little") != check:
        raise FrameError(f"a wrong check sequence: {line.hex()}")
    return frame


def arp(operation: int, sender: Host, target_mac: bytes, target_ip: bytes) -> bytes:
    """A frame that asks who has an address, or says so."""
    to = BROADCAST if operation == REQUEST else target_mac
    known = bytes(6) if operation == REQUEST else target_mac
    return to + sender.mac + ARP + ARP_KIND + operation.to_bytes(2, "big") + sender.mac + sender.ip + known + target_ip


def read_arp(frame: bytes) -> tuple[int, Host, bytes] | None:
    """What a frame asks or says, its sender, and the IP address that it is about; None where it is no ARP.

    Raises
    ------
    FrameError
        If it is a bad one.
    """
    if frame[12:14] != ARP:
        return None
    body = frame[14:42]
    if body[:6] != ARP_KIND or body[8:14] != frame[6:12]:
        raise FrameError(f"a bad ARP: {frame.hex()}")
    return int.from_bytes(body[6:8], "big"), Host(body[8:14], body[14:18]), body[24:28]


def checksum(header: bytes) -> int:
    """Of an IPv4 header; 0 where it is in the header and right."""
    total = sum(struct.unpack(f">{len(header) // 2}H", header))
    while total >> 16:
        total = (total & 0xFFFF) + (total >> 16)
    return total ^ 0xFFFF


def udp(sender: Host, sender_port: int, target: Host, target_port: int, data: bytes, length: int | None = None) -> bytes:
    """A frame with a datagram, whose header says ``length`` bytes where that is given; no checksum, as UDP allows."""
    size = len(data) + 8
    header = struct.pack(">BBHHHBBH", 0x45, 0, 20 + size, 1, 0, 64, UDP, 0) + sender.ip + target.ip
    header = header[:10] + checksum(header).to_bytes(2, "big") + header[12:]
    told = size if length is None else length + 8
    return target.mac + sender.mac + IPV4 + header + struct.pack(">HHHH", sender_port, target_port, told & 0xFFFF, 0) + data


def read_udp(frame: bytes) -> tuple[bytes, int, bytes, int, bytes] | None:
    """Address and port of who sent it, of whom it is for, and the bytes of a datagram; None where it is none.

    Raises
    ------
    FrameError
        If it is a bad one.
    """
    header = frame[14:34]
    if frame[12:14] != IPV4 or header[9] != UDP:
        return None
    total = int.from_bytes(header[2:4], "big")
    source, target, length, check = struct.unpack(">HHHH", frame[34:42])
    if header[0] != 0x45 or checksum(header) or check or length + 20 != total or len(frame) != max(LEAST_BYTES, 14 + total):
        raise FrameError(f"a bad datagram: {frame.hex()}")
    return header[12:16], source, header[16:20], target, frame[42:14 + total]
