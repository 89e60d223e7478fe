"""Command line of the golden side: ``python -m golden --help``."""

from __future__ import annotations

import os
import sys
import time
from pathlib import Path
from typing import Annotated, Literal

import typer

# before numpy is loaded; pictures are small matrices, threads only wait for each other, and longest where other work runs beside
os.environ.setdefault("OPENBLAS_NUM_THREADS", "1")

from golden.encoding import DataError
from golden.spec.encoding import EncodingError
from golden.spec.model import ModelError

app = typer.Typer(add_completion=False, no_args_is_help=True, pretty_exceptions_show_locals=False)
WEIGHTS = Path(__file__).parent / "weights"
Checkpoint = Annotated[Path, typer.Argument(help="checkpoint (float or quantised) or integer model, .safetensors")]
Folder = Annotated[Path | None, typer.Option("--data", help="folder of the data set; without it the built-in digit motion",
                                             envvar="TANDEM_DATA_FOLDER")]
Cache = Annotated[Path, typer.Option(help="folder of decoded clips")]
Part = Annotated[Literal["train", "val", "test"], typer.Option(help="part of the data set")]
Threads = Annotated[int, typer.Option(help="threads of torch")]
Limit = Annotated[int | None, typer.Option("--clips", help="only the first so many clips", min=1)]
CACHE = Path("build/cache")


@app.callback()
def main() -> None:
    """Data, training, evaluation, quantisation, and the integer golden model."""


@app.command()
def train(
    recipe: Annotated[str, typer.Argument(help="name of a shipped recipe, or path of a .toml file")] = "svformer-nano",
    data: Folder = None,
    out: Annotated[Path | None, typer.Option(help="folder for weights, log and curves; build/train/NAME if not given")] = None,
    cache: Cache = CACHE,
    init: Annotated[Path | None, typer.Option(help="checkpoint to begin with (pre-training)")] = None,
    seed: Annotated[int | None, typer.Option(help="other than the recipe's", min=0)] = None,
    epochs: Annotated[int | None, typer.Option(help="of the float phase, other than the recipe's", min=1)] = None,
    qat_epochs: Annotated[int | None, typer.Option(help="of the quantised phase, other than the recipe's", min=1)] = None,
    clips: Annotated[int | None, typer.Option(help="of one epoch, other than the recipe's", min=1)] = None,
    workers: Annotated[int, typer.Option(help="processes that decode and augment")] = 0,
    device: Annotated[Literal["cpu", "cuda"], typer.Option(help="where to train")] = "cpu",
    threads: Threads = 1,
) -> None:
    """Train in float, then quantisation-aware, and write the integer model. A run that was killed goes on where it was.

    With several processes: ``torchrun --nproc-per-node 2 -m golden train ...``
    """
    from dataclasses import replace

    import torch

    from golden.recipe import load_recipe
    from golden.training import Run
    from golden.training import train as run

    if device == "cuda" and not torch.cuda.is_available():
        raise ModelError("PyTorch sees no GPU here: leave --device out")
    torch.set_num_threads(threads)
    r = load_recipe(recipe)
    r = replace(r, seed=r.seed if seed is None else seed,
                float=replace(r.float, epochs=r.float.epochs if epochs is None else epochs, clips=clips or r.float.clips),
                qat=replace(r.qat, epochs=r.qat.epochs if qat_epochs is None else qat_epochs, clips=clips or r.qat.clips))
    options = {"--data": "DIR" if data else None, "--init": init and init.name, "--seed": seed, "--epochs": epochs,
               "--qat-epochs": qat_epochs, "--clips": clips}
    command = " ".join(["python -m golden train", recipe, *(f"{k} {v}" for k, v in options.items() if v is not None)])
    folder = out or Path("build/train") / r.name
    card = run(r, Run(out=folder, data=data, cache=cache, init=init, workers=workers, device=device, command=command))
    for key, value in card.items():
        typer.echo(f"{key:28} {value}")


@app.command("eval")
def evaluate(
    checkpoint: Checkpoint = WEIGHTS / "svformer-nano.safetensors",
    data: Folder = None,
    out: Annotated[Path | None, typer.Option(help="folder for eval.json and confusion.png; build/eval/NAME if not given")] = None,
    cache: Cache = CACHE,
    part: Part = "test",
    clips: Limit = None,
    baselines: Annotated[bool, typer.Option(help="also train the simple baselines to stand beside")] = True,
    threads: Threads = 1,
) -> None:
    """Accuracy with 95 % interval beside chance and simple baselines, confusion matrix, spike rates, operations, energy."""
    import torch

    from golden.evaluation import evaluate as run
    from golden.evaluation import simple_baselines

    torch.set_num_threads(threads)
    kind, loaded, examples = opened(checkpoint, data, cache, part, clips)
    beside = simple_baselines(loaded, data, cache) if baselines and part == "test" and not clips else {}
    report = run(kind, loaded, examples, part, beside)
    folder = out or Path("build/eval") / checkpoint.stem
    report.write(folder)
    typer.echo("\n".join([*examples.broken, *report.lines(), "", f"written: {folder}/eval.json, {folder}/confusion.png"]))


@app.command()
def energy(
    checkpoint: Checkpoint = WEIGHTS / "svformer-nano.safetensors", data: Folder = None, cache: Cache = CACHE,
    part: Part = "test", clips: Limit = 16,
    board: Annotated[float | None, typer.Option(help="joules per clip measured at a board", min=0)] = None,
    threads: Threads = 1,
) -> None:
    """Energy of one clip in four labelled rows, with their formulas."""
    import torch

    from golden.energy import table
    from golden.evaluation import energy_lines, tallied

    torch.set_num_threads(threads)
    _, loaded, examples = opened(checkpoint, data, cache, part, clips)
    tally = tallied(loaded, examples.parts[part])
    typer.echo(f"mean of {tally.clips} {part} clips")
    typer.echo("\n".join(energy_lines(table(tally.model, tally.counts, tally.clips, board=board))))


@app.command()
def compare(
    weights: Annotated[Path, typer.Argument(help="integer model; its quantised checkpoint is NAME_qat beside it")]
        = WEIGHTS / "svformer-nano.safetensors",
    data: Folder = None, cache: Cache = CACHE, part: Part = "test", clips: Limit = None, threads: Threads = 1,
) -> None:
    """Compare quantised network and integer model in every spike, residual value and logit; fails at the first difference."""
    import torch

    from golden.comparison import compare as run
    from golden.integer.network import load
    from golden.models.checkpoint import load_checkpoint

    torch.set_num_threads(threads)
    model, tensors = load(weights)
    qat = load_checkpoint(weights.with_name(f"{weights.stem}_qat.safetensors"))
    examples = opened(weights, data, cache, part, clips)[2].parts[part]
    start, equal = time.perf_counter(), 0
    for i in range(len(examples)):
        values, difference = run(qat, model, tensors, examples.see(i, None).x[None])
        if difference:
            typer.echo(f"different: {examples.names[i]}: {difference}")
            where = f" --data {data}" if data else ""
            typer.echo(f"replay: python -m golden compare {weights}{where} --part {part} --clips {i + 1}")
            raise typer.Exit(1)
        equal += values
    typer.echo(f"equal: {len(examples)}/{len(examples)} {part} clips, {len(model.layers)} layers, {equal:,} values, "
               f"{time.perf_counter() - start:.1f} s")


@app.command()
def cost(
    checkpoint: Annotated[Path, typer.Argument(help="float checkpoint; the quantised one is NAME_qat for NAME_float")],
    data: Folder = None, cache: Cache = CACHE, part: Part = "test", clips: Limit = None, threads: Threads = 1,
) -> None:
    """Show what each step of quantisation costs: batch norm folded, 8 and 4 bits, residual stream of 16, 12 and 8 bits."""
    import torch

    from golden.evaluation import steps

    torch.set_num_threads(threads)
    _, _, examples = opened(checkpoint, data, cache, part, clips)
    for name, share in steps(checkpoint, examples.parts[part]):
        typer.echo(f"{name:64} {share}")


@app.command()
def weights(
    model: Annotated[Path, typer.Argument(help="integer model")] = WEIGHTS / "svformer-nano.safetensors",
    out: Annotated[Path, typer.Option(help="file to write")] = Path("build/weights.npz"),
) -> None:
    """Write the integer weights, biases and shifts of every layer as .npz, with the graph, for other hardware."""
    import numpy as np

    from golden.integer.network import load

    graph, tensors = load(model)
    out.parent.mkdir(parents=True, exist_ok=True)
    with out.open("wb") as file:  # given a name, NumPy would choose another one
        np.savez_compressed(file, graph=np.array(graph.to_json()), **tensors)  # type: ignore[arg-type]
    for layer in graph.layers:
        shapes = ", ".join(f"{part} {list(tensors[f'{layer.name}.{part}'].shape)}" for part in layer.parts)
        typer.echo(f"{layer.name:16} {layer.op:6} {layer.weight_bits} bits  {shapes}")
    typer.echo(f"written: {out}; y = (sum(weight * spike) + bias) >> shift, docs/numerics.md says the rest")


@app.command()
def params(network: Annotated[str, typer.Argument(help="network of the catalogue; 'all' for every one")] = "all") -> None:
    """Count the parameters of networks."""
    import torch

    from golden.models.catalogue import CONFIGS, build

    if network != "all" and network not in CONFIGS:
        raise ModelError(f"no network '{network}'; there are {', '.join(CONFIGS)}")
    for name in CONFIGS if network == "all" else (network,):
        with torch.device("meta"):
            count = sum(p.numel() for p in build(CONFIGS[name]).parameters())
        typer.echo(f"{name:28} {count:12,}  {len(CONFIGS[name].classes)} classes")


@app.command("import-nir")
def import_nir(
    graph: Annotated[Path, typer.Argument(help="NIR file")],
    size: Annotated[tuple[int, int], typer.Option(help="height and width of the input")],
    out: Annotated[Path, typer.Option(help="integer model to write")] = Path("build/imported.safetensors"),
    timesteps: Annotated[int, typer.Option(help="T")] = 16,
    bits: Annotated[int, typer.Option(help="of weights, 4 or 8")] = 8,
) -> None:
    """Make an integer model of a NIR graph of convolutions, linear layers and LIF or IF neurons; input are ON and OFF events."""
    from golden.integer.network import save
    from golden.nir_import import import_nir as run
    from golden.spec.encoding import EVENTS, Encoding

    encoding = Encoding(kind=EVENTS, height=size[0], width=size[1], timesteps=timesteps, frames=1, patch=1, bits=1,
                        sensor_height=size[0], sensor_width=size[1])
    model, tensors, changes = run(graph, encoding, weight_bits=bits)
    save(out, model, tensors)
    typer.echo("\n".join([*map(str, changes), f"{out}: {len(model.layers)} layers"]))


@app.command("data")
def make_videos(
    out: Annotated[Path, typer.Option(help="folder; gets one folder per class")] = Path("build/videos"),
    count: Annotated[int, typer.Option(help="number of clips, classes in turn", min=1)] = 16,
    split: Part = "test",
    seed: Annotated[int, typer.Option(help="0 gives the clips of eval and compare", min=0)] = 0,
    lossless: Annotated[bool, typer.Option(help="FFV1 .mkv instead of H.264 .mp4")] = False,
) -> None:
    """Write clips as video files, DIR/<class>/NNN.mp4."""
    from golden.data.digit_motion import CLASSES, make, write_video

    for i, (clip, label) in enumerate(zip(*make(split, count, seed), strict=True)):
        folder = out / CLASSES[label].replace(" ", "-")
        folder.mkdir(parents=True, exist_ok=True)
        write_video(folder / f"{i // len(CLASSES):03}.{'mkv' if lossless else 'mp4'}", clip)
    typer.echo(f"{count} {split} clips in {out}")


@app.command()
def baselines(
    train: Annotated[int, typer.Option(help="training clips", min=1)] = 2400,
    test: Annotated[int, typer.Option(help="test clips", min=1)] = 720,
) -> None:
    """Show that neither one frame nor the unordered set of frames tells the class, only its pair."""
    from golden.data.baselines import baselines as run

    start = time.perf_counter()
    scores = run(train, test)
    typer.echo(f"{'accuracy on ' + str(test) + ' test clips':44} {'8 classes':>10} {'4 pairs':>8} {'within pair':>12}")
    for score in scores:
        typer.echo(f"{score.name:44} {score.overall:10.1%} {score.pair:8.1%} {score.within:12.1%}")
    typer.echo(f"chance{'':38} {1 / 8:10.1%} {1 / 4:8.1%} {1 / 2:12.1%}   ({time.perf_counter() - start:.0f} s)")


@app.command()
def random(
    network: Annotated[str | None, typer.Argument(help="network of a recipe, such as svformer-jhmdb; else a small one")] = None,
    out: Annotated[Path | None, typer.Option(help="model file to write; build/random_NETWORK.safetensors if not given")] = None,
    seed: Annotated[int, typer.Option(help="same seed, same model", min=0)] = 1,
) -> None:
    """Write a model with random weights in which spikes flow."""
    from dataclasses import replace

    from golden.integer.network import save
    from golden.integer.random_model import random_model, random_tensors

    path = out or Path(f"build/random_{network or 'nano'}.safetensors")
    if network is None:
        model, tensors = random_model(seed)
    else:
        from golden.evaluation import structure
        from golden.models.catalogue import CONFIGS, build

        if network not in CONFIGS:
            raise ModelError(f"no network '{network}'; there are {', '.join(CONFIGS)}")
        graph = structure(build(CONFIGS[network]))
        if graph is None:
            raise ModelError(f"network '{network}' cannot be quantised: it has what no machine of this project does")
        model = replace(graph, card={"weights": "random", "command": f"python -m golden random {network} --seed {seed}"})
        tensors = random_tensors(model, seed)
    save(path, model, tensors)
    typer.echo(f"{path}: {model.name}, {len(model.layers)} layers, seed {seed}")


def opened(path: Path, data: Path | None, cache: Path, part: str, clips: int | None):
    """Kind of a checkpoint or model, what is in it, and the part of the data set as it sees it."""
    from golden.evaluation import load_any
    from golden.examples import open_for

    kind, loaded = load_any(path)
    model = loaded[0] if isinstance(loaded, tuple) else loaded.config
    return kind, loaded, open_for(model, data, cache, part, clips)


if __name__ == "__main__":
    try:
        app()
    except (ModelError, DataError, EncodingError, OSError) as error:
        sys.exit(f"error: {error}")
