"""Command line of the golden side: ``python -m golden --help``."""

from __future__ import annotations

import sys
import time
from dataclasses import replace
from pathlib import Path
from typing import Annotated, Literal

import typer

from golden.spec.model import ModelError

app = typer.Typer(add_completion=False, no_args_is_help=True, pretty_exceptions_show_locals=False)
WEIGHTS = Path(__file__).parent / "weights"
Weights = Annotated[Path, typer.Option(help="folder of svformer_nano.safetensors and its checkpoints")]
Clips = Annotated[int, typer.Option(help="number of clips", min=1)]
Split = Annotated[Literal["train", "val", "test"], typer.Option(help="digits of a split are in no other")]
Threads = Annotated[int, typer.Option(help="threads of torch; one is fastest for a network this small")]


@app.callback()
def main() -> None:
    """Data, training and the integer golden model."""


@app.command()
def train(
    out: Annotated[Path, typer.Option(help="folder for weights, checkpoints and log.csv")] = Path("build/train"),
    seed: Annotated[int, typer.Option(help="of weights, data and order")] = 1,
    epochs: Annotated[int | None, typer.Option(help="float epochs")] = None,
    qat_epochs: Annotated[int | None, typer.Option(help="epochs of quantisation-aware training")] = None,
    quick: Annotated[bool, typer.Option(help="a minute, for tests of the way through; weights of no use")] = False,
    threads: Threads = 1,
) -> None:
    """Train SVFormer nano in float, then with 4-bit weights, and write the integer model."""
    import torch

    from golden.training import QUICK, Recipe
    from golden.training import train as run

    torch.set_num_threads(threads)
    recipe = replace(QUICK if quick else Recipe(), seed=seed)
    recipe = replace(recipe, epochs=epochs if epochs is not None else recipe.epochs)
    recipe = replace(recipe, qat_epochs=qat_epochs if qat_epochs is not None else recipe.qat_epochs)
    options = (f" --seed {seed}", f" --epochs {recipe.epochs}", f" --qat-epochs {recipe.qat_epochs}", " --quick" if quick else "")
    card = run(recipe, out, "python -m golden train" + "".join(options))
    for key, value in card.items():
        typer.echo(f"{key:18} {value}")


@app.command("eval")
def evaluate(weights: Weights = WEIGHTS, clips: Clips = 720, split: Split = "test", threads: Threads = 1) -> None:
    """Accuracy of the float, QAT and integer models; spike rates, operations and saturations of each layer."""
    import torch

    from golden.comparison import integer_score
    from golden.data.digit_motion import make
    from golden.encoding import encode
    from golden.integer.network import load
    from golden.models.checkpoint import load_checkpoint
    from golden.training import NAME, accuracy

    torch.set_num_threads(threads)
    data = make(split, clips)
    for what, file in (("float", f"{NAME}_float"), ("QAT", f"{NAME}_qat")):
        share, seconds = timed(lambda f=file: accuracy(load_checkpoint(weights / f"{f}.safetensors"), *data))
        typer.echo(f"{what:8} {share:7.2%} of {clips} {split} clips, {seconds:.1f} s")
    model, tensors = load(weights / f"{NAME}.safetensors")
    score, seconds = timed(lambda: integer_score(model, tensors, encode(data[0], model.encoding), data[1]))
    typer.echo(f"{'integer':8} {score.accuracy:7.2%} of {clips} {split} clips, {seconds:.1f} s")
    typer.echo(f"\n{'layer':10} {'spike rate':>10} {'operations / clip':>18} {'saturated':>10}")
    for layer in model.layers:
        count = score.counts[layer.name]
        rate = f"{score.rates[layer.spike_out]:.1%}" if layer.spike_out else ""
        typer.echo(f"{layer.name:10} {rate:>10} {count.sop / clips:18,.0f} {count.saturations:10}")
    typer.echo(f"{'sum':10} {'':10} {sum(x.sop for x in score.counts.values()) / clips:18,.0f}")


@app.command()
def compare(weights: Weights = WEIGHTS, clips: Clips = 720, split: Split = "test", threads: Threads = 1) -> None:
    """Compare QAT network and integer model in every spike, residual value and logit; fails at the first difference."""
    import torch

    from golden.comparison import compare as run
    from golden.data.digit_motion import make
    from golden.encoding import encode
    from golden.integer.network import load
    from golden.models.checkpoint import load_checkpoint
    from golden.training import NAME

    torch.set_num_threads(threads)
    model, tensors = load(weights / f"{NAME}.safetensors")
    qat = load_checkpoint(weights / f"{NAME}_qat.safetensors")
    (equal, difference), seconds = timed(lambda: run(qat, model, tensors, encode(make(split, clips)[0], model.encoding)))
    if difference:
        typer.echo(f"different: {difference}")
        typer.echo(f"replay: python -m golden compare --split {split} --clips {difference.clip + 1}")
        raise typer.Exit(1)
    typer.echo(f"equal: {clips}/{clips} {split} clips, {len(model.layers)} layers, {equal:,} values, {seconds:.1f} s")


@app.command()
def data(
    out: Annotated[Path, typer.Option(help="folder; gets one folder per class")] = Path("build/videos"),
    count: Annotated[int, typer.Option(help="number of clips, classes in turn")] = 16,
    split: Split = "test",
    seed: Annotated[int, typer.Option(help="0 gives the clips of eval and compare")] = 0,
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
def baselines(train: Annotated[int, typer.Option(help="training clips")] = 2400, test: Clips = 720) -> None:
    """Show that neither one frame nor the unordered set of frames tells the class, only its pair."""
    from golden.data.baselines import baselines as run

    scores, seconds = timed(lambda: run(train, test))
    typer.echo(f"{'accuracy on ' + str(test) + ' test clips':44} {'8 classes':>10} {'4 pairs':>8} {'within pair':>12}")
    for score in scores:
        typer.echo(f"{score.name:44} {score.overall:10.1%} {score.pair:8.1%} {score.within:12.1%}")
    typer.echo(f"chance{'':38} {1 / 8:10.1%} {1 / 4:8.1%} {1 / 2:12.1%}   ({seconds:.0f} s)")


@app.command()
def random(
    out: Annotated[Path, typer.Option(help="model file to write")] = Path("build/random_nano.safetensors"),
    seed: Annotated[int, typer.Option(help="same seed, same model")] = 1,
) -> None:
    """Write a model with random weights in which spikes flow."""
    from golden.integer.network import save
    from golden.integer.random_model import random_model

    model, tensors = random_model(seed)
    save(out, model, tensors)
    typer.echo(f"{out}: {model.name}, {len(model.layers)} layers, seed {seed}")


def timed(work):
    """Result of ``work()`` and how many seconds it took."""
    start = time.perf_counter()
    return work(), time.perf_counter() - start


if __name__ == "__main__":
    try:
        app()
    except ModelError as error:
        sys.exit(f"error: {error}")
