"""Command line of the host side: ``python -m sw --help``."""

from __future__ import annotations

import shlex
from dataclasses import asdict
from fractions import Fraction
from pathlib import Path
from typing import Annotated, Any

import typer
from rich.progress import BarColumn, Progress, TextColumn, TimeElapsedColumn, track
from rich.table import Table

from golden.data.files import read_clip
from golden.encoding import DataError
from golden.spec.config import preset
from sw import bench, boards, streaming, traffic  # noqa: F401 - they bring commands of their own
from sw import bundle as bundles
from sw import doctor as tools
from sw import verify as comparison
from sw.bundle import Bundle
from sw.compiler import compile_model
from sw.console import (
    DEVICE,
    DIFFERENT,
    EXIT_CODES,
    MODEL,
    DeviceOption,
    JsonOption,
    ModelOption,
    app,
    code,
    complain,
    dump,
    mistakes,
    network,
    output,
    rows,
    screen,
)
from sw.device.base import DeviceError
from sw.device.open import open_device
from sw.driver import Driver, Result
from sw.model_file import ModelFile, read_model


@app.callback()
def main() -> None:
    """Compile models, run them on devices, verify what they do."""


@app.command(epilog=EXIT_CODES)
def classify(
    files: Annotated[list[Path], typer.Argument(help="video or event files", show_default=False)],
    device: DeviceOption = DEVICE,
    model: ModelOption = None,
    bundle: Annotated[Path | None, typer.Option(
        help="bundle to run; --verify compares with --model, or without one with the program on the golden device")] = None,
    verify: Annotated[bool, typer.Option("--verify", help="compare every layer with the integer golden model")] = False,
    picture: Annotated[Path | None, typer.Option(help="PNG to write: frames, spikes, scores; one file only")] = None,
    as_json: JsonOption = False,
) -> None:
    """Say what videos show: the class, or all that a network without classes makes."""
    if picture and (len(files) != 1 or picture.suffix.lower() != ".png" or not picture.parent.is_dir()):
        complain(ValueError(f"--picture takes one video file and a .png in an existing folder, not {len(files)} and '{picture}'"))
        raise typer.Exit(2)
    answers: list[dict[str, Any]] = []
    with mistakes(), open_device(device) as opened:
        used, source = network(opened, model, bundle)
        driver = Driver(opened)
        driver.load(used)
        what = [*(["--bundle", str(bundle)] if bundle else []), *(["--model", str(model or MODEL)] if source else [])]
        failed = 0
        for file in files:
            try:
                replay = shlex.join(["python", "-m", "sw", "classify", str(file), "--device", device, *what, "--verify"])
                answers.append(_classify(driver, used, source, file, verify, picture, replay, as_json))
            except (DataError, DeviceError) as error:  # the next clip may do
                complain(error)
                failed = max(failed, code(error))
    if as_json:
        dump(answers)
    if failed:
        raise typer.Exit(failed)
    if not all(answer.get("bit_exact", True) for answer in answers):
        raise typer.Exit(DIFFERENT)


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
def info(
    what: Annotated[str, typer.Argument(help="bundle file, or device such as golden:small", metavar="BUNDLE|URI")],
    as_json: JsonOption = False,
) -> None:
    """Say what a bundle or a device is."""
    found: dict[str, Any]
    with mistakes():
        if Path(what).exists() or ":" not in what:
            manifest = bundles.load(what).manifest
            found = {"network": manifest.name, "model": manifest.model, "preset": manifest.preset, "config": manifest.config,
                     "input": list(manifest.video.shape), "encoding": manifest.encoding, "classes": list(manifest.classes)}
            for name, program in manifest.programs.items():
                found[f"program {name}"] = f"{len(program.steps)} descriptors, {program.result_bytes:,} bytes of results"
        else:
            with open_device(what) as device:
                answer = Driver(device).info()
            found = {"device": what, "preset": answer.preset or "unknown", "config": answer.digest,
                     "register map": answer.version, "memory": device.memory_bytes, "clock": device.clock}
    if as_json:
        dump(found)
    else:
        rows([(key, ", ".join(value) if key == "classes" else str(value)) for key, value in found.items()])


@app.command()
def explore(
    file: Annotated[Path, typer.Argument(help="video or event file")],
    model: Annotated[Path, typer.Option(help="model file")] = MODEL,
    picture: Annotated[Path, typer.Option(help="PNG to write")] = Path("build/explore.png"),
    bandwidth: Annotated[float, typer.Option(min=0, max=1024, help="bytes a cycle of memory; 0: all that the bus takes")] = 0,
) -> None:
    """Predict cycles and area of many sizes of the machine for one clip: those that no other beats, and a picture of all."""
    from sw import explore as exploring
    from sw.cycles import Memory
    from sw.picture import draw_designs

    with mistakes():
        source = read_model(model)
        _, clip = read_clip(file, source.model.encoding)
        area = exploring.AreaModel()
        designs = exploring.explore(source, clip, area, Memory(bandwidth=Fraction(str(bandwidth))))
        found = list(track(designs, "designs", len(exploring.DESIGNS), console=screen, transient=True))
        draw_designs(picture, f"{source.model.name}, {file.name}", found)
    table = Table("design", "tables", "cycles", "utilisation")
    for x in exploring.pareto(found):
        table.add_row(x.config.name, f"{x.tables:,}", f"{x.cycles:,}", f"{x.utilisation:.1%}")
    output.print(table)
    errors = ", ".join(f"{block} {error:.0%}" for block, error in area.errors.items())
    output.print(f"{len(found)} designs; largest error of the area model at its measured points: {errors}", markup=False)
    output.print(f"picture: {picture}", markup=False)


@app.command(epilog=EXIT_CODES)
def doctor(as_json: JsonOption = False) -> None:
    """Look for every tool. Exit code 1 if one is missing that is needed; those for boards are not."""
    findings = tools.examine()
    if as_json:
        dump([asdict(finding) for finding in findings])
    else:
        table = Table("tool", "version", "needed for", "if missing")
        for x in findings:
            style = "" if x.version else "yellow" if x.optional else "red"
            table.add_row(x.tool, x.version or "missing", x.needed_for, "" if x.version else x.remedy, style=style)
        output.print(table)
    if not all(finding.version or finding.optional for finding in findings):
        raise typer.Exit(DIFFERENT)


if __name__ == "__main__":
    app()
