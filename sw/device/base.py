"""What a driver needs of any device, and what can go wrong with one."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Sequence
from types import TracebackType
from typing import Self

from golden.spec.registers import ERROR_TEXT, ErrorCode


class DeviceError(Exception):
    """A device that cannot be used, or a run that failed."""


class DeviceUnavailableError(DeviceError):
    """There is no such device, or it has not been built."""


class DeviceLostError(DeviceUnavailableError):
    """The device was there, and does not answer any more; perhaps it will again."""


class DeviceMismatchError(DeviceError):
    """The device is not what the bundle was compiled for, or no tANDem at all."""


class DeviceTimeoutError(DeviceError):
    """The device did not finish in time."""


class RunError(DeviceError):
    """The machine ended a run with an error code.

    Attributes
    ----------
    code : int
        Of the ERROR register.
    index : int
        Of the descriptor.
    layer : str
        Its name.
    state : str
        More to say about it.
    """

    def __init__(self, code: int, index: int, layer: str, state: str = "") -> None:
        self.code, self.index, self.layer = code, index, layer
        text = ERROR_TEXT.get(ErrorCode(code), "") if code in list(ErrorCode) else "unknown to this software"
        super().__init__(f"error {code} in layer '{layer}' (descriptor {index}): {text}{'; ' if state else ''}{state}")


class Device(ABC):
    """A machine behind some transport: memory, registers, interrupt.

    Attributes
    ----------
    uri : str
        What `sw.device.open.open_device` opens it by.
    memory_bytes : int
        Size of the memory behind the AXI4 master, from address 0.
    clock : int
        Cycles per second; 0 where the device has no clock of its own.
    """

    uri: str
    memory_bytes: int
    clock: int = 0

    @abstractmethod
    def read_memory(self, address: int, size: int) -> bytes:
        """Read ``size`` bytes of memory."""

    @abstractmethod
    def write_memory(self, address: int, data: bytes | memoryview) -> None:
        """Write bytes to memory."""

    @abstractmethod
    def read_register(self, address: int) -> int:
        """Read a 32-bit register."""

    @abstractmethod
    def write_register(self, address: int, value: int) -> None:
        """Write a 32-bit register."""

    def read_registers(self, address: int, count: int) -> list[int]:
        """Read registers one behind the other; over a line, in one request."""
        return [self.read_register(address + 4 * i) for i in range(count)]

    def write_registers(self, address: int, values: Sequence[int]) -> None:
        """Write registers one behind the other, the first one first; over a line, in one request."""
        for i, value in enumerate(values):
            self.write_register(address + 4 * i, value)

    @abstractmethod
    def wait_interrupt(self, timeout: float) -> bool:
        """Let the machine run until its interrupt line is high or ``timeout`` seconds have passed; the line's state."""

    @abstractmethod
    def close(self) -> None:
        """Give the device back."""

    def reconnect(self) -> None:  # noqa: B027 - nothing to do for most
        """Open the way to a lost device again; those in this process cannot be lost.

        Raises
        ------
        DeviceUnavailableError
            If it is still not there.
        """

    def __enter__(self) -> Self:
        """Use the device in a ``with`` statement."""
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None) -> None:
        """Give the device back."""
        self.close()

    def check_range(self, address: int, size: int) -> None:
        """Check that an access lies within memory.

        Raises
        ------
        DeviceError
            If it does not.
        """
        if address < 0 or size < 0 or address + size > self.memory_bytes:
            raise DeviceError(f"bytes {address} to {address + size} exceed the memory of {self.uri}, {self.memory_bytes} bytes")
