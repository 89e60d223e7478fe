"""AXI4 and AXI4-Lite, as far as the machine uses them."""

from __future__ import annotations

from amaranth.lib.wiring import In, Out, Signature

OKAY = 0  #: the only response code that is no error
DECODE_ERROR = 3  #: there is nothing at that address

MAX_BURST = 16  #: beats of the longest burst; bursts never cross a multiple of this, so never a 4 KiB page


class AxiLite(Signature):
    """AXI4-Lite as seen by the manager: 32-bit data, ``address_bits`` of byte address."""

    def __init__(self, address_bits: int) -> None:
        super().__init__({
            "awaddr": Out(address_bits), "awvalid": Out(1), "awready": In(1),
            "wdata": Out(32), "wstrb": Out(4), "wvalid": Out(1), "wready": In(1),
            "bresp": In(2), "bvalid": In(1), "bready": Out(1),
            "araddr": Out(address_bits), "arvalid": Out(1), "arready": In(1),
            "rdata": In(32), "rresp": In(2), "rvalid": In(1), "rready": Out(1),
        })


class AxiRead(Signature):
    """Read half of AXI4 as seen by the manager: INCR bursts of full-width beats, one ID, 32-bit byte address."""

    def __init__(self, data_bits: int) -> None:
        super().__init__({
            "araddr": Out(32), "arlen": Out(8), "arvalid": Out(1), "arready": In(1),
            "rdata": In(data_bits), "rresp": In(2), "rlast": In(1), "rvalid": In(1), "rready": Out(1),
        })


class AxiWrite(Signature):
    """Write half of AXI4 as seen by the manager: INCR bursts of full-width beats, one ID, 32-bit byte address."""

    def __init__(self, data_bits: int) -> None:
        super().__init__({
            "awaddr": Out(32), "awlen": Out(8), "awvalid": Out(1), "awready": In(1),
            "wdata": Out(data_bits), "wlast": Out(1), "wvalid": Out(1), "wready": In(1),
            "bresp": In(2), "bvalid": In(1), "bready": Out(1),
        })


class Axi(Signature):
    """Both halves of AXI4 as seen by the manager."""

    def __init__(self, data_bits: int) -> None:
        super().__init__({**dict(AxiRead(data_bits).members), **dict(AxiWrite(data_bits).members)})
