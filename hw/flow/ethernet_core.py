"""Makes the Verilog of LiteEth's core for UDP, in a process of its own: LiteX and Migen write logs and keep global state.

The core is 32 bits wide: at 60 MHz a byte a cycle would be half of what its line takes, which cannot wait within a frame. It
listens on one port and answers ARP, but no ping: by its source, one with more bytes than its header says would stop it for ever.
"""

from __future__ import annotations

import ipaddress
import json
import os
import re
import subprocess
import sys
from importlib.util import find_spec
from typing import Any

PACKAGES = ("liteeth", "litex", "migen")
WIDTH = 32


class CoreError(RuntimeError):
    """LiteEth is not installed, and the message says how to; or it failed."""


def ethernet_core(name: str, part: str, clock: int, ip: str, port: int) -> str:
    """Verilog of the core with an ECP5's cells at the pins of its PHY; the same text for the same arguments and versions.

    Parameters
    ----------
    name : str
        Of the module.
    part : str
        The chip.
    clock : int
        Cycles per second, of all but the PHY's side.
    ip : str
        IPv4 address.
    port : int
        UDP port.

    Raises
    ------
    CoreError
        If LiteEth is not installed, or fails.
    """
    if missing := [x for x in PACKAGES if find_spec(x) is None]:
        raise CoreError(f"{', '.join(missing)} not installed, which the network needs: .venv/bin/python -m pip install -e "
                               "'.[ethernet]' (make bitstream BOARD=ecpix5-85f does that)")
    settings = json.dumps({"name": name, "part": part, "clock": clock, "ip": ip, "mac": mac_address(ip), "port": port})
    result = subprocess.run([sys.executable, __file__, settings], capture_output=True, text=True,
                            env={**os.environ, "PYTHONHASHSEED": "0"})
    if result.returncode:
        raise CoreError(f"LiteEth failed: {result.stderr[-3000:]}")
    text = re.sub(r"//[^\n]*|/\*.*?\*/", "", result.stdout[result.stdout.index("`timescale"):], flags=re.DOTALL)
    return "".join(f"{line.rstrip()}\n" for line in text.splitlines() if line.strip())


def mac_address(ip: str) -> int:
    """One that is administered locally, and no other board's that has another IP address."""
    return 0x02_00 << 32 | int(ipaddress.IPv4Address(ip))


def _generate(name: str, part: str, clock: int, ip: str, mac: int, port: int) -> str:
    """What LiteX writes, its comments with the date included."""
    from liteeth.core import LiteEthUDPIPCore
    from liteeth.phy.ecp5rgmii import LiteEthPHYRGMII
    from litex.build.generic_platform import Pins, Subsignal
    from litex.build.lattice.platform import LatticePlatform
    from litex.gen import LiteXModule
    from migen import ClockDomain, If, Signal

    def pins(label: str, **widths: int) -> tuple[Any, ...]:
        return label, 0, *(Subsignal(x, Pins(width)) for x, width in widths.items())

    words = {"valid": 1, "ready": 1, "last": 1, "last_be": WIDTH // 8, "data": WIDTH, "length": 16, "ip_address": 32,
             "src_port": 16, "dst_port": 16}
    platform = LatticePlatform(part, toolchain="trellis", io=[
        ("clk", 0, Pins(1)), ("rst", 0, Pins(1)),
        pins("line", rx_clk=1, rx_ctl=1, rx_data=4, tx_clk=1, tx_ctl=1, tx_data=4),
        pins("received", **words, error=WIDTH // 8), pins("sent", **words),
    ])
    line, received, sent = (platform.request(x) for x in ("line", "received", "sent"))

    class Clocks:
        rx, tx = line.rx_clk, line.tx_clk

    core = LiteXModule()
    core.cd_sys = ClockDomain("sys")
    # a KSZ9031 delays the clock that it sends, 1.2 ns, but not the one that it gets (Microchip DS00002117, RGMII timing)
    core.phy = LiteEthPHYRGMII(Clocks, line, with_hw_init_reset=False, with_inband_status=False, rx_delay=0)
    core.udp = LiteEthUDPIPCore(
        core.phy, mac, ip, clock, dw=WIDTH, with_sys_datapath=True, with_icmp=False, with_ip_broadcast=False)
    # its cache of addresses shows the first entry as it answers, whichever it has found: then two hosts cannot ask in turn
    cache, found = core.udp.arp.table.cache, Signal()
    entry = next(x.adr for x in cache._fragment.specials if getattr(x, "async_read", False))
    core.sync += If(cache.fsm.ongoing("MEM_SEARCH"), found.eq(entry))
    cache.fsm.act("RESPONSE", entry.eq(found))
    user = core.udp.udp.crossbar.get_port(port, dw=WIDTH)
    core.comb += [core.cd_sys.clk.eq(platform.request("clk")), core.cd_sys.rst.eq(platform.request("rst"))]
    core.comb += [user.source.ready.eq(received.ready), sent.ready.eq(user.sink.ready), received.error.eq(user.source.error)]
    for x in (x for x in words if x != "ready"):
        core.comb += [getattr(received, x).eq(getattr(user.source, x)), getattr(user.sink, x).eq(getattr(sent, x))]
    core.finalize()
    return str(platform.get_verilog(core, name=name))


if __name__ == "__main__":
    print(_generate(**json.loads(sys.argv[1])))
