"""Memories behind a component's memory ports: data one cycle after ``en``, held until the next read."""

from __future__ import annotations

import random
from collections.abc import Iterator
from typing import Any

from golden.spec.config import Config, clog2
from sim.lib.clock import Port
from sim.lib.pack import join, split


class Memory:
    """A plain memory: read port, write port, or both (`hw.bus.MemoryRead`, `hw.bus.MemoryWrite`).

    A word that is written and read in the same cycle reads as before; addresses beyond the end read garbage, as they
    may be fetched where the result is not used, and writing there fails. With ``part_bits``, so many bits of a word are
    written at once.
    """

    def __init__(self, dut: Any, words: list[int], bits: int, read: str | None = None, write: str | None = None,
                 part_bits: int | None = None) -> None:
        self.words, self.width, self.part = words, bits, part_bits or bits
        self.read = [Port(dut, f"{read}_{x}") for x in ("en", "addr", "data")] if read else None
        self.write = [Port(dut, f"{write}_{x}") for x in ("en", "addr", "data")] if write else None
        self.data = 0
        self.writes = 0

    def drive(self) -> None:
        """See `sim.lib.clock.Agent`."""
        if self.read:
            self.read[2].set(self.data)

    def sample(self) -> None:
        """See `sim.lib.clock.Agent`."""
        if self.read and self.read[0].get():
            addr = self.read[1].get()
            self.data = self.words[addr] if addr < len(self.words) else random.getrandbits(self.width)
        if self.write and self.write[0].get():
            addr, part = divmod(self.write[1].get(), self.width // self.part)
            assert addr < len(self.words), f"write to address {addr} of {len(self.words)}"
            kept = self.words[addr] & ~(((1 << self.part) - 1) << part * self.part)
            self.words[addr] = kept | self.write[2].get() << part * self.part
            self.writes += 1


def spike_writes(config: Config, mask: int, addr: int, data: int) -> Iterator[tuple[int, int, int, int]]:
    """Bank, address, mask and data of each write, from the fields of `hw.bus.SpikeWrite`."""
    c = config
    parts, address = c.word // c.neuron_lanes, clog2(c.spike_words)
    for bank, fields in enumerate(zip(*(split(x, n, c.cores) for x, n in ((addr, address), (mask, parts), (data, c.word))),
                                      strict=True)):
        if fields[1]:
            yield (bank, *fields)


class SpikeBanks:
    """Spike banks behind `hw.bus.SpikeRead` and, where named, `hw.bus.SpikeWrite`."""

    def __init__(self, dut: Any, config: Config, read: str = "read", write: str | None = None) -> None:
        self.config = config
        self.banks = [[0] * config.spike_words for _ in range(config.cores)]
        self.read = [Port(dut, f"{read}_{x}") for x in ("en", "addr", "data")]
        self.write = [Port(dut, f"{write}_{x}") for x in ("mask", "addr", "data")] if write else None
        self.width = config.word * config.cores * config.taps
        self.data = 0
        self.writes = 0

    def drive(self) -> None:
        """See `sim.lib.clock.Agent`."""
        self.read[2].set(self.data)

    def sample(self) -> None:
        """See `sim.lib.clock.Agent`."""
        c = self.config
        if self.read[0].get():
            own = split(self.read[1].get(), clog2(c.spike_words // c.taps), c.taps)
            words = [bank[addr * c.taps + i] if addr * c.taps + i < c.spike_words else random.getrandbits(c.word)
                     for i, addr in enumerate(own) for bank in self.banks]
            self.data = join(words, c.word)
        if self.write and self.write[0].get():
            for bank, addr, mask, data in spike_writes(c, *(port.get() for port in self.write)):
                assert addr < c.spike_words, f"write to spike address {addr} of {c.spike_words}"
                beat = (1 << c.neuron_lanes) - 1
                lanes = sum(beat << (i * c.neuron_lanes) for i in range(c.word // c.neuron_lanes) if mask >> i & 1)
                self.banks[bank][addr] = self.banks[bank][addr] & ~lanes | data & lanes
                self.writes += 1
