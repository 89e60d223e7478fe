"""Components in the arrangements that the benches of the memory side run: side by side, or on their DMA engines."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace

from amaranth.hdl import Module
from amaranth.lib import wiring
from amaranth.lib.wiring import Out, connect, flipped

from golden.spec.config import Config
from hw.axi import AxiRead, AxiWrite
from hw.bursts import Bursts
from hw.gearbox import Narrow, Widen
from hw.loader import Loader
from hw.memory.block_ram import AxiBlockRam
from hw.memory.sdram import SDRAM_8MB, SDRAM_32MB
from hw.mover import Mover
from hw.read_dma import ReadDma
from hw.write_dma import WriteDma
from hw.write_share import WriteShare
from sim.lib.sdram import SdramSystem

BLOCK_RAM_BYTES = 12 << 10  #: no power of two
#: Kinds of SDRAM, each with its clock in cycles per second; soon on, and often to be refreshed.
SDRAMS = {
    "sdram": (replace(SDRAM_32MB, power_up=2_000, refresh_period=3_000), 60_000_000),
    "broad": (replace(SDRAM_8MB, power_up=2_000, refresh_period=6_000), 27_000_000),
}


class Beside(wiring.Component):
    """Components that share nothing but a build; the ports of part ``x`` are named ``x_...``."""

    def __init__(self, parts: Mapping[str, wiring.Component]) -> None:
        self.parts = dict(parts)
        super().__init__({name: Out(part.signature) for name, part in parts.items()})

    def elaborate(self, platform: object) -> Module:
        m = Module()
        for name, part in self.parts.items():
            m.submodules[name] = part
            connect(m, part, flipped(getattr(self, name)))
        return m


def gearboxes(config: Config) -> Beside:
    """The gearboxes of the mover, with both their widths."""
    c = config
    tensors = c.word, c.u_beat_bits
    return Beside({
        "widen": Widen(c.axi_bits, max(tensors), min(tensors)), "narrow": Narrow(max(tensors), c.axi_bits, min(tensors)),
    })


def engines(config: Config) -> Beside:
    """Both DMA engines, and the part that they share."""
    return Beside({"bursts": Bursts(config), "read": ReadDma(config), "write": WriteDma(config)})


def shares(config: Config) -> Beside:
    """What lets two use the engine that writes."""
    return Beside({"write": WriteShare(config)})


class OnBus(wiring.Component):
    """Loader or mover on DMA engines of its own: its other ports under their names, and ``axi_read``, ``axi_write``."""

    def __init__(self, block: Loader | Mover) -> None:
        self.block = block
        mover, bits = isinstance(block, Mover), block.config.axi_bits
        self.reads = ("read_jobs", "read_data") if mover else ("jobs", "data")
        inside = {*self.reads, *(("write_jobs", "write_data", "written") if mover else ())}
        self.outside = [name for name in block.signature.members if name not in inside]
        super().__init__({
            **{name: block.signature.members[name] for name in self.outside}, "axi_read": Out(AxiRead(bits)),
            **({"axi_write": Out(AxiWrite(bits))} if mover else {}),
        })

    def elaborate(self, platform: object) -> Module:
        m = Module()
        block, members = self.block, self.signature.members
        m.submodules.block = block
        for name in self.outside:
            ours, theirs = getattr(self, name), getattr(block, name)
            if members[name].is_signature:
                connect(m, theirs, flipped(ours))
            else:
                m.d.comb += ours.eq(theirs) if members[name].flow == Out else theirs.eq(ours)
        m.submodules.read = read = ReadDma(block.config)
        user = 0 if isinstance(block, Mover) else 1
        connect(m, getattr(block, self.reads[0]), getattr(read, f"jobs{user}"))
        connect(m, getattr(read, f"data{user}"), getattr(block, self.reads[1]))
        connect(m, read.axi, flipped(self.axi_read))
        if isinstance(block, Mover):
            m.submodules.write = write = WriteDma(block.config)
            connect(m, block.write_jobs, write.jobs)
            connect(m, block.write_data, write.data)
            connect(m, write.axi, flipped(self.axi_write))
            m.d.comb += block.written.eq(write.done)
        return m


def loader(config: Config) -> OnBus:
    """The loader and its engine."""
    return OnBus(Loader(config))


def mover(config: Config) -> OnBus:
    """The mover and its engines."""
    return OnBus(Mover(config))


def memories(config: Config) -> Beside:
    """The memories of boards."""
    return Beside({
        "block": AxiBlockRam(config.axi_bits, BLOCK_RAM_BYTES),
        **{name: SdramSystem(config.axi_bits, chip, clock) for name, (chip, clock) in SDRAMS.items()},
    })
