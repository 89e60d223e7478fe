"""Runs the tools, and what was run already not again."""

from __future__ import annotations

import hashlib
import json
import re
import subprocess
import sys
import time
from collections.abc import Iterable, Iterator, Sequence
from pathlib import Path
from typing import Any

from hw.verilog import PASSES

#: Selects the registers that `hw.near` makes: a register that is wired to a block's port has its name one step further.
NEAR = r"w:*_near* %ci2 t:$dff t:$dffe %u %i"


class ToolError(RuntimeError):
    """A tool failed; the message names it, its log and the log's last lines."""


def mend_names(text: str) -> str:
    """RTLIL in which no wire is named "x[1]": abc9 takes that for a bit of x, and fails."""
    return re.sub(r"(?<=\S)\[(\d+)\]", r".\1", text)


#: What yosys' `synth_ecp5` calls with the flip-flops that the chip has.
ECP5_FLOPS = " ".join(f"-cell $_{x}_ {y}" for x, y in (
    ("DFF_?", "01"), ("DFF_?P?", "r"), ("SDFF_?P?", "r"), ("DFFE_??", "01"), ("DFFE_?P??", "r"), ("SDFFE_?P??", "r"),
))


#: Sums of up to 12 bits are made of tables. A carry cell of a GW2A takes the place of a table, a chain of them up to three places
#: more, and the placer puts the flip-flop behind one elsewhere, in the place of another table (docs/boards.md).
GOWIN_SUMS = "techmap -map +/techmap.v t:$alu r:Y_WIDTH<=12 %i"


def synthesis_passes(text: str, synthesis: str, top: str, resets: int = 0, cores: Iterable[str] = ()) -> list[str]:
    """Passes of yosys that make ``netlist.json`` of ``design.il``, which holds ``text``.

    Before the design is flattened every cell is marked with its module's path, which its name does not keep.
    Registers that are copies on purpose stay apart. No block uses what it reads from an address in the cycle in which that is
    written, so that memories need not keep the old data for it. On an ECP5, groups of less than ``resets`` flip-flops have no
    reset input.
    ``cores`` are modules that the design names only, each in a Verilog file of its name; nothing is assumed of their memories.
    """
    modules = [line.split("\\")[1] for line in text.splitlines() if line.startswith("module \\")]
    whole = f"{synthesis} -top {top}"
    steps = [whole]
    if resets:
        steps = [f"{whole} -run begin:map_ffs", f"dfflegalize -minsrst {resets} {ECP5_FLOPS}", f"{whole} -run map_ffs:"]
    elif synthesis.startswith("synth_gowin"):
        steps = [f"{whole} -run begin:map_gates", GOWIN_SUMS, f"{whole} -run map_gates:"]
    marks = [f'setattr -set src "{name}" {name}/c:*' for name in modules]
    added = []
    for core in cores:
        path, name = next((path, cell) for path, kind, cell in _cells(text) if kind == core)
        added += [f"read_verilog {core}.v", f"proc {core}", f'setattr -set src "{path}.{name}" {core}/c:*']
    return ["read_rtlil design.il", "proc", *marks, "setparam -set COLLISION_X_MASK 1'1 t:$memrd_v2 r:CLK_ENABLE=1 %i",
            f"setattr -set keep 1 {NEAR}", *added, *steps, "write_json netlist.json"]


def _cells(text: str) -> Iterator[tuple[str, str, str]]:
    """Of each cell in RTLIL that is a module's: the module that it is in, its own, its name."""
    inside = ""
    for line in text.splitlines():
        words = line.split()
        if words[:1] == ["module"]:
            inside = words[1].removeprefix("\\")
        elif words[:1] == ["cell"] and words[1].startswith("\\"):
            yield inside, words[1].removeprefix("\\"), words[2].removeprefix("\\")


def digest(*parts: object) -> str:
    """32 hex digits that stand for all parts."""
    return hashlib.sha256("\n".join(map(str, parts)).encode()).hexdigest()[:32]


def cached(path: Path, key: str) -> dict[str, Any] | None:
    """A result on disk, if it was made from the same inputs."""
    result = json.loads(path.read_text()) if path.exists() else {}
    return result if result.get("digest") == key else None


def run(tool: str, command: Sequence[str], folder: Path, log: Path) -> float:
    """Run a tool in ``folder``, everything it says in ``log``, its last line on the terminal; seconds it took.

    Raises
    ------
    ToolError
        If it fails.
    """
    start = said = time.monotonic()
    terminal = sys.stderr.isatty()
    with open(log, "w") as output:
        process = subprocess.Popen(command, cwd=folder, stdout=output, stderr=subprocess.STDOUT)
        try:
            while process.poll() is None:
                time.sleep(0.2)
                if time.monotonic() - said > (1 if terminal else 60):
                    said = time.monotonic()
                    line = f"{tool} {said - start:5.0f} s: {tail(log, 1):.90}"
                    print(f"\r{line:120}" if terminal else line, end="" if terminal else "\n", file=sys.stderr, flush=True)
        finally:
            process.kill()
            process.wait()
    if terminal:
        print(f"\r{'':120}\r", end="", file=sys.stderr)
    if process.returncode:
        raise ToolError(f"{tool} failed with status {process.returncode}; all it said is in {log}, last:\n{tail(log, 8)}")
    return time.monotonic() - start


def yosys(passes: Sequence[str], folder: Path) -> float:
    """Run passes of yosys in ``folder``; seconds they took."""
    return run("yosys", [sys.executable, "-c", PASSES, *passes], folder, folder / "yosys.log")


def beside_python(command: str) -> str:
    """Path of a command that pip installed."""
    return str(Path(sys.executable).with_name(command))


def tail(path: Path, lines: int) -> str:
    """The last lines of a file that are not empty."""
    with open(path, "rb") as file:
        file.seek(max(0, path.stat().st_size - 4096))
        return "\n".join([x for x in file.read().decode(errors="replace").splitlines() if x.strip()][-lines:])
