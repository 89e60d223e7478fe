"""An accelerator that a host reaches over a serial line, and by datagrams, too: wiring only."""

from __future__ import annotations

from amaranth.hdl import Module
from amaranth.lib import wiring
from amaranth.lib.fifo import SyncFIFOBuffered
from amaranth.lib.wiring import In, Out, connect, flipped

from golden.spec.config import Config
from hw.axi import Axi
from hw.link.datagrams import DatagramReceiver, DatagramSender, datagram_words
from hw.link.ethernet import Ethernet, rgmii
from hw.link.items import byte_stream
from hw.link.lines import WAITING_BYTES, FrameQueue, Lines
from hw.link.link import Link, Site
from hw.link.share import OUTSTANDING, MemoryShare
from hw.link.slow_link import SlowLink
from hw.link.uart import UartReceiver, UartTransmitter
from hw.top import Accelerator


class Machine(wiring.Component):
    """Accelerator and link, with whatever line in front of them.

    Parameters
    ----------
    config : Config
    site : Site
    waiting : bool
        Requests wait here while the link is busy; a host that asks one thing after the other loses nothing without that.

    Ports
    -----
    requests : stream of 8, in
    answers : stream of 8, out
    axi : Axi, out
        The memory that holds program, weights, clips and results.
    active : Signal(), out
        A request is being carried out or answered; for a lamp.
    """

    def __init__(self, config: Config, site: Site, waiting: bool) -> None:
        self.config, self.site, self.waiting = config, site, waiting
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
        if not self.waiting:
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
        m.submodules.machine = machine = Machine(self.config, self.site, waiting=not self.config.lean)
        m.submodules.receiver = receiver = UartReceiver(self.divisor)
        m.submodules.transmitter = transmitter = UartTransmitter(self.divisor)
        connect(m, receiver.received, machine.requests)
        connect(m, machine.answers, transmitter.send)
        connect(m, machine.axi, flipped(self.axi))
        m.d.comb += [receiver.rx.eq(self.rx), self.tx.eq(transmitter.tx), self.active.eq(machine.active)]
        return m


class UdpBoard(wiring.Component):
    """What a board with a serial line and a UDP core has behind both and in front of its memory.

    Either line may ask; the answer goes back where its request came from. A request ends with its datagram.

    Parameters
    ----------
    config : Config
        Not a lean one.
    site : Site
    divisor : int
        Cycles of a bit on the serial line.

    Ports
    -----
    rx, tx
        As of `Board`.
    received, sent : streams of words of datagrams, in and out
    axi, active
        As of `Machine`.
    """

    def __init__(self, config: Config, site: Site, divisor: int) -> None:
        self.config, self.site, self.divisor = config, site, divisor
        super().__init__({
            "rx": In(1, init=1), "tx": Out(1, init=1), "received": In(datagram_words(error=1)), "sent": Out(datagram_words()),
            "axi": Out(Axi(config.axi_bits)), "active": Out(1),
        })

    def elaborate(self, platform: object) -> Module:
        m = Module()
        m.submodules.machine = machine = Machine(self.config, self.site, waiting=False)
        m.submodules.lines = lines = Lines()
        m.submodules.receiver = receiver = UartReceiver(self.divisor)
        m.submodules.transmitter = transmitter = UartTransmitter(self.divisor)
        m.submodules.waiting = waiting = FrameQueue()
        m.submodules.datagrams = datagrams = DatagramReceiver()
        m.submodules.sender = sender = DatagramSender()
        connect(m, receiver.received, waiting.line)
        connect(m, waiting.frames, lines.serial)
        connect(m, flipped(self.received), datagrams.received)
        connect(m, datagrams.requests, lines.network)
        connect(m, lines.requests, machine.requests)
        connect(m, machine.answers, lines.answers)
        connect(m, lines.serial_answers, transmitter.send)
        connect(m, lines.network_answers, sender.answers)
        connect(m, sender.sent, flipped(self.sent))
        connect(m, machine.axi, flipped(self.axi))
        m.d.comb += [
            receiver.rx.eq(self.rx), self.tx.eq(transmitter.tx), self.active.eq(machine.active),
            lines.asker.eq(datagrams.asker), lines.active.eq(machine.active), sender.asker.eq(lines.asked),
        ]
        return m


class EthernetBoard(wiring.Component):
    """`UdpBoard` behind LiteEth's core: what a board has between its pins and its memory.

    Parameters
    ----------
    config, site, divisor
        As of `UdpBoard`.

    Ports
    -----
    rx, tx, axi, active
        As of `UdpBoard`.
    rgmii, phy_reset
        As of `hw.link.ethernet.Ethernet`.
    """

    def __init__(self, config: Config, site: Site, divisor: int) -> None:
        self.config, self.site, self.divisor = config, site, divisor
        super().__init__({
            "rx": In(1, init=1), "tx": Out(1, init=1), "rgmii": Out(rgmii()), "phy_reset": Out(1),
            "axi": Out(Axi(config.axi_bits)), "active": Out(1),
        })

    def elaborate(self, platform: object) -> Module:
        m = Module()
        m.submodules.ethernet = ethernet = Ethernet(self.site.clock)
        m.submodules.board = board = UdpBoard(self.config, self.site, self.divisor)
        connect(m, ethernet.received, board.received)
        connect(m, board.sent, ethernet.sent)
        connect(m, board.axi, flipped(self.axi))
        connect(m, ethernet.rgmii, flipped(self.rgmii))
        m.d.comb += [
            board.rx.eq(self.rx), self.tx.eq(board.tx), self.active.eq(board.active), self.phy_reset.eq(ethernet.phy_reset),
        ]
        return m
