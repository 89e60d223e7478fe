"""An accelerator that a host reaches over a serial line, or by datagrams: wiring only."""

from __future__ import annotations

from amaranth.hdl import Module
from amaranth.lib import data, stream, wiring
from amaranth.lib.fifo import SyncFIFOBuffered
from amaranth.lib.wiring import In, Out, connect, flipped

from golden.spec.config import Config
from golden.spec.link import DELIMITER
from hw.axi import Axi
from hw.link.items import byte_stream
from hw.link.link import Link, Site
from hw.link.share import OUTSTANDING, MemoryShare
from hw.link.slow_link import SlowLink
from hw.link.uart import UartReceiver, UartTransmitter
from hw.top import Accelerator

WAITING_BYTES = 512  #: of requests, while the link is busy: more than the longest; one block RAM


def datagram_stream() -> stream.Signature:
    """The bytes of datagrams; ``last`` is the last one of each. As the UDP core of LiteEth gives and takes them."""
    return stream.Signature(data.StructLayout({"data": 8, "last": 1}))


class Machine(wiring.Component):
    """Accelerator and link, with whatever line in front of them.

    Parameters
    ----------
    config : Config
    site : Site

    Ports
    -----
    requests : stream of 8, in
    answers : stream of 8, out
    axi : Axi, out
        The memory that holds program, weights, clips and results.
    active : Signal(), out
        A request is being carried out or answered; for a lamp.
    """

    def __init__(self, config: Config, site: Site) -> None:
        self.config, self.site = config, site
        super().__init__({
            "requests": In(byte_stream()), "answers": Out(byte_stream()), "axi": Out(Axi(config.axi_bits)), "active": Out(1),
        })

    def elaborate(self, platform: object) -> Module:
        m = Module()
        m.submodules.accelerator = accelerator = Accelerator(self.config)
        m.submodules.link = link = SlowLink(self.config, self.site) if self.config.lean else Link(self.config, self.site)
        m.submodules.share = share = MemoryShare(self.config.axi_bits, 1 if self.config.lean else OUTSTANDING)
        connect(m, link.axil, accelerator.axil)
        connect(m, accelerator.axi, share.user0)
        connect(m, link.axi, share.user1)
        connect(m, share.axi, flipped(self.axi))
        connect(m, link.answers, flipped(self.answers))
        m.d.comb += [link.irq.eq(accelerator.irq), self.active.eq(link.active)]
        if self.config.lean:  # a host that asks one thing after the other loses nothing without a queue
            connect(m, flipped(self.requests), link.requests)
            return m
        m.submodules.waiting = waiting = SyncFIFOBuffered(width=8, depth=WAITING_BYTES)
        connect(m, flipped(self.requests), waiting.w_stream)
        # block RAM gives its data late in the cycle: they go through a register, every second cycle, more than the line brings
        m.d.comb += waiting.r_stream.ready.eq(~link.requests.valid)
        with m.If(waiting.r_stream.valid & waiting.r_stream.ready):
            m.d.sync += [link.requests.payload.eq(waiting.r_stream.payload), link.requests.valid.eq(1)]
        with m.Elif(link.requests.ready):
            m.d.sync += link.requests.valid.eq(0)
        return m


class Board(wiring.Component):
    """What a board with a serial line has behind its pins and in front of its memory.

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
    axi, active
        As of `Machine`.
    """

    def __init__(self, config: Config, site: Site, divisor: int) -> None:
        self.config, self.site, self.divisor = config, site, divisor
        super().__init__({
            "rx": In(1, init=1), "tx": Out(1, init=1), "axi": Out(Axi(config.axi_bits)), "active": Out(1),
        })

    def elaborate(self, platform: object) -> Module:
        m = Module()
        m.submodules.machine = machine = Machine(self.config, self.site)
        m.submodules.receiver = receiver = UartReceiver(self.divisor)
        m.submodules.transmitter = transmitter = UartTransmitter(self.divisor)
        connect(m, receiver.received, machine.requests)
        connect(m, machine.answers, transmitter.send)
        connect(m, machine.axi, flipped(self.axi))
        m.d.comb += [receiver.rx.eq(self.rx), self.tx.eq(transmitter.tx), self.active.eq(machine.active)]
        return m


class UdpBoard(wiring.Component):
    """What a board with a UDP core has behind it and in front of its memory.

    Each answer is a datagram. Where datagrams with requests end does not matter: each request begins with the end of a frame.

    Parameters
    ----------
    config : Config
    site : Site

    Ports
    -----
    received : stream of datagrams, in
    sent : stream of datagrams, out
        To whoever the last datagram came from.
    axi, active
        As of `Machine`.
    """

    def __init__(self, config: Config, site: Site) -> None:
        self.config, self.site = config, site
        super().__init__({
            "received": In(datagram_stream()), "sent": Out(datagram_stream()), "axi": Out(Axi(config.axi_bits)), "active": Out(1),
        })

    def elaborate(self, platform: object) -> Module:
        m = Module()
        m.submodules.machine = machine = Machine(self.config, self.site)
        connect(m, machine.axi, flipped(self.axi))
        received, sent = self.received, self.sent
        m.d.comb += [
            machine.requests.payload.eq(received.payload.data), machine.requests.valid.eq(received.valid),
            received.ready.eq(machine.requests.ready),
            sent.payload.data.eq(machine.answers.payload), sent.payload.last.eq(machine.answers.payload == DELIMITER),
            sent.valid.eq(machine.answers.valid), machine.answers.ready.eq(sent.ready), self.active.eq(machine.active),
        ]
        return m
