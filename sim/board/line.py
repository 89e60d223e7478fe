"""What lies between a host and a simulated board: a pseudo-terminal, or a socket for datagrams; either can be bad."""

from __future__ import annotations

import os
import random
import socket
import struct
import tty
from abc import ABC, abstractmethod

from hw.flow.ethernet_core import mac_address
from hw.link.ethernet import PORT
from sim.board import frames
from sim.board.frames import REPLY, REQUEST, FrameError, Host

CHUNK = 4096  #: bytes taken at once
DATAGRAM = 1 << 16  #: bytes of the longest datagram
HEAD = struct.Struct("<HIH")  #: before a datagram at the streams of a UDP core: size, address, port
BOARD_IP, HOST_IP = "192.168.1.50", "192.168.1.2"  #: on the cable


class Line(ABC):
    """A line, as the board sees it.

    Attributes
    ----------
    uri : str
        What `sw.device.open.open_device` opens it by.
    descriptor : int
        To wait for what comes.
    violation : str
        The first rule that the board broke on the line, or nothing.
    """

    uri: str
    descriptor: int
    violation: str = ""

    @abstractmethod
    def read(self) -> bytes:
        """Bytes that have come, of which there are some, as far as the line has left them."""

    @abstractmethod
    def write(self, data: bytes) -> bytes:
        """Give the host what is left of a frame, or of a part of one; what the line itself says to the board."""

    @abstractmethod
    def close(self) -> None:
        """Free everything."""


class Terminal(Line):
    """A pseudo-terminal.

    Parameters
    ----------
    baud : int
        What the host shall open it with.
    noise : int
        Per mille of bytes, in each direction, that become another one.
    rng : Random
        Of the noise.
    """

    def __init__(self, baud: int, noise: int, rng: random.Random) -> None:
        self._noise, self._rng = noise, rng
        self.descriptor, self._port = os.openpty()  # the port stays open here, so that a host may go and come again
        tty.setraw(self._port)
        os.set_blocking(self.descriptor, False)
        self.uri = f"serial://{os.ttyname(self._port)}?baud={baud}"

    def read(self) -> bytes:
        """See `Line`."""
        return self._spoil(os.read(self.descriptor, CHUNK))

    def write(self, data: bytes) -> bytes:
        """See `Line`."""
        try:
            os.write(self.descriptor, self._spoil(data))
        except BlockingIOError:
            pass  # nobody reads: the bytes are lost, as on any line
        return b""

    def close(self) -> None:
        """See `Line`."""
        os.close(self.descriptor)
        os.close(self._port)

    def _spoil(self, data: bytes) -> bytes:
        if not self._noise:
            return data
        return bytes(x ^ self._rng.randrange(1, 256) if self._rng.randrange(1000) < self._noise else x for x in data)


class Network(Line):
    """A socket for UDP on this computer in front of the streams of a UDP core. An answer goes to whom the board says.

    Parameters
    ----------
    noise : int
        Per mille of datagrams, in each direction, that are lost; so many come twice; so many come behind the next one.
    rng : Random
        Of the noise.
    """

    def __init__(self, noise: int, rng: random.Random) -> None:
        self._noise, self._rng = noise, rng
        self._socket = socket.socket(socket.AF_INET, socket.SOCK_DGRAM)
        self._socket.bind(("127.0.0.1", 0))
        self._late: dict[str, list[tuple[bytes, int]]] = {"in": [], "out": []}
        self._came = b""  # from the board, not yet whole
        self.descriptor = self._socket.fileno()
        self.uri = "udp://{}:{}".format(*self._socket.getsockname())

    def read(self) -> bytes:
        """See `Line`."""
        data, (_, port) = self._socket.recvfrom(DATAGRAM)
        return b"".join(self._to_board(*x) for x in self._through(data, port, "in"))

    def write(self, data: bytes) -> bytes:
        """See `Line`."""
        self._came += data
        said = b""
        while part := self._part():
            said += self._from_board(part)
        return said

    def close(self) -> None:
        """See `Line`."""
        self._socket.close()

    def _to_board(self, data: bytes, port: int) -> bytes:
        """A datagram of a host as the board gets it; hosts differ by their ports."""
        return HEAD.pack(len(data), int.from_bytes(socket.inet_aton(HOST_IP), "big"), port) + data

    def _part(self) -> bytes:
        """The next datagram that has come whole from the board, if any."""
        if len(self._came) < HEAD.size:
            return b""
        end = HEAD.size + HEAD.unpack_from(self._came)[0]
        part, self._came = (self._came[:end], self._came[end:]) if len(self._came) >= end else (b"", self._came)
        return part

    def _from_board(self, part: bytes) -> bytes:
        """Give a datagram to its host; what the line says to the board."""
        self._send(part[HEAD.size:], HEAD.unpack_from(part)[2])
        return b""

    def _send(self, data: bytes, port: int) -> None:
        for datagram, to in self._through(data, port, "out"):
            self._socket.sendto(datagram, ("127.0.0.1", to))

    def _through(self, datagram: bytes, port: int, way: str) -> list[tuple[bytes, int]]:
        """What arrives when a datagram is sent, from or to a port."""
        lost, twice, late = (self._rng.randrange(1000) < self._noise for _ in range(3))
        before, self._late[way] = self._late[way], []
        if lost:
            return before
        if late:
            self._late[way] = [(datagram, port)]
            return before
        return [(datagram, port)] * (1 + twice) + before


class Cable(Network):
    """The same socket in front of the pins of an Ethernet core: datagrams in frames, on a cable with the board and one computer.

    That asks first whose the board's address is, and holds its datagrams until it knows; and it answers the same question.
    """

    def __init__(self, noise: int, rng: random.Random) -> None:
        super().__init__(noise, rng)
        self._host = Host.at(HOST_IP, mac_address(HOST_IP))
        self._board: Host | None = None
        self._held: list[tuple[bytes, int]] = []

    def _to_board(self, data: bytes, port: int) -> bytes:
        if not self._board:
            self._held.append((data, port))
            return self._line(frames.arp(REQUEST, self._host, b"", socket.inet_aton(BOARD_IP)))
        return self._line(frames.udp(self._host, port, self._board, PORT, data))

    def _part(self) -> bytes:
        size = int.from_bytes(self._came[:2], "little")
        part = b""
        if len(self._came) >= 2 + size:
            part, self._came = self._came[2:2 + size], self._came[2 + size:]
        return part

    def _from_board(self, part: bytes) -> bytes:
        try:
            return self._answer(frames.off_the_line(part))
        except FrameError as error:
            self.violation = self.violation or str(error)
            return b""

    def _answer(self, frame: bytes) -> bytes:
        """Give what is in a frame to its host; what this computer says to it."""
        if asked := frames.read_arp(frame):
            operation, sender, about = asked
            if operation == REQUEST and about == self._host.ip:
                return self._line(frames.arp(REPLY, self._host, sender.mac, sender.ip))
            if operation == REPLY and not self._board and about == self._host.ip:
                self._board, held, self._held = sender, self._held, []
                return b"".join(self._to_board(*x) for x in held)
            return b""
        found = frames.read_udp(frame)
        if not found or not self._board:
            raise FrameError(f"neither ARP nor a datagram that somebody asked for: {frame.hex()}")
        source, source_port, target, port, data = found
        if (frame[:6], target, frame[6:12], source, source_port) != (
                self._host.mac, self._host.ip, self._board.mac, self._board.ip, PORT):
            raise FrameError(f"wrong addresses: {frame.hex()}")
        self._send(data, port)
        return b""

    @staticmethod
    def _line(frame: bytes) -> bytes:
        line = frames.on_the_line(frame)
        return len(line).to_bytes(2, "little") + line
