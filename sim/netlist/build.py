"""Synthesis, Verilator, shared object: the accelerator of a chip's cells, behind the same C interface as the RTL."""

from __future__ import annotations

import fcntl
from pathlib import Path

import pyosys

from golden.spec.config import Config
from hw.flow.devices import Device
from hw.flow.tools import mend_names, synthesis_passes, yosys
from hw.top import Accelerator
from hw.verilog import to_rtlil
from sim.device.build import FOLDER as DEVICE
from sim.device.build import build_key, verilate

FOLDER = Path(__file__).parent
SHARE = Path(pyosys.__file__).parent / "share"
TOP = "accelerator"
#: By synthesis command: yosys' models of the chip's cells, ours of those that it has no model of, their types, and how much the
#: compiler optimises. A netlist is compiled for one clip or a few: an hour of its best would not come back. Block RAM of an iCE40
#: writes bit by bit, which makes 24 MB of C++ of the 289 in `micro`.
CELLS = {
    "synth_ecp5": (SHARE / "ecp5" / "cells_sim.v", FOLDER / "ecp5.v", ("DP16KD",), "-O1"),
    "synth_ice40": (SHARE / "ice40" / "cells_sim.v", None, (), "-O0"),
}
OURS = "TANDEM_"  #: what the names of our models begin with


def build(config: Config, device: Device, folder: Path) -> Path:
    """Build the shared object of a configuration's netlist for a chip into ``folder`` and return its path.

    Netlist, Verilog and logs lie beside it. Nothing is built again that was built from the same RTL, passes and models.

    Raises
    ------
    hw.flow.tools.ToolError
        If synthesis fails.
    RuntimeError
        If Verilator or the C++ compiler fails; the message is the end of its output.
    ValueError
        If there are no models of the chip's cells.
    """
    command = device.synthesis.split()[0]
    if command not in CELLS:
        raise ValueError(f"there are no models of the cells of {device.device}")
    models, ours, types, optimise = CELLS[command]
    folder.mkdir(parents=True, exist_ok=True)
    library = folder / "libdevice.so"
    text = mend_names(to_rtlil(Accelerator(config), TOP, device))
    passes = [*synthesis_passes(text, device.synthesis, TOP), *(f"chtype -set {OURS}{x} t:{x}" for x in types),
              "write_verilog -noattr netlist.v"]
    key = build_key(DEVICE / "device.cpp", optimise, text, *passes, models.read_text(), ours.read_text() if ours else "")
    stamp = library.with_suffix(".key")
    with library.with_suffix(".lock").open("w") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        if not (library.exists() and stamp.exists() and stamp.read_text() == key):
            stamp.unlink(missing_ok=True)
            (folder / "design.il").write_text(text)
            yosys(passes, folder)
            cells = [f"-I{models.parent}", "-DNO_ICE40_DEFAULT_ASSIGNMENTS", str(models), *([str(ours)] if ours else [])]
            verilate(library, TOP, [*cells, str(folder / "netlist.v")], config, DEVICE / "device.cpp", optimise)
            stamp.write_text(key)
    return library
