"""The pictures of the host at work, ``python -m sim.pictures``: docs/stream.svg and docs/overlap.svg.

The first is the live view as a terminal shows it; the second is what host, line and machine do meanwhile, watched on the
simulated board.
"""

from __future__ import annotations

import io
import re
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import TypeVar

import matplotlib
from rich.console import Console

from golden.data.digit_motion import make
from golden.encoding import Frames
from golden.spec.config import SMALL
from golden.spec.registers import REGISTERS, START
from sim.board.board import UDP, SimulatedBoard, build
from sw import sources
from sw.compiler import compile_model
from sw.device.base import Device
from sw.device.golden import GoldenDevice
from sw.device.open import open_device
from sw.driver import Driver
from sw.live import Figures, View
from sw.model_file import read_model

matplotlib.use("Agg")
from matplotlib import pyplot

MODEL = Path("golden/weights/svformer-nano.safetensors")
CLIPS = 4
COLUMNS = 92  #: of the terminal
HOST, TO, FROM, MACHINE = "host", "to the board", "from the board", "machine"
ROWS = {HOST: "#7f7f7f", TO: "#1f77b4", FROM: "#2ca02c", MACHINE: "#d62728"}

T = TypeVar("T")


@dataclass(frozen=True)
class Span:
    """Something that went on from ``begin`` to ``end``, in seconds."""

    row: str
    begin: float
    end: float


@dataclass
class Watch(Device):
    """A device, and what was done with it when."""

    device: Device
    spans: list[Span] = field(default_factory=list)

    def __post_init__(self) -> None:
        """Begin to watch."""
        self.uri, self.memory_bytes, self.clock = self.device.uri, self.device.memory_bytes, self.device.clock
        self._free = time.monotonic()  # since when the host has been at work by itself
        self._started = 0.0

    def read_memory(self, address: int, size: int) -> bytes:
        """See `Device`."""
        return self._watched(FROM, lambda: self.device.read_memory(address, size))

    def write_memory(self, address: int, data: bytes | memoryview) -> None:
        """See `Device`."""
        self._watched(TO, lambda: self.device.write_memory(address, data))

    def read_register(self, address: int) -> int:
        """See `Device`."""
        return self.read_registers(address, 1)[0]

    def write_register(self, address: int, value: int) -> None:
        """See `Device`."""
        self.write_registers(address, [value])

    def read_registers(self, address: int, count: int) -> list[int]:
        """See `Device`."""
        return self._watched(FROM, lambda: self.device.read_registers(address, count))

    def write_registers(self, address: int, values: Sequence[int]) -> None:
        """See `Device`; a start is where the machine begins."""
        self._watched(TO, lambda: self.device.write_registers(address, values))
        if address + 4 * (len(values) - 1) == REGISTERS["CONTROL"].address and values[-1] == START:
            self._started = time.monotonic()

    def wait_interrupt(self, timeout: float) -> bool:
        """See `Device`; the machine's end is where the host sees it."""
        self._host()
        ended = self.device.wait_interrupt(timeout)
        self._free = time.monotonic()
        if ended:
            self.spans.append(Span(MACHINE, self._started, self._free))
        return ended

    def close(self) -> None:
        """See `Device`."""
        self.device.close()

    def _host(self) -> None:
        self.spans.append(Span(HOST, self._free, time.monotonic()))

    def _watched(self, row: str, action: Callable[[], T]) -> T:
        self._host()
        begin = time.monotonic()
        result = action()
        self._free = time.monotonic()
        self.spans.append(Span(row, begin, self._free))
        return result


def live(clips: Frames, path: Path) -> None:
    """Draw the live view at the end of a stream of clips [n, T, h, w] on the functional model."""
    device, source = GoldenDevice(SMALL), read_model(MODEL)
    used = compile_model(source, SMALL)
    driver, figures = Driver(device), Figures()
    driver.load(used)
    with sources.Feed(sources.arrays(clips, used.manifest.video)) as feed:
        view = View(f"{used.manifest.name} on {device.uri}", used.manifest.classes, feed, figures)
        for clip, result in driver.stream(feed):
            figures.count(clip)
            view.last = clip, result
    console = Console(record=True, width=COLUMNS, file=io.StringIO(), force_terminal=True, color_system="truecolor")
    console.print(view)
    drawn = console.export_svg(title=f"python -m sw stream build/videos --device {device.uri}")
    path.write_text(re.sub(r"@font-face \{.*?\}\s*", "", drawn, flags=re.DOTALL), encoding="utf-8")  # no fonts of other hosts


def watch(clips: Frames, folder: Path) -> list[Span]:
    """What host, line and machine do while clips [n, T, h, w] go through the simulated board, whose memory has the program."""
    with SimulatedBoard(build(SMALL, folder, UDP), link=UDP) as board, open_device(board.uri) as opened:
        driver = Driver(device := Watch(opened))
        used = compile_model(read_model(MODEL), SMALL)
        driver.load(used)
        encoded = list(sources.arrays(clips, used.manifest.video))
        driver.run(encoded[0].tensor)
        device.spans.clear()
        for _ in driver.stream(encoded):
            pass
        return device.spans


def draw(spans: Sequence[Span], path: Path) -> None:
    """Draw spans, a row for each kind."""
    begin = min(x.begin for x in spans)
    figure, axes = pyplot.subplots(figsize=(9, 2.4), layout="constrained")
    for i, (row, colour) in enumerate(ROWS.items()):
        axes.broken_barh([(x.begin - begin, x.end - x.begin) for x in spans if x.row == row], (i - 0.35, 0.7), color=colour)
    axes.set_yticks(range(len(ROWS)), list(ROWS))
    axes.set_ylim(len(ROWS) - 0.5, -0.5)
    axes.set_xlabel("seconds, on the simulated board (UDP)")
    with pyplot.rc_context({"svg.fonttype": "none", "svg.hashsalt": "tandem"}):
        figure.savefig(path, metadata={"Date": None})
    pyplot.close(figure)


def main() -> None:
    """Make both."""
    clips, _ = make("test", CLIPS)
    live(clips, Path("docs/stream.svg"))
    draw(watch(clips, Path("build/small")), Path("docs/overlap.svg"))


if __name__ == "__main__":
    main()
