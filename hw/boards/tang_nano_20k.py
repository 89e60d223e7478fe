"""Pins of the Sipeed Tang Nano 20K, which amaranth-boards has not yet."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from types import SimpleNamespace
from typing import Any

from amaranth.build import Attrs, Clock, Pins, Resource
from amaranth.hdl import IOPort
from amaranth.lib.io import SingleEndedPort
from amaranth.vendor import GowinPlatform
from amaranth_boards.resources import ButtonResources, LEDResources, UARTResource

_LEVELS = Attrs(IO_TYPE="LVCMOS33")


class TangNano20kPlatform(GowinPlatform):
    """Oscillator, serial line of the USB bridge, lamps and buttons; and the SDRAM in the chip's package.

    The tools know the SDRAM's pads by the names that Gowin's have for them, so its ports have these names and no pins.
    """

    part = "GW2AR-LV18QN88C8/I7"
    family = "GW2AR-18C"
    default_clk = "clk27"
    resources = [  # noqa: RUF012 - as every platform of Amaranth
        Resource("clk27", 0, Pins("4", dir="i"), Clock(27e6), _LEVELS),
        UARTResource(0, rx="70", tx="69", attrs=_LEVELS),
        *LEDResources(pins="15 16 17 18 19 20", invert=True, attrs=_LEVELS),
        *ButtonResources(pins="88 87", attrs=_LEVELS),
    ]
    connectors: list[Any] = []  # noqa: RUF012

    def request(self, name: str, number: int = 0, **settings: Any) -> Any:
        """A resource's port; of ``sdram`` named as `SdramResource` of amaranth-boards names them."""
        if name != "sdram":
            return super().request(name, number, **settings)

        def pads(port: str, width: int = 1, invert: bool = False) -> SingleEndedPort:
            return SingleEndedPort(IOPort(width, name=port), invert=invert)

        return SimpleNamespace(
            clk=pads("O_sdram_clk"), clk_en=pads("O_sdram_cke"), cs=pads("O_sdram_cs_n", invert=True),
            ras=pads("O_sdram_ras_n", invert=True), cas=pads("O_sdram_cas_n", invert=True), we=pads("O_sdram_wen_n", invert=True),
            ba=pads("O_sdram_ba", 2), a=pads("O_sdram_addr", 11), dqm=pads("O_sdram_dqm", 4), dq=pads("IO_sdram_dq", 32),
        )

    def iter_port_constraints_bits(self) -> Iterator[tuple[str, str, Mapping[str, Any]]]:
        """Of every bit of a port with pins, its name, pin and attributes."""
        for name, port, _ in self._design.ports:
            for bit, pin in enumerate(port.metadata):
                if pin is not None:
                    yield name if len(port) == 1 else f"{name}[{bit}]", pin.name, pin.attrs
