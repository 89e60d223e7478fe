"""Command line of the golden side: ``python -m golden --help``."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

app = typer.Typer(add_completion=False, no_args_is_help=True)


@app.callback()
def main() -> None:
    """Data, training and the integer golden model."""


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


if __name__ == "__main__":
    app()
