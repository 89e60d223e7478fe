"""Commands about devices: which there are, is the line good, load a bundle, program a board."""

from __future__ import annotations

import shutil
import subprocess
from dataclasses import asdict
from glob import glob
from pathlib import Path
from typing import Annotated, Any

import typer
from rich.markup import escape
from rich.table import Table
from serial.tools import list_ports

from golden.spec.config import PRESETS
from sw import bundle as bundles
from sw.console import EXIT_CODES, FAILED, DeviceOption, JsonOption, app, complain, dump, mistakes, output, rows
from sw.device.base import DeviceError
from sw.device.open import open_device
from sw.device.sim import library_path
from sw.doctor import LOADER
from sw.driver import Driver
from sw.sources import CAMERA

#: Boards: what openFPGALoader calls them, and the file that it takes.
BOARDS = {
    "ulx3s-85f": ("ulx3s", ".bit"), "ecpix5-85f": ("ecpix5", ".bit"), "icebreaker": ("ice40_generic", ".bin"),
    "tangnano20k": ("tangnano20k", ".fs"),
}
PATIENCE = 300.0  #: seconds in which a board's flash is to be written


@app.command(epilog=EXIT_CODES)
def devices(
    ask: Annotated[bool, typer.Option("--ask", help="send each serial port a request, to see whether a board answers")] = False,
    baud: Annotated[int, typer.Option(help="bits per second, for --ask")] = 1_000_000,
    as_json: JsonOption = False,
) -> None:
    """List devices: those in this process, serial ports, cameras."""
    found = [{"device": f"golden:{name}", "what": "functional model"} for name in PRESETS]
    for name in PRESETS:
        built = library_path(name).exists()
        found.append({"device": f"sim:{name}", "what": "Verilated RTL" if built else f"not built: make sim-device PRESET={name}"})
    found += [{"device": f"null:{name}", "what": "makes nothing, at once"} for name in PRESETS]
    for port in sorted(list_ports.comports()):
        uri = f"serial://{port.device}"
        found.append({"device": uri, "what": _ask(f"{uri}?baud={baud}") if ask else port.description})
    found += [{"device": path, "what": "camera"} for path in sorted(glob(f"{CAMERA}*"))]
    if as_json:
        dump(found)
        return
    table = Table("device", "what")
    for entry in found:
        table.add_row(escape(entry["device"]), escape(entry["what"]))
    output.print(table)


def _ask(uri: str) -> str:
    """What answers on a port."""
    try:
        with open_device(uri) as device:
            return f"preset {Driver(device).info().preset or 'unknown'}, {device.memory_bytes:,} bytes of memory"
    except DeviceError as error:
        return f"no board: {error}"


@app.command(epilog=EXIT_CODES)
def link_test(
    device: Annotated[str, typer.Argument(help="a board, such as serial:///dev/ttyUSB0?baud=1000000", metavar="URI")],
    as_json: JsonOption = False,
) -> None:
    """Test the line to a board: every pattern to and fro, memory, rates, losses. Exit code 3 if something is lost or wrong."""
    from sw.link.device import LinkDevice

    with mistakes(), open_device(device) as opened:
        report = Driver(opened).link_test()
        assert isinstance(opened, LinkDevice)
        identity = opened.link.identity
    if as_json:
        dump({"identity": asdict(identity), **asdict(report)})
        return
    counters = report.counters
    rows([
        ("board", f"{identity.board}, build {identity.build}, {identity.clock:,} Hz, {identity.memory:,} bytes of memory"),
        ("echo", f"{report.echoes} right, {report.echo_rate:,.0f} bytes/s"),
        ("latency", f"{1000 * report.latency:.2f} ms"),
        ("write", f"{report.write_rate:,.0f} bytes/s, {report.write_overhead:.1%} overhead on the line"),
        ("read", f"{report.read_rate:,.0f} bytes/s, {report.read_overhead:.1%} overhead on the line"),
        ("line", f"{counters.requests} requests, {counters.repeated} repeated: {counters.damaged_requests} damaged there, "
                 f"{counters.damaged_answers} damaged here, {counters.timeouts} without answer"),
    ])


@app.command(epilog=EXIT_CODES)
def load(
    bundle: Annotated[Path, typer.Argument(help="bundle file", show_default=False)],
    device: DeviceOption,
    as_json: JsonOption = False,
) -> None:
    """See whether a bundle goes with a device: its config, its size, and whether its memory is good."""
    with mistakes(), open_device(device) as opened:
        loaded = bundles.load(bundle)
        driver = Driver(opened)
        driver.load(loaded)
        wrong = driver.check_memory()
        if wrong is not None:
            raise DeviceError(f"{device}: byte {wrong} of the image is not what was written: its memory is not reliable")
    answer = {"device": device, "network": loaded.manifest.name, "config": loaded.manifest.config, "bytes": loaded.image.size}
    if as_json:
        dump(answer)
    else:
        output.print(f"{device}: {loaded.manifest.name}, {loaded.image.size:,} bytes written and read back", markup=False)


@app.command(epilog=EXIT_CODES)
def program(
    bitstream: Annotated[Path, typer.Argument(help="what make bitstream has built", show_default=False)],
    board: Annotated[str, typer.Option(help=", ".join(BOARDS))],
    flash: Annotated[bool, typer.Option("--flash", help="write to the board's flash, so that it stays without power")] = False,
    as_json: JsonOption = False,
) -> None:
    """Program a board with a bitstream, by openFPGALoader."""
    with mistakes():
        if board not in BOARDS:
            raise OSError(f"no board '{board}'; there are {', '.join(BOARDS)}")
        name, suffix = BOARDS[board]
        if not bitstream.is_file() or bitstream.suffix != suffix:
            raise OSError(f"'{bitstream}' is no {suffix} file, which {board} takes")
        tool = shutil.which(LOADER[0])
        if not tool:
            raise OSError(f"{LOADER[0]} is not installed: {LOADER[1]}")
    command = [tool, "-b", name, *(["-f"] if flash else []), str(bitstream)]
    with mistakes():
        try:
            ended = subprocess.run(command, capture_output=True, text=True, check=False, timeout=PATIENCE)
        except subprocess.TimeoutExpired:
            raise DeviceError(f"'{' '.join(command)}' has not ended within {PATIENCE:g} s: is the board plugged in?") from None
    answer: dict[str, Any] = {"command": command, "exit_code": ended.returncode, "output": ended.stdout + ended.stderr}
    if as_json:
        dump(answer)
    elif not ended.returncode:
        output.print(f"{board}: {bitstream} {'in flash' if flash else 'loaded, until power is switched off'}", markup=False)
    if ended.returncode:
        complain(OSError(f"'{' '.join(command)}' ended with {ended.returncode}: {answer['output'].strip()[-500:]}"))
        raise typer.Exit(FAILED)
