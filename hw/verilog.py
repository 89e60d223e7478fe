"""RTLIL of a component, and its Verilog by way of pyosys: no ``yosys`` command is needed."""

from __future__ import annotations

import os
import re
import subprocess
import sys
import tempfile
from pathlib import Path

from amaranth.back import rtlil
from amaranth.hdl import Fragment, Signal, ValueCastable
from amaranth.hdl._ir import PortDirection
from amaranth.lib import wiring

#: A program that runs its arguments as passes of yosys.
PASSES = "import sys\nfrom pyosys import libyosys\nfor line in sys.argv[1:]:\n    libyosys.run_pass(line)\n"


def flat_ports(component: wiring.Component) -> dict[str, tuple[Signal, PortDirection]]:
    """Every port of a component under a flat name: ``results[1].payload`` is ``results_1_payload``."""
    ports = {}
    for path, member, value in component.signature.flatten(component):
        if isinstance(value, ValueCastable):
            value = value.as_value()
        if isinstance(value, Signal) and len(value):  # not the constant of an always ready stream
            direction = PortDirection.Input if member.flow == wiring.In else PortDirection.Output
            name = "_".join(map(str, path))
            assert name not in ports, f"two ports are named {name}"
            ports[name] = (value, direction)
    return ports


def to_rtlil(component: wiring.Component, name: str, device: object = None) -> str:
    """The RTLIL of a component, elaborated for ``device``; its top module is ``name``, its ports as `flat_ports` names them."""
    return rtlil.convert_fragment(Fragment.get(component, device), flat_ports(component), name, emit_src=False)[0]


def to_verilog(component: wiring.Component, name: str = "top") -> str:
    """The Verilog of a component, its top module named ``name``, its ports named as `flat_ports` says.

    The text depends on nothing but the component, so that its hash is a key for caches. Ports of no bits are left out.

    Raises
    ------
    RuntimeError
        If yosys fails; the message is its.
    """
    with tempfile.TemporaryDirectory() as folder:
        source, target = Path(folder, "top.il"), Path(folder, "top.v")
        source.write_text(to_rtlil(component, name))
        # yosys' state is the process's, and it ends the process on an error: a process of its own
        passes = [f"read_rtlil {source}", "proc -nomux -norom", "memory_collect",
                  f"write_verilog -noattr -norename {target}"]
        result = subprocess.run([sys.executable, "-c", PASSES, *passes], capture_output=True, text=True,
                                env={**os.environ, "PYTHONNOUSERSITE": "1"})
        if result.returncode or not target.exists():
            raise RuntimeError(f"yosys failed on {name}: {result.stderr.strip() or result.stdout.strip()[-2000:]}")
        return re.sub(r"^/\*.*\*/\n", "", target.read_text())
