"""Commands that measure and compare: ``bench``, the throughput test on several devices; ``verify``, every layer of many clips."""

from __future__ import annotations

from itertools import islice
from pathlib import Path
from typing import Annotated, Any

import numpy as np
import typer
from rich.markup import escape
from rich.table import Table

from golden.encoding import DataError
from golden.spec.encoding import Encoding
from sw import sources
from sw import verify as comparison
from sw.console import (
    DEVICE,
    DIFFERENT,
    EXIT_CODES,
    UNUSABLE,
    BundleOption,
    DeviceOption,
    JsonOption,
    ModelOption,
    app,
    complain,
    config_of,
    dump,
    mistakes,
    network,
    output,
)
from sw.cycles import predict
from sw.device.base import Device
from sw.device.null import NullDevice
from sw.device.open import KINDS, open_device
from sw.driver import Driver
from sw.packing import Array
from sw.throughput import own_time

CLOCK = "machine at {:g} MHz, a clip[ms]"
OWN = "host, a clip[ms]"
OVERHEAD = "host overhead[%]"
MANY = 32  #: clips that the host's own time is measured with


@app.command(epilog=EXIT_CODES)
def bench(
    files: Annotated[list[Path] | None, typer.Argument(help="clips; without, random numbers", show_default=False)] = None,
    device: Annotated[list[str], typer.Option(help=f"to be measured, may be repeated: {KINDS}")] = ["null:small"],  # noqa: B006
    model: ModelOption = None,
    count: Annotated[int, typer.Option("--clips", help="clips of a batch", min=1)] = 8,
    clock: Annotated[float, typer.Option(help="MHz at which the host's own time (null:) is compared with the machine's",
                                         min=0.001)] = 80.0,
    as_json: JsonOption = False,
) -> None:
    """Measure how fast devices take clips: FINN's throughput test.

    Beside null: stands what share the host's time is of the machine's, by the cycle model.
    """
    found: dict[str, dict[str, float]] = {}
    with mistakes():
        for uri in device:
            with open_device(uri) as opened:
                used, _ = network(opened, model, None)
                clips = _clips(files or [], used.manifest.video, count)
                driver = Driver(opened)
                driver.load(used)
                found[uri] = driver.throughput_test(clips)
                found[uri] |= _overhead(opened, driver, clips, clock)
    if as_json:
        dump(found)
        return
    table = Table("", *map(escape, found))
    for key in dict.fromkeys(key for figures in found.values() for key in figures):
        table.add_row(escape(key), *(f"{figures[key]:,.4g}" if key in figures else "" for figures in found.values()))
    output.print(table)


def _clips(files: list[Path], encoding: Encoding, count: int) -> list[Array]:
    """So many input tensors, those of the files again and again."""
    if not files:
        return list(np.random.default_rng(0).integers(0, 1 << encoding.planes, (count, *encoding.shape), np.uint8))
    known = [clip.tensor for clip in islice(sources.files(files, encoding), count)]
    return [known[i % len(known)] for i in range(count)]


def _overhead(device: Device, driver: Driver, clips: list[Array], clock: float) -> dict[str, float]:
    """Of a device that takes no time, what is left is the host's."""
    if not isinstance(device, NullDevice):
        return {}
    own = 1000 * own_time(driver, [clips[i % len(clips)] for i in range(MANY)])[1]
    machine = predict(driver.pipeline.bundle, config_of(device), clips[0]).cycles / clock / 1000
    return {OWN: own, CLOCK.format(clock): machine, OVERHEAD: 100 * own / machine}


@app.command(epilog=EXIT_CODES)
def verify(
    files: Annotated[list[Path], typer.Argument(help="videos, recordings, or folders of them", show_default=False)],
    device: DeviceOption = DEVICE,
    model: ModelOption = None,
    bundle: BundleOption = None,
    limit: Annotated[int | None, typer.Option(help="most clips", min=1)] = None,
    as_json: JsonOption = False,
) -> None:
    """Compare every layer of every clip with the integer golden model. Exit code 1 if a bit differs."""
    answers: list[dict[str, Any]] = []
    bad: list[DataError] = []
    with mistakes(), open_device(device) as opened:
        used, source = network(opened, model, bundle)
        driver = Driver(opened)
        driver.load(used)

        def tell(error: DataError) -> None:
            bad.append(error)
            complain(error)

        for clip in islice(sources.files(files, used.manifest.video, complain=tell), limit):
            traced = driver.trace(clip.tensor)
            report = comparison.compare(used.manifest, traced.tensors, comparison.expect(used, source, clip.tensor))
            text = report.text(f"python -m sw classify '{clip.name}' --device '{device}' --verify")
            answers.append({"file": clip.name, "bit_exact": report.exact, "verification": text, "cycles": traced.cycles})
            if not as_json:
                output.print(f"{clip.name}: {text}", style="" if report.exact else "red", markup=False)
    exact = sum(answer["bit_exact"] for answer in answers)
    if as_json:
        dump({"clips": answers, "exact": exact, "bad_files": len(bad)})
    else:
        output.print(f"{exact} of {len(answers)} clips bit-exact, {len(bad)} files no good", markup=False)
    if exact < len(answers):
        raise typer.Exit(DIFFERENT)
    if bad or not answers:
        raise typer.Exit(UNUSABLE)
