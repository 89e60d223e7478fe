"""The command ``stream``: clips of a source through a device, seen live."""

from __future__ import annotations

import json
import time
from collections.abc import Iterator
from contextlib import nullcontext
from dataclasses import asdict
from itertools import islice
from typing import Annotated, Any

import numpy as np
import typer
from rich.live import Live

from golden.encoding import DataError
from golden.spec.encoding import Encoding
from sw import sources
from sw import verify as comparison
from sw.bundle import Bundle
from sw.console import (
    DEVICE,
    DIFFERENT,
    EXIT_CODES,
    UNUSABLE,
    BundleOption,
    DeviceOption,
    ModelOption,
    app,
    complain,
    mistakes,
    network,
    output,
)
from sw.device.base import Device
from sw.device.open import open_device
from sw.driver import Driver, Result
from sw.link.client import Counters
from sw.live import Figures, View, queue
from sw.model_file import ModelFile
from sw.sources import BLOCK, CAMERA, DROP, Clip, Feed, Window

FRAMES_A_SECOND = 8.0  #: of the live view


@app.command(epilog=EXIT_CODES)
def stream(
    source: Annotated[list[str], typer.Argument(help="videos, recordings, folders of them, or one camera: /dev/video0",
                                                show_default=False)],
    device: DeviceOption = DEVICE,
    model: ModelOption = None,
    bundle: BundleOption = None,
    window: Annotated[int | None, typer.Option(
        help="cut files into windows of so many frames (events: milliseconds); of a camera, 4 per time step")] = None,
    step: Annotated[int | None, typer.Option(help="from one window to the next (default: half a window)")] = None,
    policy: Annotated[str | None, typer.Option(
        help=f"of a faster source: {BLOCK}, it waits (default for files), or {DROP}, the oldest clip is lost (cameras)")] = None,
    limit: Annotated[int | None, typer.Option(help="most clips", min=1)] = None,
    patience: Annotated[float, typer.Option(help="seconds in which a lost device is tried to be reached again", min=0)] = 30.0,
    verify: Annotated[bool, typer.Option("--verify", help="compare every result with the golden model's")] = False,
    plain: Annotated[bool, typer.Option("--plain", help="a line for each clip, as where the output is no terminal")] = False,
    as_json: Annotated[bool, typer.Option("--json", help="print a line of JSON for each clip, and one at the end")] = False,
) -> None:
    """Stream clips through a device and show what they are, until the source ends or Ctrl-C."""
    figures = Figures()

    def tell(error: DataError) -> None:
        figures.bad += 1
        complain(error)

    with mistakes(), open_device(device) as opened:
        used, known = network(opened, model, bundle)
        driver = Driver(opened)
        driver.load(used)
        clips, live_source = _open(source, used.manifest.video, window, step, tell)
        if policy not in (None, BLOCK, DROP):
            raise DataError(f"policy '{policy}' is neither {BLOCK} nor {DROP}")
        with Feed(islice(clips, limit), policy or (DROP if live_source else BLOCK)) as feed:
            view = View(f"{used.manifest.name} on {device}", used.manifest.classes, feed, figures, _line_counters(opened))
            shown = output.is_terminal and not plain and not as_json
            with Live(view, console=output, refresh_per_second=FRAMES_A_SECOND) if shown else nullcontext():
                try:
                    for clip, result in driver.stream(feed, patience):
                        figures.count(clip)
                        exact = _exact(used, known, clip, result) if verify else None
                        figures.different += exact is False
                        view.last = clip, result
                        if as_json:
                            print(json.dumps(_answer(used, clip, result, figures, exact)), flush=True)
                        elif not shown:
                            output.print(_line(clip, result, figures, feed, exact), markup=False)
                except KeyboardInterrupt:
                    pass
        end = _summary(figures, feed, opened, verify)
    if as_json:
        print(json.dumps({"summary": end}))
    else:
        output.print(", ".join(f"{key.replace('_', ' ')} {value}" for key, value in end.items()), markup=False)
    if figures.different:
        raise typer.Exit(DIFFERENT)
    if figures.bad or not figures.clips:
        raise typer.Exit(UNUSABLE)


def _open(source: list[str], encoding: Encoding, window: int | None, step: int | None,
          tell: sources.Complain) -> tuple[Iterator[Clip], bool]:
    """Clips of what was named, and whether they come whether or not anybody takes them."""
    live = [x for x in source if x.startswith(CAMERA)]
    if live and len(source) > 1:
        raise DataError(f"'{live[0]}' is a camera: stream it alone")
    size = window or (4 * encoding.timesteps if live else None)
    if size is None:
        if step:
            raise DataError("--step needs a --window")
        return sources.files(source, encoding, None, tell), False
    cut = Window(size, step or max(size // 2, 1))
    return (sources.camera(live[0], encoding, cut), True) if live else (sources.files(source, encoding, cut, tell), False)


def _exact(used: Bundle, known: ModelFile | None, clip: Clip, result: Result) -> bool:
    """Whether a result is the golden model's."""
    expected = comparison.expect(used, known, clip.tensor)[used.manifest.programs["run"].result]
    return np.array_equal(result.output, expected)


def _answer(used: Bundle, clip: Clip, result: Result, figures: Figures, exact: bool | None) -> dict[str, Any]:
    """What JSON output says of a clip."""
    answer: dict[str, Any] = {"clip": clip.name}
    if used.manifest.classes:
        answer |= {"class": result.label, "score": float(result.scores[result.index]), "logits": result.logits.tolist()}
    answer |= {"cycles": result.cycles, "utilisation": result.utilisation, "latency": figures.latency}
    return answer if exact is None else answer | {"exact": exact}


def _line(clip: Clip, result: Result, figures: Figures, feed: Feed, exact: bool | None) -> str:
    """A clip in one line."""
    what = f"{result.label} {result.scores[result.index]:.1%}" if result.label else f"{list(result.output.shape)} values"
    parts = [what, f"{result.cycles:,} cycles", f"latency {figures.latency:.2f} s", f"{figures.rate:.2f} clips/s", queue(feed)]
    return f"{clip.name}: {', '.join(parts)}" + ("" if exact is None else ", exact" if exact else ", DIFFERENT")


def _summary(figures: Figures, feed: Feed, device: Device, verified: bool) -> dict[str, Any]:
    """What the whole stream did."""
    seconds, line = time.monotonic() - figures.begin, _line_counters(device)
    found: dict[str, Any] = {
        "clips": figures.clips, "dropped": feed.dropped, "bad_files": figures.bad, "seconds": round(seconds, 2),
        "clips_per_second": round(figures.clips / seconds, 3),
    }
    if verified:
        found["different"] = figures.different
    return found | ({"line": asdict(line)} if line else {})


def _line_counters(device: Device) -> Counters | None:
    """What went over the line to a device, where there is one."""
    from sw.link.device import LinkDevice

    return device.link.counters if isinstance(device, LinkDevice) else None
