"""Command line of the host side: ``python -m sw --help``."""

from __future__ import annotations

import json
import shlex
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import asdict
from pathlib import Path
from typing import Annotated, Any

import typer
from rich.console import Console
from rich.progress import BarColumn, Progress, TextColumn, TimeElapsedColumn, track
from rich.table import Table

from golden.data.files import read_clip
from golden.encoding import DataError
from golden.spec.config import Config, ConfigError, preset
from golden.spec.model import ModelError
from sw import bundle as bundles
from sw import doctor as tools
from sw import verify as comparison
from sw.bundle import Bundle, BundleError
from sw.compiler import compile_model
from sw.device.base import Device, DeviceError, DeviceMismatchError
from sw.device.open import KINDS, open_device
from sw.driver import ClipError, Driver, Result
from sw.model_file import ModelFile, read_model
from sw.support import UnsupportedError

MODEL = Path("golden/weights/svformer_nano.safetensors")
DEVICE = "sim:small"

app = typer.Typer(add_completion=False, no_args_is_help=True, pretty_exceptions_enable=False)
screen = Console(stderr=True, highlight=False, soft_wrap=True)
output = Console(highlight=False, soft_wrap=True)


@app.callback()
def main() -> None:
    """Compile models, run them on devices, verify what they do."""


def complain(error: Exception) -> None:
    """Tell a user's mistake."""
    screen.print(f"error: {error}", style="red", markup=False)


@contextmanager
def mistakes() -> Iterator[None]:
    """Turn whatever a user can do wrong into a message and exit code 2."""
    try:
        yield
    except (BundleError, ClipError, ConfigError, DataError, DeviceError, ModelError, OSError, UnsupportedError) as error:
        complain(error)
        raise typer.Exit(2) from None


@app.command()
def classify(
    files: Annotated[list[Path], typer.Argument(help="video or event files", show_default=False)],
    device: Annotated[str, typer.Option(help=KINDS)] = DEVICE,
    model: Annotated[Path | None, typer.Option(help=f"model file, compiled for the device's preset [default: {MODEL}]")] = None,
    bundle: Annotated[Path | None, typer.Option(
        help="bundle to run; --verify compares with --model, or without one with the program on the golden device")] = None,
    verify: Annotated[bool, typer.Option("--verify", help="compare every layer with the integer golden model")] = False,
    picture: Annotated[Path | None, typer.Option(help="PNG to write: frames, spikes, scores; one file only")] = None,
    as_json: Annotated[bool, typer.Option("--json", help="print JSON")] = False,
) -> None:
    """Say what videos show: the class, or all that a network without classes makes.

    Exit code 0: done; 1: not bit-exact; 2: something could not be used.
    """
    if picture and (len(files) != 1 or picture.suffix.lower() != ".png" or not picture.parent.is_dir()):
        complain(ValueError(f"--picture takes one video file and a .png in an existing folder, not {len(files)} and '{picture}'"))
        raise typer.Exit(2)
    answers: list[dict[str, Any]] = []
    with mistakes(), open_device(device) as opened:
        source = None if bundle and not model else read_model(model or MODEL)
        used = bundles.load(bundle) if bundle else compile_model(read_model(model or MODEL), _config(opened))
        if source and source.digest != used.manifest.model:
            raise bundles.BundleError(f"'{bundle}' was compiled from model {used.manifest.model}, '{model}' is {source.digest}")
        driver = Driver(opened)
        driver.load(used)
        what = [*(["--bundle", str(bundle)] if bundle else []), *(["--model", str(model or MODEL)] if source else [])]
        failed = False
        for file in files:
            try:
                replay = shlex.join(["python", "-m", "sw", "classify", str(file), "--device", device, *what, "--verify"])
                answers.append(_classify(driver, used, source, file, verify, picture, replay, as_json))
            except (DataError, DeviceError) as error:  # the next clip may do
                complain(error)
                failed = True
    if as_json:
        print(json.dumps(answers, indent=2))
    if failed:
        raise typer.Exit(2)
    if not all(answer.get("bit_exact", True) for answer in answers):
        raise typer.Exit(1)


def _config(device: Device) -> Config:
    """What a device has been built as."""
    info = Driver(device).info()
    if not info.preset:
        raise DeviceMismatchError(f"{device.uri} has config {info.digest}, which is no preset: give a --bundle compiled for it")
    return preset(info.preset)


def _classify(driver: Driver, used: Bundle, source: ModelFile | None, file: Path, verify: bool, picture: Path | None,
              replay: str, quiet: bool) -> dict[str, Any]:
    """Run one file, print (unless ``quiet``), and return what JSON output says of it."""
    frames, clip = read_clip(file, used.manifest.video)
    with Progress(TextColumn("{task.description}"), BarColumn(), TextColumn("{task.fields[layer]}"), TimeElapsedColumn(),
                  console=screen, transient=True) as bar:
        task = bar.add_task(file.name, total=None, layer="")

        def progress(done: int, total: int, layer: str) -> None:
            bar.update(task, completed=done, total=total, layer=layer)

        result = driver.run(clip, progress)  # figures without the stores of a trace
        traced = driver.trace(clip, progress) if verify or picture else result
    answer: dict[str, Any] = {"file": str(file)}
    if used.manifest.classes:
        scores = dict(zip(used.manifest.classes, map(float, result.scores), strict=True))
        answer |= {"class": result.label, "scores": scores, "logits": [int(x) for x in result.logits]}
    else:
        answer["result"] = result.output.tolist()
    answer |= {
        "cycles": result.cycles, "sops": result.sops, "utilisation": result.utilisation, "saturations": result.saturations,
        "layers": [asdict(x) for x in result.layers.values()],
    }
    if not quiet:
        _show(file, used, result)
    if verify:
        report = comparison.compare(used.manifest, traced.tensors, comparison.expect(used, source, clip))
        answer |= {"bit_exact": report.exact, "verification": report.text(replay)}
        if not quiet:
            output.print(report.text(replay), style="" if report.exact else "red", markup=False)
    if picture:
        from sw.picture import draw

        draw(picture, f"{file.name}: {result.label}", frames, traced, used.manifest)
        if not quiet:
            output.print(f"picture: {picture}", markup=False)
    return answer


def _show(file: Path, used: Bundle, result: Result) -> None:
    """Print the answer of one file."""
    values = f"{list(result.output.shape)} values from {result.output.min()} to {result.output.max()}"
    output.print(f"{file}: {result.label or values}", style="bold", markup=False)
    for i in sorted(range(len(result.scores)), key=lambda i: -result.scores[i])[:3]:
        output.print(f"  {used.manifest.classes[i]:<20} {result.scores[i]:6.1%}  logit {result.logits[i]}", markup=False)
    cycles = f"{result.cycles:,} cycles, utilisation {result.utilisation:.1%}" if result.cycles else "no cycles on this device"
    output.print(f"  {cycles}, {result.sops:,} synaptic operations, {result.saturations} saturations", markup=False)


@app.command(name="compile")
def compile_command(
    model: Annotated[Path, typer.Argument(help="model file")],
    preset_name: Annotated[str, typer.Option("--preset", help="configuration to compile for")] = "small",
    out: Annotated[Path | None, typer.Option(help="bundle to write; beside the build otherwise")] = None,
) -> None:
    """Compile a model to a bundle."""
    with mistakes():
        compiled = compile_model(read_model(model), preset(preset_name))
        path = out or Path("build") / f"{model.stem}.{preset_name}.bundle"
        compiled.save(path)
    output.print(f"{path}: {compiled.manifest.name} for {preset_name}, {compiled.image.size:,} bytes, "
                 f"{len(compiled.manifest.programs['run'].steps)} descriptors", markup=False)


@app.command()
def info(what: Annotated[str, typer.Argument(help="bundle file, or device such as golden:small", metavar="BUNDLE|URI")]) -> None:
    """Say what a bundle or a device is."""
    with mistakes():
        if Path(what).exists() or ":" not in what:
            manifest = bundles.load(what).manifest
            rows = [("network", manifest.name), ("model", manifest.model), ("config", f"{manifest.preset} {manifest.config}"),
                    ("input", f"{list(manifest.video.shape)} from {manifest.video}"), ("classes", ", ".join(manifest.classes))]
            for name, program in manifest.programs.items():
                rows.append((f"program {name}", f"{len(program.steps)} descriptors, {program.result_bytes:,} bytes of results"))
        else:
            with open_device(what) as device:
                found = Driver(device).info()
            rows = [("device", what), ("preset", found.preset or "unknown"), ("config", found.digest),
                    ("register map", str(found.version)), ("memory", f"{device.memory_bytes:,} bytes")]
    for key, value in rows:
        output.print(f"{key + ':':<16}{value}", markup=False)


@app.command()
def link_test(
    device: Annotated[str, typer.Argument(help="a board, such as serial:///dev/ttyUSB0?baud=1000000", metavar="URI")],
    as_json: Annotated[bool, typer.Option("--json", help="print JSON")] = False,
) -> None:
    """Test the line to a board: every pattern to and fro, memory, rates, losses. Exit code 2 if something is lost or wrong."""
    from sw.link.check import check_link
    from sw.link.device import LinkDevice

    with mistakes(), open_device(device) as opened:
        if not isinstance(opened, LinkDevice):
            raise DeviceError(f"'{device}' has no line to test")
        identity, report = opened.link.identity, check_link(opened)
    if as_json:
        print(json.dumps({"identity": asdict(identity), **asdict(report)}, indent=2))
        return
    counters = report.counters
    for key, value in (
        ("board", f"{identity.board}, build {identity.build}, {identity.clock:,} Hz, {identity.memory:,} bytes of memory"),
        ("echo", f"{report.echoes} right, {report.echo_rate:,.0f} bytes/s"),
        ("latency", f"{1000 * report.latency:.2f} ms"),
        ("write", f"{report.write_rate:,.0f} bytes/s, {report.write_overhead:.1%} overhead on the line"),
        ("read", f"{report.read_rate:,.0f} bytes/s, {report.read_overhead:.1%} overhead on the line"),
        ("line", f"{counters.requests} requests, {counters.repeated} repeated: {counters.damaged_requests} damaged there, "
                 f"{counters.damaged_answers} damaged here, {counters.timeouts} without answer"),
    ):
        output.print(f"{key + ':':<16}{value}", markup=False)


@app.command()
def explore(
    file: Annotated[Path, typer.Argument(help="video or event file")],
    model: Annotated[Path, typer.Option(help="model file")] = MODEL,
    picture: Annotated[Path, typer.Option(help="PNG to write")] = Path("build/explore.png"),
) -> None:
    """Predict cycles and area of many sizes of the machine for one clip: those that no other beats, and a picture of all."""
    from sw import explore as exploring
    from sw.picture import draw_designs

    with mistakes():
        source = read_model(model)
        _, clip = read_clip(file, source.model.encoding)
        area = exploring.AreaModel()
        designs = exploring.explore(source, clip, area)
        found = list(track(designs, "designs", len(exploring.DESIGNS), console=screen, transient=True))
        draw_designs(picture, f"{source.model.name}, {file.name}", found)
    table = Table("design", "tables", "cycles", "utilisation")
    for x in exploring.pareto(found):
        table.add_row(x.config.name, f"{x.tables:,}", f"{x.cycles:,}", f"{x.utilisation:.1%}")
    output.print(table)
    errors = ", ".join(f"{block} {error:.0%}" for block, error in area.errors.items())
    output.print(f"{len(found)} designs; largest error of the area model at its measured points: {errors}", markup=False)
    output.print(f"picture: {picture}", markup=False)


@app.command()
def doctor() -> None:
    """Look for every tool. Exit code 1 if one is missing."""
    table = Table("tool", "version", "needed for", "if missing")
    findings = tools.examine()
    for finding in findings:
        missing = not finding.version
        table.add_row(finding.tool, finding.version or "missing", finding.needed_for, finding.remedy if missing else "",
                      style="red" if missing else "")
    output.print(table)
    if not all(finding.version for finding in findings):
        raise typer.Exit(1)


if __name__ == "__main__":
    app()
