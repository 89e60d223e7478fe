"""``serial://PATH?baud=N``: a board on a serial line."""

from __future__ import annotations

import time
from collections.abc import Sequence

from sw.device.base import Device
from sw.link.client import LinkClient


class LinkDevice(Device):
    """The accelerator of a board, by way of its link.

    Parameters
    ----------
    link : LinkClient
    uri : str
        What it was opened by.
    """

    def __init__(self, link: LinkClient, uri: str) -> None:
        self.link, self.uri = link, uri
        self.memory_bytes, self.clock = link.identity.memory, link.identity.clock

    def close(self) -> None:
        """Give the line back."""
        self.link.close()

    def reconnect(self) -> None:
        """Open the line again; the next request makes sure that it is the same board."""
        self.link.transport.reconnect()

    def read_memory(self, address: int, size: int) -> bytes:
        """Read ``size`` bytes of memory."""
        self.check_range(address, size)
        align = self.link.identity.align
        low, high = address // align * align, -(-(address + size) // align) * align
        return self.link.read_memory(low, high - low)[address - low:address - low + size]

    def write_memory(self, address: int, data: bytes | memoryview) -> None:
        """Write bytes to memory; words of which only a part is written are read before."""
        self.check_range(address, len(data))
        if not len(data):
            return
        data = bytes(data)
        align = self.link.identity.align
        before, after = address % align, -(address + len(data)) % align
        if before:
            data = self.link.read_memory(address - before, align)[:before] + data
        if after:
            data += self.link.read_memory(address - before + len(data) + after - align, align)[align - after:]
        self.link.write_memory(address - before, data)

    def read_register(self, address: int) -> int:
        """Read a 32-bit register."""
        return self.read_registers(address, 1)[0]

    def write_register(self, address: int, value: int) -> None:
        """Write a 32-bit register."""
        self.write_registers(address, [value])

    def read_registers(self, address: int, count: int) -> list[int]:
        """Read registers one behind the other, in one request."""
        return self.link.read_registers(address, count)

    def write_registers(self, address: int, values: Sequence[int]) -> None:
        """Write registers one behind the other, in one request."""
        self.link.write_registers(address, values)

    def wait_interrupt(self, timeout: float) -> bool:
        """Wait until the interrupt line is high or ``timeout`` seconds have passed; the line's state."""
        end = time.monotonic() + timeout
        while not self.link.wait(end - time.monotonic()):
            if time.monotonic() >= end:
                return False
        return True
