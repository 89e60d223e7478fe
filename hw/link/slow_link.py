"""The link of a lean machine: a processor with its ports."""

from __future__ import annotations

from amaranth.hdl import Cat, Const, Module, Mux, Signal
from amaranth.lib import wiring

from golden.spec.config import Config
from hw.axi import OKAY
from hw.link.firmware import CONDITIONS, LINE, PORTS, firmware
from hw.link.link import Site, link_ports
from hw.link.processor import Processor


class SlowLink(wiring.Component):
    """`Link` in a fifth of its cells, at some 300 cycles a byte: what that does in gateware a program does here.

    Two differences: registers are written byte by byte, lowest first, with strobes; and memory has to answer: there is no SILENT.

    Parameters
    ----------
    config : Config
        Of the accelerator; its memory is 16 bits wide.
    site : Site
        Where it is built in; with less than 16 MB of memory.

    Ports
    -----
    requests, answers, axil, axi, irq, active
        As of `Link`.
    """

    def __init__(self, config: Config, site: Site) -> None:
        assert config.axi_bits == 16
        self.config, self.site = config, site
        super().__init__(link_ports(config))

    def elaborate(self, platform: object) -> Module:
        m = Module()
        axil, axi = self.axil, self.axi
        m.submodules.processor = processor = Processor(
            *firmware(self.site.identity(self.config), self.site.memory_bytes, self.site.clock))
        address, low = Signal(24), Signal(8)
        value = processor.value

        def told(name: str) -> Signal:
            """The processor writes that port."""
            signal = Signal(name=f"told_{name}")
            m.d.comb += signal.eq(processor.writes & (processor.port == PORTS[name]))
            return signal

        for i in range(3):
            with m.If(told(f"address{i}")):
                m.d.sync += address[8 * i:8 * i + 8].eq(value)
        with m.If(told("low")):
            m.d.sync += low.eq(value)
        with m.If(told("active")):
            m.d.sync += self.active.eq(value[0])

        # A holds still until what it was given to has been taken.
        asks = {
            "line": ((self.answers.valid, self.answers.ready),), "read_register": ((axil.arvalid, axil.arready),),
            "write_register": ((axil.awvalid, axil.awready), (axil.wvalid, axil.wready)),
            "read_memory": ((axi.arvalid, axi.arready),), "write_memory": ((axi.awvalid, axi.awready), (axi.wvalid, axi.wready)),
        }
        for name, channels in asks.items():
            begins = told(name)
            for valid, ready in channels:
                with m.If(begins):
                    m.d.sync += valid.eq(1)
                with m.Elif(ready):
                    m.d.sync += valid.eq(0)
        done = told("done")
        at = Cat(Const(0, 1), address[1:])
        m.d.comb += [
            self.answers.payload.eq(value), self.requests.ready.eq(processor.reads & (processor.port == LINE)),
            axil.araddr.eq(Cat(Const(0, 2), address[2:])), axil.awaddr.eq(axil.araddr), axil.wdata.eq(value.replicate(4)),
            axil.wstrb.eq(1 << address[:2]), axi.araddr.eq(at), axi.awaddr.eq(at), axi.wdata.eq(Cat(low, value)), axi.wlast.eq(1),
            *(ready.eq(done) for ready in (axil.rready, axil.bready, axi.rready, axi.bready)),
        ]
        levels = {
            "came": self.requests.valid, "sending": self.answers.valid,
            "answered": axil.rvalid | axil.bvalid | axi.rvalid | axi.bvalid,
            "error": (axil.rvalid & (axil.rresp != OKAY)) | (axil.bvalid & (axil.bresp != OKAY))
            | (axi.rvalid & (axi.rresp != OKAY)) | (axi.bvalid & (axi.bresp != OKAY)),
            "irq": self.irq,
        }
        word = Mux(axi.rvalid, axi.rdata.word_select(address[:1], 8), axil.rdata.word_select(address[:2], 8))
        m.d.comb += [
            processor.conditions.eq(Cat(levels[name] for name in CONDITIONS)),
            processor.given.eq(Mux(processor.port == LINE, self.requests.payload, word)),
        ]
        return m
