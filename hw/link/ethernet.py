"""The network: LiteEth's core, of which only the ports are described here."""

from __future__ import annotations

from amaranth.hdl import ClockSignal, Instance, Module, ResetSignal, Signal
from amaranth.lib import wiring
from amaranth.lib.wiring import In, Out

from hw.link.datagrams import WORD_BYTES, datagram_words

CORE = "ethernet_core"  #: name of the Verilog module that `hw.flow.ethernet_core` makes
PORT = 50_000  #: where the board listens, and what it sends from
PHY_HZ = 125_000_000  #: of the line's clocks
RESET_SECONDS = 0.02  #: twice what a KSZ9031 needs after its supplies (Microchip DS00002117, reset timing)


def rgmii() -> wiring.Signature:
    """A PHY's pins for a gigabit per second, as seen from here; data and control at both edges of their clock."""
    return wiring.Signature({
        "tx_clk": Out(1), "tx_ctl": Out(1), "tx_data": Out(4), "rx_clk": In(1), "rx_ctl": In(1), "rx_data": In(4),
    })


class Ethernet(wiring.Component):
    """LiteEth's core for UDP behind the pins of a PHY: it answers ARP, and passes on the datagrams to `PORT`.

    Parameters
    ----------
    clock : int
        Cycles per second.

    Ports
    -----
    rgmii : rgmii, out
    phy_reset : Signal(), out
        The PHY is to be held in reset.
    received : stream of words of datagrams, out
    sent : stream of words of datagrams, in
    """

    def __init__(self, clock: int) -> None:
        self.clock = clock
        super().__init__({
            "rgmii": Out(rgmii()), "phy_reset": Out(1, init=1), "received": Out(datagram_words(error=1)),
            "sent": In(datagram_words()),
        })

    def elaborate(self, platform: object) -> Module:
        m = Module()
        waited = Signal(range(round(RESET_SECONDS * self.clock)))
        with m.If(self.phy_reset):
            m.d.sync += [waited.eq(waited + 1), self.phy_reset.eq(waited != round(RESET_SECONDS * self.clock) - 1)]
        pins, came, sent = self.rgmii, self.received.payload, self.sent.payload
        error = Signal(WORD_BYTES)  # the core marks each byte
        m.submodules.core = Instance(
            CORE, i_clk=ClockSignal(), i_rst=ResetSignal(),
            i_line_rx_clk=pins.rx_clk, i_line_rx_ctl=pins.rx_ctl, i_line_rx_data=pins.rx_data,
            o_line_tx_clk=pins.tx_clk, o_line_tx_ctl=pins.tx_ctl, o_line_tx_data=pins.tx_data,
            o_received_valid=self.received.valid, i_received_ready=self.received.ready, o_received_last=came.last,
            o_received_data=came.data, o_received_length=came.length, o_received_error=error,
            o_received_ip_address=came.peer.address, o_received_src_port=came.peer.port,
            i_sent_valid=self.sent.valid, o_sent_ready=self.sent.ready, i_sent_last=sent.last,
            i_sent_last_be=sent.last << (WORD_BYTES - 1), i_sent_data=sent.data, i_sent_length=sent.length,
            i_sent_ip_address=sent.peer.address, i_sent_dst_port=sent.peer.port, i_sent_src_port=PORT,
        )
        m.d.comb += came.error.eq(error.any())
        return m
