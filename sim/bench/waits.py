"""Others who use memory ports, at random times: a unit that may have to wait writes nothing and gets nothing meanwhile."""

from __future__ import annotations

import random
from collections.abc import Mapping
from typing import Any

from amaranth.hdl import Shape
from amaranth.lib import data

from sim.lib.clock import Port
from sim.lib.memory import Memory, SpikeBanks
from sim.lib.pack import pack


class Waits:
    """Drives the port ``waits``, and fails where a unit writes nevertheless.

    Parameters
    ----------
    dut : cocotb handle
    layout : StructLayout
        Of ``waits``.
    writes : mapping of str to str
        Name of the port by which the unit writes, for each such field, which says what is in use in the next cycle; where a field
        has a bit for each of several memories, the port has as many bits for each of these.
    memories : mapping of str to Memory or SpikeBanks
        Where others read, for each other field: what was read before is not there any more, nor what is asked for now. Agents
        that come before this one.
    rate : float
        How often a memory is in use by others.
    """

    def __init__(self, dut: Any, layout: data.StructLayout, writes: Mapping[str, str],
                 memories: Mapping[str, Memory | SpikeBanks], rate: float) -> None:
        self.layout, self.memories, self.rate = layout, memories, rate
        self.port = Port(dut, "waits")
        self.writes = {name: Port(dut, port) for name, port in writes.items()}
        self.bits = {name: Shape.cast(layout[name].shape).width for name in (*writes, *memories)}
        self.now, self.said = dict.fromkeys(self.bits, 0), dict.fromkeys(self.bits, 0)

    def drive(self) -> None:
        """See `sim.lib.clock.Agent`."""
        before = self.said
        self.said = {name: sum((random.random() < self.rate) << i for i in range(bits)) for name, bits in self.bits.items()}
        self.now = self.said | {name: before[name] for name in self.writes}
        self.port.set(pack(self.layout, self.said))

    def sample(self) -> None:
        """See `sim.lib.clock.Agent`."""
        for name, port in self.writes.items():
            assert not _which(port, self.bits[name]) & self.now[name], f"{name}: asked for although it is in use"
        for name, memory in self.memories.items():
            if self.now[name]:
                memory.data = random.getrandbits(memory.width)


def _which(port: Port, memories: int) -> int:
    """Of which of several memories something is asked."""
    value = port.get()
    each = 1 if port.handle is None else len(port.handle) // memories
    return sum((value >> i * each & (1 << each) - 1 != 0) << i for i in range(memories))


