"""From bytes to registers and memory: wiring only."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass

from amaranth.hdl import Module
from amaranth.lib import wiring
from amaranth.lib.wiring import In, Member, Out, connect, flipped

from golden.spec import link as protocol
from golden.spec.config import Config
from golden.spec.registers import ADDRESS_BITS
from hw.axi import Axi, AxiLite
from hw.link.cobs import CobsDecoder, CobsEncoder
from hw.link.items import byte_stream
from hw.link.machine import Bus, LinkMachine
from hw.link.memory_port import MemoryPort


@dataclass(frozen=True, kw_only=True)
class Site:
    """Where an accelerator is built in.

    Parameters
    ----------
    board : str
        Name, at most 16 characters.
    clock : int
        Cycles per second.
    memory_bytes : int
        Size of the memory, from address 0.
    build : str
        What the board was built from, 16 hex digits.
    """

    board: str
    clock: int
    memory_bytes: int
    build: str

    def identity(self, config: Config) -> bytes:
        """What the link answers to IDENTIFY."""
        return protocol.pack(protocol.IDENTITY, {
            "protocol": protocol.VERSION, "align": config.axi_bytes, "data_bytes": protocol.DATA_BYTES, "clock": self.clock,
            "memory": self.memory_bytes, "digest": config.digest, "build": self.build, "board": self.board,
        })


def link_ports(config: Config) -> dict[str, Member]:
    """Ports of a link of any kind, as `Link` describes them."""
    return {
        "requests": In(byte_stream()), "answers": Out(byte_stream()), "axil": Out(AxiLite(ADDRESS_BITS)),
        "axi": Out(Axi(config.axi_bits)), "irq": In(1), "active": Out(1),
    }


class Link(wiring.Component):
    """Takes requests from a stream of bytes, carries them out, answers (docs/link.md).

    Parameters
    ----------
    config : Config
        Of the accelerator.
    site : Site
        Where it is built in.

    Ports
    -----
    requests : stream of 8, in
        From the line. What comes while a request is carried out waits.
    answers : stream of 8, out
        To the line.
    axil : AxiLite, out
        The accelerator's registers.
    axi : Axi, out
        Memory.
    irq : Signal(), in
    active : Signal(), out
        A request is being carried out or answered.
    """

    def __init__(self, config: Config, site: Site) -> None:
        self.config, self.site = config, site
        super().__init__(link_ports(config))

    def elaborate(self, platform: object) -> Module:
        m = Module()
        bits = self.config.axi_bits
        m.submodules.decoder = decoder = CobsDecoder()
        m.submodules.machine = machine = LinkMachine(
            self.site.identity(self.config), bits, self.site.memory_bytes, self.site.clock)
        m.submodules.encoder = encoder = CobsEncoder()
        m.submodules.memory_port = memory_port = MemoryPort(bits)
        connect(m, flipped(self.requests), decoder.line)
        connect(m, decoder.frames, machine.frames)
        connect(m, machine.answers, encoder.frames)
        connect(m, encoder.line, flipped(self.answers))
        connect(m, machine.accesses, memory_port.accesses)
        connect(m, memory_port.outcomes, machine.outcomes)
        connect(m, machine.axil, flipped(self.axil))
        connect(m, memory_port.axi, flipped(self.axi))
        m.d.comb += [machine.irq.eq(self.irq), self.active.eq(machine.active | encoder.line.valid)]
        return m

    @staticmethod
    def model(config: Config, site: Site, line: Iterable[int], bus: Bus) -> bytes:
        """Twin: what the board sends for the bytes of the line."""
        answers = LinkMachine.model(
            site.identity(config), config.axi_bytes, site.memory_bytes, CobsDecoder.model(line), bus)
        return b"".join(CobsEncoder.model(answer) for answer in answers)
