"""What carries the bytes of the link."""

from __future__ import annotations

import socket
import time
from abc import ABC, abstractmethod

import serial

from sw.device.base import DeviceLostError, DeviceUnavailableError

LOOK = 0.02  #: seconds that one read of a port may take
RATE = 1e8  #: bits per second of a network, at least
DATAGRAM = 1 << 16  #: bytes of the longest datagram
STUCK = 5.0  #: seconds after which a port that takes no bytes is given up


class Transport(ABC):
    """A line to a board and back; bytes may be lost or changed on it.

    Attributes
    ----------
    name : str
        For messages.
    """

    name: str

    @abstractmethod
    def send(self, data: bytes) -> None:
        """Send bytes.

        Raises
        ------
        DeviceLostError
            If the line is gone.
        """

    @abstractmethod
    def receive(self, timeout: float) -> bytes:
        """Whatever has come, at least a byte; nothing after ``timeout`` seconds without any.

        Raises
        ------
        DeviceLostError
            If the line is gone.
        """

    @abstractmethod
    def seconds(self, count: int) -> float:
        """How long ``count`` bytes take."""

    @abstractmethod
    def reconnect(self) -> None:
        """Open the line again.

        Raises
        ------
        DeviceUnavailableError
            If it is not there.
        """

    @abstractmethod
    def close(self) -> None:
        """Give the line back."""


class SerialTransport(Transport):
    """A serial port, or a pseudo-terminal that stands for one.

    Parameters
    ----------
    path : str
        Such as ``/dev/ttyUSB0``.
    baud : int
        Bits per second.

    Raises
    ------
    DeviceUnavailableError
        If it cannot be opened.
    """

    def __init__(self, path: str, baud: int) -> None:
        self.name, self.baud = path, baud
        self._port = self._open()

    def _open(self) -> serial.Serial:
        try:
            return serial.Serial(self.name, self.baud, timeout=LOOK, write_timeout=STUCK, exclusive=True)
        except (serial.SerialException, OSError, ValueError) as error:
            raise DeviceUnavailableError(f"serial port {self.name} at {self.baud} baud cannot be opened: {error}") from None

    def send(self, data: bytes) -> None:
        """Send bytes."""
        try:
            self._port.write(data)
        except (serial.SerialException, OSError) as error:
            raise DeviceLostError(f"serial port {self.name} is lost: {error}") from None

    def receive(self, timeout: float) -> bytes:
        """Whatever has come, at least a byte; nothing after ``timeout`` seconds without any."""
        end = time.monotonic() + timeout
        try:
            while True:
                first = self._port.read(1)
                if first:
                    return first + self._port.read(self._port.in_waiting)
                if time.monotonic() >= end:
                    return b""
        except (serial.SerialException, OSError) as error:
            raise DeviceLostError(f"serial port {self.name} is lost: {error}") from None

    def seconds(self, count: int) -> float:
        """How long ``count`` bytes of ten bits take."""
        return 10 * count / self.baud

    def reconnect(self) -> None:
        """Open the port again."""
        self._port.close()
        self._port = self._open()

    def close(self) -> None:
        """Give the port back."""
        self._port.close()


class UdpTransport(Transport):
    """Datagrams to a board, one for each request, and back, one for each answer; they may be lost, come twice, or late.

    Parameters
    ----------
    host : str
        Name or address.
    port : int

    Raises
    ------
    DeviceUnavailableError
        If there is no such host.
    """

    def __init__(self, host: str, port: int) -> None:
        self.name, self._where = f"{host}:{port}", (host, port)
        self._socket = self._open()

    def _open(self) -> socket.socket:
        try:
            family, kind, protocol, _, address = socket.getaddrinfo(*self._where, type=socket.SOCK_DGRAM)[0]
            opened = socket.socket(family, kind, protocol)
            opened.connect(address)  # so that nobody else's datagrams are taken
        except OSError as error:
            raise DeviceUnavailableError(f"{self.name} cannot be reached: {error}") from None
        return opened

    def send(self, data: bytes) -> None:
        """Send bytes as a datagram."""
        try:
            self._socket.send(data)
        except OSError as error:
            raise DeviceLostError(f"nobody is at {self.name}: {error}") from None

    def receive(self, timeout: float) -> bytes:
        """The next datagram; nothing after ``timeout`` seconds without any."""
        self._socket.settimeout(max(timeout, 1e-6))  # 0 would be another thing
        try:
            return self._socket.recv(DATAGRAM)
        except TimeoutError:
            return b""
        except OSError as error:
            raise DeviceLostError(f"nobody is at {self.name}: {error}") from None

    def seconds(self, count: int) -> float:
        """How long so many bytes take."""
        return 8 * count / RATE

    def reconnect(self) -> None:
        """Open the socket again; the host may have another address."""
        self._socket.close()
        self._socket = self._open()

    def close(self) -> None:
        """Give the socket back."""
        self._socket.close()
