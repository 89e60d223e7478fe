"""Components in the arrangements that the benches of the memory side run: side by side, or on their DMA engines."""

from __future__ import annotations

from collections.abc import Mapping

from amaranth.hdl import Module
from amaranth.lib import wiring
from amaranth.lib.wiring import Out, connect, flipped

from golden.spec.config import Config
from hw.arbiter import JobArbiter
from hw.bursts import Bursts
from hw.gearbox import Narrow, Widen
from hw.read_dma import ReadDma
from hw.write_dma import WriteDma
from hw.write_share import WriteShare


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
    """The gearboxes of loader and mover, with all their widths."""
    c = config
    images, tensors = (c.row_bits, c.param_beat_bits), (c.word, c.u_beat_bits)
    return Beside({"widen": Widen(c.axi_bits, max(images), min(images)), "narrow": Narrow(max(tensors), c.axi_bits, min(tensors))})


def engines(config: Config) -> Beside:
    """Both DMA engines, and the part that they share."""
    return Beside({"bursts": Bursts(config), "read": ReadDma(config), "write": WriteDma(config)})


def shares(config: Config) -> Beside:
    """What lets two use an engine."""
    return Beside({"read": JobArbiter(config), "write": WriteShare(config)})
