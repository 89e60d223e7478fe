"""The boards that bitstreams are made for."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

from amaranth.vendor import GowinPlatform, LatticePlatform, SiliconBluePlatform
from amaranth_boards.ecpix5 import ECPIX585Platform
from amaranth_boards.icebreaker import ICEBreakerPlatform
from amaranth_boards.ulx3s import ULX3S_85F_Platform

from golden.spec.config import MEDIUM, PICO, SMALL, SMALL_GW2AR, Config
from hw.boards.tang_nano_20k import TangNano20kPlatform
from hw.flow.devices import DEVICES, Device
from hw.memory.sdram import SDRAM_8MB, SDRAM_32MB, SdramChip

BLOCK_RAM_BYTES = 192 << 10  #: what an LFE5U-85F has left beside `small`, in 96 of 208 block RAMs


@dataclass(frozen=True, kw_only=True)
class BoardKind:
    """A board and what is put on it.

    Parameters
    ----------
    name : str
        What ``make bitstream BOARD=`` calls it; at most 16 characters.
    platform : callable
        Its pins, from amaranth-boards.
    chip : Device
        How its chip is synthesised for and placed on.
    pack, output : tuple of str
        Command that makes the bitstream, without its two files, and what is to stand between these.
    suffix : str
        Of the bitstream.
    config : Config
        The machine.
    input_hz, vco_hz, clock : int
        Its oscillator, that of its PLL (0: there is none, the oscillator is the machine's clock), and the machine's clock; each
        cycles per second.
    baud : int
        Of its serial line, by USB.
    lamp : tuple of str
        Resource, and part of it, that shines while the link works.
    sdram : SdramChip or None
        Its memory; without one it is on the chip.
    spram_bytes : int
        Of the chip's large memories, where it has such; else the memory is block RAM.
    sdram_phase : float
        Degrees by which the SDRAM's clock is later than the machine's (docs/boards.md); 180 without a PLL.
    off : tuple of (str, str)
        Outputs that are held low: whom they switch off shall not disturb.
    ip : str
        IPv4 address in its network, for UDP beside the serial line; empty where it has no network.
    """

    name: str
    platform: Callable[[], LatticePlatform | SiliconBluePlatform | GowinPlatform]
    chip: Device
    pack: tuple[str, ...]
    suffix: str
    config: Config
    input_hz: int
    vco_hz: int
    clock: int
    baud: int
    lamp: tuple[str, ...]
    sdram: SdramChip | None = None
    sdram_phase: float = 0.0
    spram_bytes: int = 0
    off: tuple[tuple[str, str], ...] = ()
    ip: str = ""
    output: tuple[str, ...] = ()

    def __post_init__(self) -> None:
        assert self.clock % self.baud == 0, f"{self.name}: {self.clock} Hz are no whole cycles of a bit at {self.baud} baud"

    @property
    def memory_bytes(self) -> int:
        """Size of the memory behind the machine."""
        return self.sdram.memory_bytes if self.sdram else self.spram_bytes or BLOCK_RAM_BYTES

    @property
    def memory(self) -> str:
        """Its kind."""
        return "SDRAM" if self.sdram else "SPRAM" if self.spram_bytes else "block RAM"


_ECPPACK = ("yowasp-ecppack", "--compress")
_ALL = (
    BoardKind(
        name="ulx3s-85f", platform=ULX3S_85F_Platform, chip=DEVICES["lfe5u-85f"], pack=_ECPPACK, suffix=".bit", config=MEDIUM,
        input_hz=25_000_000, vco_hz=600_000_000, clock=60_000_000, baud=3_000_000, lamp=("led",),
        sdram=SDRAM_32MB, sdram_phase=85.5, off=(("esp32", "en"),),
    ),
    BoardKind(
        name="ecpix5-85f", platform=ECPIX585Platform, chip=DEVICES["lfe5um5g-85f"], pack=_ECPPACK, suffix=".bit", config=SMALL,
        input_hz=100_000_000, vco_hz=600_000_000, clock=60_000_000, baud=3_000_000, lamp=("rgb_led", "g"),
        ip="192.168.1.50",
    ),
    BoardKind(  # 95 % of the chip, and a link that takes 82 cycles from a byte to the next: 120 at this rate
        name="icebreaker", platform=ICEBreakerPlatform, chip=DEVICES["ice40up5k"], pack=("yowasp-icepack",), suffix=".bin",
        config=PICO, input_hz=12_000_000, vco_hz=0, clock=12_000_000, baud=1_000_000, lamp=("led",), spram_bytes=128 << 10,
    ),
    BoardKind(
        name="tangnano20k", platform=TangNano20kPlatform, chip=DEVICES["gw2ar-18"], pack=("gowin_pack", "-d", "GW2A-18C"),
        output=("-o",), suffix=".fs", config=SMALL_GW2AR, input_hz=27_000_000, vco_hz=0, clock=27_000_000, baud=3_000_000,
        lamp=("led",), sdram=SDRAM_8MB, sdram_phase=180,
    ),
)
BOARDS = {x.name: x for x in _ALL}
