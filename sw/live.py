"""What a stream looks like in a terminal: the picture, the classes, the figures."""

from __future__ import annotations

import time
from collections import deque
from dataclasses import dataclass, field

import numpy as np
from rich.console import Group, RenderableType
from rich.panel import Panel
from rich.table import Table
from rich.text import Text

from golden.encoding import Frames, resize
from sw.driver import Result
from sw.link.client import Counters
from sw.sources import Clip, Feed

WIDTH, HEIGHT = 48, 48  #: pixels of the thumbnail, at most; two rows of them are a line of text
SHOWN = 5  #: classes
BAR = 24  #: characters of the longest bar
PERIOD = 0.12  #: seconds that a frame of the thumbnail is shown
RECENT = 16  #: clips that the rate is measured over


@dataclass
class Figures:
    """What a stream has done so far.

    Attributes
    ----------
    clips : int
        That have a result.
    bad : int
        Files that could not be used.
    different : int
        Results that are not the golden model's, where that is asked.
    latency : float
        Seconds from the last clip's being complete to its result.
    """

    begin: float = field(default_factory=time.monotonic)
    clips: int = 0
    bad: int = 0
    different: int = 0
    latency: float = 0.0
    recent: deque[float] = field(default_factory=lambda: deque(maxlen=RECENT))

    def count(self, clip: Clip) -> None:
        """A clip has its result."""
        now = time.monotonic()
        self.clips += 1
        self.latency = now - clip.made
        self.recent.append(now)

    @property
    def rate(self) -> float:
        """Clips per second, of the last ones."""
        if len(self.recent) < 2:
            return self.clips / max(time.monotonic() - self.begin, 1e-9)
        return (len(self.recent) - 1) / max(self.recent[-1] - self.recent[0], 1e-9)


class View:
    """The live view: rich asks for it again and again, and the thumbnail moves.

    Parameters
    ----------
    title : str
        Network and device.
    classes : sequence of str
    feed : Feed
    figures : Figures
    line : Counters, optional
        Of the line to the device.
    """

    def __init__(self, title: str, classes: tuple[str, ...], feed: Feed, figures: Figures, line: Counters | None = None) -> None:
        self.title, self.classes, self.feed, self.figures, self.line = title, classes, feed, figures, line
        self.last: tuple[Clip, Result] | None = None

    def __rich__(self) -> RenderableType:
        """The view at this moment."""
        if self.last is None:
            return Panel(Text("waiting for the first clip"), title=self.title)
        clip, result = self.last
        frame = clip.frames[int(time.monotonic() / PERIOD) % len(clip.frames)]
        table = Table.grid(padding=(0, 2))
        words = Group(Text(clip.name, style="bold"), Text(), classes(self.classes, result), Text(), self._figures(result))
        table.add_row(thumbnail(frame), words)
        return Panel(table, title=self.title, title_align="left")

    def _figures(self, result: Result) -> Table:
        table = Table.grid(padding=(0, 2))
        busy = f"{result.utilisation:.1%}, {result.cycles:,} cycles" if result.cycles else "no cycles on this device"
        for name, value in (
            ("clips", f"{self.figures.clips}, {self.figures.rate:.2f} a second"), ("latency", f"{self.figures.latency:.2f} s"),
            ("utilisation", busy), ("queue", queue(self.feed)), ("no good", f"{self.figures.bad} files"),
        ):
            table.add_row(Text(name, style="dim"), value)
        if self.line:
            table.add_row(Text("line", style="dim"), f"{self.line.repeated} of {self.line.requests} requests repeated")
        return table


def queue(feed: Feed) -> str:
    """How many clips wait, and how many have been dropped."""
    return f"{feed.waiting} waiting, {feed.dropped} of {feed.made} dropped ({feed.policy})"


def thumbnail(frame: Frames) -> Text:
    """A picture [h, w] or [h, w, 3] in half-blocks, each of which shows two pixels one above the other."""
    scale = min(1.0, HEIGHT / frame.shape[0], WIDTH / frame.shape[1])
    rows, columns = (max(1, round(n * scale)) for n in frame.shape[:2])
    small = resize(frame[None], rows + rows % 2, columns)[0]
    colours = np.broadcast_to(small[..., None], (*small.shape, 3)) if small.ndim == 2 else small
    text = Text()
    for upper, lower in zip(colours[0::2].tolist(), colours[1::2].tolist(), strict=True):
        for (r, g, b), (x, y, z) in zip(upper, lower, strict=True):
            text.append("▀", style=f"rgb({r},{g},{b}) on rgb({x},{y},{z})")
        text.append("\n")
    return text


def classes(names: tuple[str, ...], result: Result) -> RenderableType:
    """The best classes with their scores as bars, or of a network without classes the range of what it makes."""
    if not names:
        return Text(f"{list(result.output.shape)} values from {result.output.min()} to {result.output.max()}")
    table = Table.grid(padding=(0, 1))
    for i in np.argsort(-result.scores, kind="stable")[:SHOWN]:
        style = "bold green" if i == result.index else ""
        score = float(result.scores[i])
        table.add_row(Text(names[i], style=style), Text(f"{score:6.1%}"), Text("█" * round(BAR * score), style=style))
    return table
