"""An accelerator that a host reaches over a serial line: wiring only."""

from __future__ import annotations

from amaranth.hdl import Module
from amaranth.lib import wiring
from amaranth.lib.fifo import SyncFIFOBuffered
from amaranth.lib.wiring import In, Out, connect, flipped

from golden.spec.config import Config
from hw.axi import Axi
from hw.link.link import Link, Site
from hw.link.share import MemoryShare
from hw.link.uart import UartReceiver, UartTransmitter
from hw.top import Accelerator

WAITING_BYTES = 512  #: of requests, while the link is busy: more than the longest; one block RAM


class Board(wiring.Component):
    """What every board has behind its pins and in front of its memory.

    Parameters
    ----------
    config : Config
    site : Site
    divisor : int
        Cycles of a bit on the line.

    Ports
    -----
    rx : Signal(), in
        From the host, asynchronous.
    tx : Signal(), out
        To the host.
    axi : Axi, out
        The memory that holds program, weights, clips and results.
    active : Signal(), out
        A request is being carried out or answered; for a lamp.
    """

    def __init__(self, config: Config, site: Site, divisor: int) -> None:
        self.config, self.site, self.divisor = config, site, divisor
        super().__init__({
            "rx": In(1, init=1), "tx": Out(1, init=1), "axi": Out(Axi(config.axi_bits)), "active": Out(1),
        })

    def elaborate(self, platform: object) -> Module:
        m = Module()
        m.submodules.accelerator = accelerator = Accelerator(self.config)
        m.submodules.link = link = Link(self.config, self.site)
        m.submodules.share = share = MemoryShare(self.config.axi_bits)
        m.submodules.receiver = receiver = UartReceiver(self.divisor)
        m.submodules.waiting = waiting = SyncFIFOBuffered(width=8, depth=WAITING_BYTES)
        m.submodules.transmitter = transmitter = UartTransmitter(self.divisor)
        connect(m, link.axil, accelerator.axil)
        connect(m, accelerator.axi, share.user0)
        connect(m, link.axi, share.user1)
        connect(m, share.axi, flipped(self.axi))
        connect(m, receiver.received, waiting.w_stream)
        # block RAM gives its data late in the cycle: they go through a register, every second cycle, more than the line brings
        m.d.comb += waiting.r_stream.ready.eq(~link.requests.valid)
        with m.If(waiting.r_stream.valid & waiting.r_stream.ready):
            m.d.sync += [link.requests.payload.eq(waiting.r_stream.payload), link.requests.valid.eq(1)]
        with m.Elif(link.requests.ready):
            m.d.sync += link.requests.valid.eq(0)
        connect(m, link.answers, transmitter.send)
        m.d.comb += [
            receiver.rx.eq(self.rx), self.tx.eq(transmitter.tx), link.irq.eq(accelerator.irq), self.active.eq(link.active),
        ]
        return m
