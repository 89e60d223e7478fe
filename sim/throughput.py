"""The throughput test on every kind of device, ``python -m sim.throughput``: build/throughput.json and docs/throughput.md.

The simulated board is started for it, once with a serial line and once with UDP. Beside them stands the host's own time, also for
networks with large clips, as a share of what machines would take by the cycle model.
"""

from __future__ import annotations

import argparse
import hashlib
import inspect
import json
import os
import shlex
import sys
import time
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from fractions import Fraction
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np

import sw.cycles
import sw.device.golden
from golden.encoding import DataError
from golden.examples import open_for
from golden.integer.random_model import random_clip
from golden.spec.config import BASE, PRESETS, Config, preset
from golden.spec.model import ModelError
from hw.boards.catalog import BOARDS
from hw.flow.tools import digest
from sim.board.board import UART, UDP, SimulatedBoard
from sim.board.board import build as build_board
from sim.device.build import build as build_device
from sim.speed.cpu import cpu_name
from sim.speed.page import table, text
from sim.speed.report import ASSUMED_MHZ
from sw.bundle import Bundle
from sw.compiler import compile_model
from sw.cycles import MEMORY, Memory, predict
from sw.device.base import Device, DeviceError
from sw.device.golden import GoldenDevice
from sw.device.null import NullDevice
from sw.device.open import open_device
from sw.device.sim import SimDevice
from sw.driver import Driver
from sw.model_file import ModelFile, read_model
from sw.packing import Array
from sw.support import UnsupportedError
from sw.throughput import AGAIN, own_time

MODEL = Path("golden/weights/svformer-nano.safetensors")
MANY = 32  #: clips that the host's own time is measured with
KINDS = {
    "null": "a machine that has always ended: the host's own time",
    "golden": "functional model, in this process",
    "sim": "Verilated RTL, in this process",
    "serial": "simulated board, pseudo-terminal",
    "udp": "simulated board, socket on this computer",
}


class Rival(NamedTuple):
    """A machine and its memory, with whose time the host's own is compared."""

    config: Config
    megahertz: float
    what: str
    memory: Memory = MEMORY


ULX3S = BOARDS["ulx3s-85f"]
SDRAM_BANDWIDTH = Fraction(14, 10)  #: bytes a cycle: mean of reads and writes of sim/bench/memory_bench.py
RIVALS = (
    Rival(BASE, ASSUMED_MHZ, "`base`, {:g} MHz, not routed"),
    Rival(ULX3S.config, ULX3S.clock / 1e6, f"`{ULX3S.config.name}`, {{:g}} MHz, as routed for ULX3S",
          Memory(bandwidth=SDRAM_BANDWIDTH)),
)


@contextmanager
def opened(kind: str, config: Config, folder: Path) -> Iterator[Device]:
    """A device of a kind, built and started where that is needed."""
    if kind == "null":
        yield NullDevice(config)
    elif kind == "golden":
        yield GoldenDevice(config)
    elif kind == "sim":
        with SimDevice(build_device(config, folder), f"sim:{config.name}") as device:
            yield device
    else:
        link = UART if kind == "serial" else UDP
        library = build_board(config, folder, link)
        with SimulatedBoard(library, link=link, config=config) as board, open_device(board.uri) as device:
            yield device


def measure(device: Device, used: Bundle, clips: Sequence[Array]) -> dict[str, float]:
    """The throughput test of a device with a bundle."""
    driver = Driver(device)
    driver.load(used)
    return driver.throughput_test(clips)


def cycles(used: Bundle, rival: Rival, clip: Array, folder: Path) -> int:
    """What the machine would take by the cycle model, which is not asked twice: it takes minutes for a large network."""
    models = map(inspect.getsource, (sw.cycles, sw.device.golden))
    data = (hashlib.sha256(x.tobytes()).hexdigest() for x in (used.image, clip))
    key = digest(*data, rival.config.digest, rival.memory, *models)
    known = folder / f"cycles-{key}.json"
    if not known.exists():
        known.parent.mkdir(parents=True, exist_ok=True)
        known.write_text(json.dumps(predict(used, rival.config, clip, rival.memory).cycles))
    return json.loads(known.read_text())


def own(rival: Rival, source: ModelFile, clip: Array, folder: Path) -> dict[str, Any]:
    """The host's own time for a clip in milliseconds, beside a machine's by the cycle model."""
    used = compile_model(source, rival.config)
    driver = Driver(NullDevice(rival.config))
    driver.load(used)
    pack, whole = (1000 * x for x in own_time(driver, [clip] * MANY))
    machine = cycles(used, rival, clip, folder) / rival.megahertz / 1000
    return {"network": source.model.name, "machine": rival.what.format(rival.megahertz), "bytes": used.manifest.input_bytes,
            "pack[ms]": pack, "host[ms]": whole, "machine[ms]": machine, "overhead[%]": 100 * whole / machine}


def first_clips(source: ModelFile, data: Path | None, build: Path, count: int) -> list[Array]:
    """The first test clips of a folder, or of digit motion, as a network sees them."""
    examples = open_for(source.model, data, build / "cache", "test", count).parts["test"]
    return [examples.see(i, None).x for i in range(count)]


def page(report: dict) -> str:
    """docs/throughput.md."""
    devices = report["devices"]
    keys = next(iter(devices.values()))
    return "\n".join([
        "# Throughput\n",
        text(f"Made by `{report['command']}`; do not edit. {report['cpu']}, {report['cores']} cores, which may have had other",
             "work."),
        text(f"`{report['network']}` on `{report['preset']}`, a batch of {report['clips']} clips; the keys are FINN's",
             "(`sw/throughput.py` says what each one means here). Simulated devices run at the speed of their simulation: their",
             "times say nothing of a board; what they share with one is the code that drives them and the bytes on the line."),
        table(("", *(f"`{x}:`" for x in devices)), [("", *(KINDS[x] for x in devices)), *(
            (key, *(f"{x[key]:,.4g}" for x in devices.values())) for key in keys)]),
        "## The host's own time\n",
        text(f"Processor time of a clip, by `null:` (the least of {AGAIN} measurements), beside a machine's by the cycle model",
             f"(`sw/cycles.py`) for the same clip: {report['shown']}. Packing is the part of it that grows with the clip. The",
             "next clip is prepared while one is computed, so none of it delays a stream as long as it is less than the",
             f"machine's time. The memory of `{BASE.name}` is as fast as its bus, that of a ULX3S moves",
             f"{float(SDRAM_BANDWIDTH):g} bytes a cycle."),
        table(("network", "machine", "bytes of a clip", "packing, ms", "host, ms", "machine, ms", "share"), [
            (f"`{x['network']}`", x["machine"], f"{x['bytes']:,}", f"{x['pack[ms]']:.3f}", f"{x['host[ms]']:.3f}",
             f"{x['machine[ms]']:.2f}", f"{x['overhead[%]']:.1f} %") for x in report["own"]]),
    ])


def main(arguments: Sequence[str] | None = None) -> None:
    """Read the command line, measure, write both files."""
    parser = argparse.ArgumentParser(prog="python -m sim.throughput", description="the throughput test on every kind of device")
    parser.add_argument("--preset", choices=PRESETS, default="small")
    parser.add_argument("--clips", type=int, default=2, help="of a batch")
    parser.add_argument("--model", type=Path, default=MODEL, help="model file")
    parser.add_argument("--large", nargs="+", type=Path, default=[], help="more model files, for the host's own time")
    parser.add_argument("--data", type=Path, help="folder with clips for these; without it they get random numbers")
    parser.add_argument("--devices", nargs="+", choices=KINDS, default=list(KINDS), help="kinds of devices")
    parser.add_argument("--build", type=Path, default=Path("build"), help="folder to build in, and for throughput.json")
    parser.add_argument("--page", type=Path, default=Path("docs/throughput.md"), help="page to write")
    given = list(sys.argv[1:] if arguments is None else arguments)
    a = parser.parse_args(given)
    try:
        source, config = read_model(a.model), preset(a.preset)
        used = compile_model(source, config)
        clips = first_clips(source, None, a.build, a.clips)
        first = [(source, clips[0])]
        for large in map(read_model, a.large):
            first.append((large, first_clips(large, a.data, a.build, 1)[0] if a.data
                          else random_clip(large.model.encoding, np.random.default_rng(0))))
        devices = {}
        for kind in a.devices:
            begin = time.monotonic()
            with opened(kind, config, a.build / config.name) as device:
                devices[kind] = measure(device, used, clips)
            print(f"{kind}: {time.monotonic() - begin:.0f} s", flush=True)
        hosts = [own(rival, each, clip, a.build / "cycles") for each, clip in first for rival in RIVALS]
    except (DataError, DeviceError, ModelError, UnsupportedError, RuntimeError, OSError) as error:
        sys.exit(f"error: {error}")
    named = ["DIR" if a.data and x == str(a.data) else x for x in given]  # the page tells nothing of this computer's folders
    report = {
        "command": shlex.join(["python", "-m", "sim.throughput", *named]), "cpu": cpu_name(), "cores": os.cpu_count(),
        "shown": f"the first test clip of digit motion{' and, where it is larger, of ' + a.data.name if a.data else ''}"
                 f"{', random numbers for the others' if a.large and not a.data else ''}",
        "network": source.model.name, "preset": config.name, "clips": a.clips, "devices": devices, "own": hosts,
    }
    a.build.mkdir(parents=True, exist_ok=True)
    (a.build / "throughput.json").write_text(json.dumps(report, indent=2), encoding="utf-8")
    a.page.write_text(page(report), encoding="utf-8")
    print(f"{a.page}, {a.build / 'throughput.json'}")


if __name__ == "__main__":
    main()
