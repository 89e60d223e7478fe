"""Everything on a board's chip: wiring, clock and pins."""

from __future__ import annotations

from typing import Any

from amaranth.hdl import ClockDomain, ClockSignal, Elaboratable, Module, ResetSignal, Signal
from amaranth.lib import io
from amaranth.lib.cdc import ResetSynchronizer
from amaranth.lib.wiring import connect

from hw.boards.catalog import BoardKind
from hw.boards.pll import EcpPll
from hw.flow.ethernet_core import ethernet_core
from hw.link.board import Board, EthernetBoard
from hw.link.ethernet import CORE, PHY_HZ, PORT
from hw.link.link import Site
from hw.memory.block_ram import AxiBlockRam
from hw.memory.sdram import AxiSdram
from hw.memory.spram import AxiSpram

RESET_CYCLES = 255  #: without a PLL; 21 microseconds at 12 MHz


class BoardTop(Elaboratable):
    """`hw.link.board.Board`, or `EthernetBoard`, which the simulated board runs too, behind the pins of a real one.

    Reset holds from power-up until the PLL is locked; without one for some cycles, since block RAM of an iCE40 reads 0 until some
    microseconds after configuration.

    Parameters
    ----------
    kind : BoardKind
    build : str
        What it was built from, 16 hex digits; the board says it when it is asked who it is.
    """

    def __init__(self, kind: BoardKind, build: str) -> None:
        self.kind, self.build = kind, build

    def elaborate(self, platform: Any) -> Module:
        kind = self.kind
        if kind.ip:
            platform.add_file(f"{CORE}.v", ethernet_core(CORE, kind.chip.device, kind.clock, kind.ip, PORT))
        m = Module()

        def pin(name: str, *path: str) -> Any:
            """A resource's port."""
            port = platform.request(name, 0, dir="-")
            for part in path:
                port = getattr(port, part)
            return port

        m.domains += ClockDomain("sync")
        m.submodules.oscillator = oscillator = io.Buffer("i", pin(platform.default_clk))
        if kind.vco_hz:
            m.submodules.pll = pll = EcpPll(kind.input_hz, kind.vco_hz, kind.clock, kind.sdram_phase)
            m.submodules.reset = ResetSynchronizer(~pll.locked)
            m.d.comb += [pll.reference.eq(oscillator.i), ClockSignal().eq(pll.clock)]
        else:
            m.domains += ClockDomain("power", reset_less=True, local=True)
            waited = Signal(range(RESET_CYCLES + 1))
            m.d.comb += [ClockSignal().eq(oscillator.i), ClockSignal("power").eq(oscillator.i)]
            m.d.comb += ResetSignal().eq(waited != RESET_CYCLES)
            with m.If(waited != RESET_CYCLES):
                m.d.power += waited.eq(waited + 1)

        site = Site(board=kind.name, clock=kind.clock, memory_bytes=kind.memory_bytes, build=self.build)
        m.submodules.board = board = (EthernetBoard if kind.ip else Board)(kind.config, site, kind.clock // kind.baud)
        uart = platform.request("uart", 0, dir="-")
        m.submodules.rx, m.submodules.tx = rx, tx = io.Buffer("i", uart.rx), io.Buffer("o", uart.tx)
        m.submodules.lamp = lamp = io.Buffer("o", pin(*kind.lamp))
        m.d.comb += [board.rx.eq(rx.i), tx.o.eq(board.tx), lamp.o.eq(board.active)]
        for number, (name, part) in enumerate(kind.off):
            m.submodules[f"off{number}"] = io.Buffer("o", pin(name, part))

        if isinstance(board, EthernetBoard):
            pads, line = platform.request("eth_rgmii", 0, dir="-"), board.rgmii
            for name, port, signal in (
                ("rx_clk", pads.rx_clk, line.rx_clk), ("rx_ctl", pads.rx_ctrl, line.rx_ctl),
                ("rx_data", pads.rx_data, line.rx_data),
            ):
                m.submodules[f"line_{name}"] = buffer = io.Buffer("i", port)
                m.d.comb += signal.eq(buffer.i)
            for name, port, signal in (
                ("tx_clk", pads.tx_clk, line.tx_clk), ("tx_ctl", pads.tx_ctrl, line.tx_ctl),
                ("tx_data", pads.tx_data, line.tx_data), ("phy_reset", pads.rst, board.phy_reset),
            ):
                m.submodules[f"line_{name}"] = buffer = io.Buffer("o", port)
                m.d.comb += buffer.o.eq(signal)
            platform.add_clock_constraint(pads.rx_clk.io, PHY_HZ)

        if kind.spram_bytes:
            m.submodules.memory = spram = AxiSpram(kind.spram_bytes)
            connect(m, board.axi, spram.axi)
            return m
        if not kind.sdram:
            m.submodules.memory = block_ram = AxiBlockRam(kind.config.axi_bits, kind.memory_bytes)
            connect(m, board.axi, block_ram.axi)
            return m
        m.submodules.memory = sdram = AxiSdram(kind.config.axi_bits, kind.sdram, kind.clock)
        connect(m, board.axi, sdram.axi)
        pads, pins = platform.request("sdram", 0, dir="-"), sdram.pins
        later = bool(kind.vco_hz)  # else it falls as the machine's rises
        m.domains += ClockDomain("shifted", reset_less=True, local=True)
        m.d.comb += ClockSignal("shifted").eq(pll.shifted if later else ClockSignal())
        m.submodules.sdram_clock = clock = io.DDRBuffer("o", pads.clk, o_domain="shifted")
        m.d.comb += clock.o[0 if later else 1].eq(1)
        for name, value in {
            "clk_en": 1, "cs": 1, "dqm": 0, "ras": pins.ras, "cas": pins.cas, "we": pins.we, "ba": pins.bank, "a": pins.address,
        }.items():
            m.submodules[f"sdram_{name}"] = out = io.FFBuffer("o", getattr(pads, name))
            m.d.comb += out.o.eq(value)
        m.submodules.sdram_dq = dq = io.FFBuffer("io", pads.dq)
        m.d.comb += [dq.o.eq(pins.data_o), dq.oe.eq(pins.data_oe), pins.data_i.eq(dq.i)]
        return m
