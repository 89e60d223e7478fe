"""Training of SVFormer nano on digit motion: in float, then quantisation-aware; what ``python -m golden train`` does."""

from __future__ import annotations

import csv
import time
from collections.abc import Iterator
from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np
import torch
from torch.nn import functional as F
from tqdm import tqdm

from golden.comparison import integer_score
from golden.data import digit_motion
from golden.data.digit_motion import Clips
from golden.encoding import encode
from golden.integer.network import save
from golden.models.catalogue import CONFIGS, build
from golden.models.checkpoint import save_checkpoint
from golden.models.network import Network, as_input, export, fold
from golden.models.synapses import Quantisation
from golden.spec.encoding import Encoding

TEMPERATURE = 16.0  #: logits are sums over 256 places; the loss divides them by this


@dataclass(frozen=True, kw_only=True)
class Recipe:
    """Everything that decides the weights."""

    epochs: int = 8  # float
    qat_epochs: int = 4
    per_epoch: int = 4096  # clips
    pool: int = 8192  # different training clips
    val: int = 512  # validation clips
    batch: int = 32
    lr: float = 4e-3
    qat_lr: float = 1e-3
    decay: float = 1e-2
    seed: int = 1

    test: int = 720  # test clips of the figures in the card


QUICK = Recipe(epochs=2, qat_epochs=1, per_epoch=512, pool=512, val=64, test=64)
NAME = "svformer_nano"


def train(recipe: Recipe, out: Path, command: str) -> dict[str, str]:
    """Train, quantise and write three files to ``out``: float and QAT checkpoints and the integer model.

    Parameters
    ----------
    recipe : Recipe
        Everything that decides the weights.
    out : Path
        Folder for ``svformer_nano.safetensors`` (integer), ``.._float``, ``.._qat`` and ``log.csv``.
    command : str
        For the card.

    Returns
    -------
    dict
        The card: data, command, seed and accuracies.
    """
    out.mkdir(parents=True, exist_ok=True)
    (out / "log.csv").write_text("phase,epoch,loss,train_accuracy,val_accuracy,seconds\n")
    torch.manual_seed(recipe.seed)
    start = time.monotonic()
    data = digit_motion.make("train", recipe.pool, recipe.seed)
    test = digit_motion.make("test", recipe.test)
    model = build(CONFIGS["svformer-nano"])
    fit(model, recipe, data, out)
    settle(model, data, recipe.batch)
    save_checkpoint(out / f"{NAME}_float.safetensors", model)
    quant = fold(model, Quantisation())
    fit(quant, recipe, data, out)
    save_checkpoint(out / f"{NAME}_qat.safetensors", quant)
    card = {
        "data": f"digit motion, {recipe.pool} training clips from {len(digit_motion.split_digits('train'))} digits",
        "command": command,
        "seed": str(recipe.seed),
        "recipe": str(recipe),
        "test clips": str(recipe.test),
        "float accuracy": f"{accuracy(model, *test):.4f}",
        "QAT accuracy": f"{accuracy(quant, *test):.4f}",
    }
    graph, tensors = export(quant, card)
    card["integer accuracy"] = f"{integer_score(graph, tensors, encode(test[0], graph.encoding), test[1]).accuracy:.4f}"
    save(out / f"{NAME}.safetensors", replace(graph, card=card), tensors)
    return {**card, "seconds": f"{time.monotonic() - start:.0f}"}


def batches(encoding: Encoding, clips: Clips, labels: np.ndarray, size: int) -> Iterator[tuple[torch.Tensor, torch.Tensor]]:
    """Input tensors and labels, ``size`` clips at a time."""
    for first in range(0, len(clips), size):
        part = slice(first, first + size)
        yield as_input(encode(clips[part], encoding), encoding), torch.from_numpy(labels[part])


@torch.no_grad()
def accuracy(model: Network, clips: Clips, labels: np.ndarray) -> float:
    """Share of the clips that get their class."""
    model.eval()
    right = sum(int((model(x).argmax(1) == y).sum()) for x, y in batches(model.config.encoding, clips, labels, 64))
    return right / len(labels)


def fit(model: Network, recipe: Recipe, data: tuple[Clips, np.ndarray], out: Path) -> None:
    """Train in place; append a line per epoch to ``out/log.csv``.

    Parameters
    ----------
    model : Network
        Float, or ``quant`` for QAT.
    recipe : Recipe
        Epochs, learning rate, seed.
    data : (clips, labels)
        The pool of training clips.
    out : Path
        Folder of the log.
    """
    phase, epochs, lr = ("qat", recipe.qat_epochs, recipe.qat_lr) if model.quant else ("float", recipe.epochs, recipe.lr)
    rng = np.random.default_rng(recipe.seed)
    val = digit_motion.make("val", recipe.val)
    weights = [p for p in model.parameters() if p.ndim > 1]
    others = [p for p in model.parameters() if p.ndim <= 1 and p.requires_grad]
    groups = [{"params": weights, "weight_decay": recipe.decay}, {"params": others, "weight_decay": 0.0}]
    optimiser = torch.optim.AdamW(groups, lr)
    steps = recipe.per_epoch // recipe.batch
    warm = 0.1 if model.quant else 0.2
    schedule = torch.optim.lr_scheduler.OneCycleLR(optimiser, lr, total_steps=steps * epochs, pct_start=warm)
    with (out / "log.csv").open("a", newline="") as file:
        log = csv.writer(file)
        for epoch in range(epochs):
            start, losses, right = time.monotonic(), [], 0
            chosen = rng.permutation(len(data[1]))[: steps * recipe.batch]
            model.train()
            examples = batches(model.config.encoding, data[0][chosen], data[1][chosen], recipe.batch)
            progress = tqdm(examples, f"{phase} {epoch + 1}", steps)
            for x, y in progress:
                logits = model(x) / TEMPERATURE
                loss = F.cross_entropy(logits, y)
                optimiser.zero_grad()
                loss.backward()
                torch.nn.utils.clip_grad_norm_(model.parameters(), 1.0)
                optimiser.step()
                model.constrain()
                schedule.step()
                losses.append(loss.item())
                right += int((logits.argmax(1) == y).sum())
                progress.set_postfix(loss=f"{np.mean(losses[-20:]):.3f}", refresh=False)
            row = (np.mean(losses), right / (steps * recipe.batch), accuracy(model, *val))
            log.writerow([phase, epoch + 1, *(f"{value:.4f}" for value in row), f"{time.monotonic() - start:.1f}"])
            file.flush()


@torch.no_grad()
def settle(model: Network, data: tuple[Clips, np.ndarray], batch: int, count: int = 16) -> None:
    """Replace the running means and variances of all batch norms by the plain average over ``count`` batches."""
    norms = [x for x in model.modules() if isinstance(x, torch.nn.BatchNorm2d)]
    for norm in norms:
        norm.reset_running_stats()
        norm.momentum = None
    model.train()
    for x, _ in batches(model.config.encoding, data[0][: count * batch], data[1][: count * batch], batch):
        model(x)
