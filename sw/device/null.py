"""``null:PRESET``: a machine that has always ended, and made nothing but zeros: what is left is the host's own time."""

from __future__ import annotations

import numpy as np

from golden.spec import descriptor, registers
from golden.spec.config import Config
from golden.spec.descriptor import Opcode
from golden.spec.registers import REGISTERS
from sw.device.base import Device

MEMORY_BYTES = 1 << 26


class NullDevice(Device):
    """Memory, registers, and statistics of a run that took no time.

    Parameters
    ----------
    config : Config
        What it says that it is.
    """

    def __init__(self, config: Config) -> None:
        self.uri = f"null:{config.name}"
        self.memory_bytes = MEMORY_BYTES
        self._memory = np.zeros(MEMORY_BYTES, np.uint8)
        self._registers = {r.address: 0 for r in REGISTERS.values()}
        self._set("ID", registers.ID_VALUE)
        self._set("VERSION", registers.VERSION)
        for i in range(4):
            self._set(f"DIGEST{i}", int(config.digest[8 * i : 8 * i + 8], 16))
        self._records: dict[int, bytes] = {}  # of the programs in memory that have been run, by their addresses

    def read_memory(self, address: int, size: int) -> bytes:
        """Read ``size`` bytes of memory."""
        self.check_range(address, size)
        return self._memory[address : address + size].tobytes()

    def write_memory(self, address: int, data: bytes | memoryview) -> None:
        """Write bytes to memory."""
        self.check_range(address, len(data))
        self._memory[address : address + len(data)] = np.frombuffer(data, np.uint8)
        self._records = {start: records for start, records in self._records.items() if address > start}

    def read_register(self, address: int) -> int:
        """Read a 32-bit register; unknown ones read 0."""
        return self._registers.get(address, 0)

    def write_register(self, address: int, value: int) -> None:
        """Write a 32-bit register; a start ends at once."""
        self._registers[address] = value
        if address == REGISTERS["CONTROL"].address and value & registers.START:
            start = self._get("SEGMENT0") + self._get("PROGRAM")
            if start not in self._records:
                records = np.zeros((self._count(start), registers.STATISTICS_BYTES // 4), "<u4")
                records[:, list(registers.STATISTICS).index("layer")] = np.arange(len(records))
                self._records[start] = records.tobytes()
            self.write_memory(self._get("SEGMENT3"), self._records[start])
            self._set("STATUS", registers.DONE)

    def wait_interrupt(self, timeout: float) -> bool:
        """It is high after the first start."""
        return bool(self._get("STATUS"))

    def close(self) -> None:
        """Nothing to do."""

    def _get(self, name: str) -> int:
        return self._registers[REGISTERS[name].address]

    def _set(self, name: str, value: int) -> None:
        self._registers[REGISTERS[name].address] = value

    def _count(self, start: int) -> int:
        """Descriptors before END."""
        count = 0
        while descriptor.decode(np.frombuffer(self.read_memory(start, descriptor.BYTES), "<u4").tolist())["opcode"] != Opcode.END:
            start, count = start + descriptor.BYTES, count + 1
        return count
