"""Training by a recipe: in float, then quantisation-aware; what ``python -m golden train`` does.

The same recipe, data and number of threads give the same weights, bit for bit, whether or not the run was killed and resumed in
between: what an epoch does follows from the seed and its number alone. Several processes (``torchrun``) share each batch.
"""

from __future__ import annotations

import copy
import csv
import json
import math
import time
from collections.abc import Iterator
from contextlib import nullcontext
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np
import torch
import torch.distributed as dist
from torch.nn import functional as F
from torch.nn.parallel import DistributedDataParallel
from torch.optim.swa_utils import AveragedModel, get_ema_multi_avg_fn
from torch.utils.data import DataLoader, Dataset
from tqdm import tqdm

from golden import parallel
from golden.calibration import calibrate
from golden.comparison import integer_score
from golden.distillation import Student, Views, views
from golden.examples import Data, Examples, Folder, open_examples
from golden.frozen import frozen, made
from golden.integer.network import save
from golden.models.catalogue import build
from golden.models.checkpoint import load_checkpoint, save_checkpoint
from golden.models.network import Network, as_input, export, fold
from golden.pictures import curves
from golden.prediction import predict
from golden.pretraining import Anchor, pass_on, take_over
from golden.recipe import Phase, Recipe
from golden.regression import fit_classifier
from golden.spec.model import ModelError

FIRST = {"float": 0, "qat": 1_000_000}  #: number of a phase's first epoch; what is drawn follows from it
SETTLE = 96  #: clips whose statistics batch norms take
NOTHING = np.zeros(0, np.float32)
COLUMNS = ("phase", "epoch", "loss", "frames", "places", "anchor", "train_top1", "val_top1", "val_loss", "seconds")


@dataclass(frozen=True, kw_only=True)
class Run:
    """Where a run reads and writes, which has no influence on the weights."""

    out: Path  #: folder of checkpoints, integer model, log.csv, curves.png
    data: Path | None = None  #: folder of the data set
    cache: Path = Path("build/cache")  #: folder of decoded clips
    init: Path | None = None  #: checkpoint whose weights are the first ones, where names and shapes agree
    workers: int = 0  #: processes that decode and augment
    device: str = "cpu"  #: or ``cuda``; other sums there, so other weights than on a CPU
    command: str = ""  #: for the card


@dataclass
class Batches(Dataset):
    """Training clips in the order of an epoch; what is drawn for a clip follows from seed, epoch and clip."""

    examples: Examples
    views: Views | None
    seed: int
    epoch: int = 0

    def __len__(self) -> int:
        """Number of clips."""
        return len(self.examples)

    def __getitem__(self, i: int) -> tuple[np.ndarray, int, np.ndarray, np.ndarray, list[np.ndarray]]:
        """Input tensor [T, H, W, C], class, and what the teacher says and sees of the clip, see `Views.of`."""
        seen = self.examples.see(i, np.random.default_rng([self.seed, self.epoch, i]))
        if not self.views:
            return seen.x, int(self.examples.labels[i]), NOTHING, NOTHING, []
        return seen.x, int(self.examples.labels[i]), *self.views.of(i, seen)


def train(recipe: Recipe, run: Run) -> dict[str, str]:
    """Train, quantise, and write ``NAME.safetensors`` (integer), ``NAME_float``, ``NAME_qat``, ``log.csv``, ``curves.png``.

    A run that was killed goes on after its last whole epoch.

    Returns
    -------
    dict
        The card: data, command, seed, accuracies on validation clips; nothing here looks at the test part.

    Raises
    ------
    ModelError, golden.encoding.DataError
        If recipe, data or the checkpoint to begin with cannot be used.
    """
    rank, world = parallel.start()
    start = time.monotonic()
    run.out.mkdir(parents=True, exist_ok=True)
    torch.manual_seed(recipe.seed)
    data = open_examples(recipe, recipe.config.encoding, run.data, run.cache, ("train", "val"))
    net = build(replace(recipe.config, classes=data.classes)).to(run.device)
    if recipe.pretrained:
        take_over(net)
    if run.init:
        begin(net, load_checkpoint(run.init))
    examples, seen = data.parts["train"], None
    if recipe.distillation:
        if not isinstance(examples, Folder):
            raise ModelError("distillation needs a folder of videos")
        seen = views(examples.clips, recipe.distillation, run.cache, Student(net, 0).grids())
    log = Log(run.out, recipe, rank)
    rates = {}
    shown = data
    with frozen(net, recipe.frozen) if recipe.frozen else nullcontext() as front:
        if front:
            digest = f"{json.dumps(recipe.to_dict(), sort_keys=True)} {data.card}"
            parts: dict[str, Examples] = {}
            for name, part in data.parts.items():
                draws = recipe.draws if name == "train" else 1
                parts[name] = made(net, front, part, draws, recipe.seed, run.out / f"frozen_{name}.npy", digest)
            shown = replace(data, parts=parts)
        if recipe.pretrained and front:
            pass_on(net, some(shown.parts["train"], SETTLE, recipe, run.device))
        if recipe.regression:
            fit_classifier(net, shown.parts["train"])
        net = fit(net, recipe, "float", shown, seen, run, log, rank, world)
    rates["float"] = log.best("float")
    quant = fold(net, recipe.quantisation).to(run.device)
    if recipe.calibration:
        calibrate(net, quant, some(examples, recipe.calibration, recipe, run.device))
    if recipe.regression:
        fit_classifier(quant, examples)
    quant = fit(quant, recipe, "qat", data, seen, run, log, rank, world)
    if recipe.regression:
        fit_classifier(quant, examples)
    rates["QAT"] = judge(quant, data.parts["val"])[0] if recipe.regression else log.best("qat")
    card = {
        "data": data.card, "command": run.command, "seed": str(recipe.seed),
        "recipe": json.dumps(recipe.to_dict(), sort_keys=True),
        "parameters": str(sum(p.numel() for p in net.parameters())),
        **{f"{name} validation accuracy": f"{value:.4f}" for name, value in rates.items()},
    }
    net, quant = net.cpu(), quant.cpu()
    if rank == 0:
        save_checkpoint(run.out / f"{recipe.name}_float.safetensors", net)
        save_checkpoint(run.out / f"{recipe.name}_qat.safetensors", quant)
        graph, tensors = export(quant, card)
        val = data.parts["val"]
        inputs = np.stack([val.see(i, None).x for i in range(len(val))])
        card["integer validation accuracy"] = f"{integer_score(graph, tensors, inputs, val.labels).accuracy:.4f}"
        save(run.out / f"{recipe.name}.safetensors", replace(graph, card=card), tensors)
    parallel.stop()
    return {**card, "seconds": f"{time.monotonic() - start:.0f}"}


def some(examples: Examples, count: int, recipe: Recipe, device: str) -> torch.Tensor:
    """So many clips, not augmented, as a network takes them."""
    chosen = np.random.default_rng(recipe.seed).permutation(len(examples))[:count]
    return as_input(np.stack([examples.see(int(i), None).x for i in chosen]), recipe.config.encoding).to(device)


def begin(net: Network, other: Network) -> None:
    """Take over the weights of another network where names and shapes agree; the classifier is not among them."""
    state = net.state_dict()
    body = {k: v for k, v in other.state_dict().items() if k in state and v.dim() and not k.startswith("head.")}
    same = {k: v for k, v in body.items() if v.shape == state[k].shape}
    if not same:
        raise ModelError(f"'{other.config.name}' has no tensor in common with '{net.config.name}'")
    net.load_state_dict({**state, **same})


class Log:
    """One line per epoch in ``log.csv`` and as curves in ``curves.png``."""

    def __init__(self, out: Path, recipe: Recipe, rank: int) -> None:
        self.out, self.name, self.rank = out, recipe.name, rank
        self.rows: list[dict[str, Any]] = []

    def add(self, row: dict[str, Any]) -> None:
        """Append and write."""
        self.rows.append(row)
        if self.rank:
            return
        with (self.out / "log.csv").open("w", newline="", encoding="utf-8") as file:
            writer = csv.DictWriter(file, COLUMNS)
            writer.writeheader()
            writer.writerows({k: f"{v:.4f}" if isinstance(v, float) else v for k, v in x.items()} for x in self.rows)
        curves(self.out / "curves.png", self.name, self.rows)

    def best(self, phase: str) -> float:
        """Highest validation accuracy of a phase: that of the weights that are kept."""
        return max((row["val_top1"] for row in self.rows if row["phase"] == phase), default=math.nan)


def rate(phase: Phase, step: int, steps: int) -> float:
    """Learning rate of a step: up to ``lr`` and down to nothing along cosines."""
    warm = max(1, round(phase.warm * steps))
    if step < warm:
        return phase.lr * (0.52 - 0.48 * math.cos(math.pi * step / warm))
    return phase.lr * 0.5 * (1 + math.cos(math.pi * (step - warm) / max(1, steps - warm)))


def size(p: torch.Tensor) -> float:
    """Root mean square of a tensor; of those that are near nothing, what others begin with."""
    return max(p.detach().square().mean().sqrt().item(), 0.01)


def fit(net: Network, recipe: Recipe, what: str, data: Data, seen: Views | None, run: Run, log: Log, rank: int,
        world: int) -> Network:
    """Train one phase; the network of the epoch that is best on validation clips (the later one of equals), in eval mode.

    That of the last epoch, where the classifier is fitted anew afterwards.

    Parameters
    ----------
    net : Network
        Float, or quantised: then this is QAT.
    recipe : Recipe
        What to do.
    what : str
        Which of its phases.
    data : Data
        With parts ``train`` and ``val``.
    seen : Views, optional
        What the teacher sees in the training clips.
    run, log : Run, Log
        Where to write.
    rank, world : int
        Of this process, and how many there are.
    """
    phase, examples = getattr(recipe, what), data.parts["train"]
    torch.manual_seed(recipe.seed)  # a run that goes on, or finds the teacher's view in the cache, has drawn less until now
    count = min(phase.clips or len(examples), len(examples))
    steps = count // phase.batch
    if phase.batch % world or not steps:
        raise ModelError(f"[{what}] batch {phase.batch} does not divide among {world} processes, or exceeds {count} clips")
    student = Student(net, recipe.distillation.components if recipe.distillation else 0).to(run.device)
    groups = [{"params": [p], "weight_decay": phase.decay if p.ndim > 1 else 0.0, "size": size(p) if phase.relative else 1.0}
              for p in student.parameters() if p.requires_grad]
    optimiser = torch.optim.AdamW(groups, phase.lr)
    average: Any = AveragedModel(student, multi_avg_fn=get_ema_multi_avg_fn(phase.average), use_buffers=True)
    anchored = recipe.distillation and recipe.distillation.anchor and not net.skip
    anchor = Anchor(net) if anchored else None  # not watching the average
    whole: Any = DistributedDataParallel(student) if world > 1 else student
    best, first = (-1.0, copy.deepcopy(net.state_dict())), 0
    state_path = run.out / f"{what}.resume"
    digest = f"{json.dumps(recipe.to_dict(), sort_keys=True)} {data.card} {world}"
    if state_path.is_file():
        state = torch.load(state_path, map_location=run.device, weights_only=True)
        if state["of"] != digest:
            raise ModelError(f"'{state_path}' is of another recipe, data set or process count; remove it or choose another --out")
        student.load_state_dict(state["student"])
        average.load_state_dict(state["average"])
        optimiser.load_state_dict(state["optimiser"])
        best, first = (state["best"], state["kept"]), state["epoch"]
        for row in state["rows"]:
            log.add(row)
    batches = Batches(examples, seen, recipe.seed)
    for epoch in range(first, phase.epochs):
        start = time.monotonic()
        batches.epoch = epoch + FIRST[what]
        sums = np.zeros(5)
        student.train()
        loader = _load(batches, count, phase.batch, rank, world, run.workers)
        progress = tqdm(loader, f"{what} {epoch + 1}/{phase.epochs}", steps, disable=None if rank == 0 else True)
        for step, (x, y, opinion, view, places) in enumerate(progress):
            for group in optimiser.param_groups:
                group["lr"] = group["size"] * rate(phase, epoch * steps + step, phase.epochs * steps)
            y, opinion, view = (a.to(run.device) for a in (y, opinion, view))
            with torch.autocast(run.device, torch.bfloat16, enabled=phase.bf16), parallel.whole_batches():
                inputs = as_input(x.numpy(), net.config.encoding).to(run.device)
                logits, told, told_places = whole(inputs)
            loss = error = F.cross_entropy(logits.float(), y, label_smoothing=phase.smoothing)
            if told is not None and (how := recipe.distillation):
                pairs = ((told, view), *zip(told_places, places, strict=True))
                apart, *aside = (F.mse_loss(a.float(), b.to(run.device).transpose(0, 1)) for a, b in pairs)
                loss = (1 - how.labels) * error + how.labels * F.cross_entropy(logits.float(), opinion)
                loss += how.weight * apart + how.places * torch.stack(aside).sum()
                sums[1:3] += apart.item(), torch.stack(aside).sum().item()
                if anchor:
                    apart = anchor.distance(inputs)
                    loss += how.anchor * apart
                    sums[3] += apart.item()
            optimiser.zero_grad()
            loss.backward()
            torch.nn.utils.clip_grad_norm_(student.parameters(), 1.0)
            optimiser.step()
            net.constrain()
            average.update_parameters(student)
            sums += (error.item(), 0, 0, 0, float((logits.argmax(1) == y).float().mean()))
        if world > 1:
            shared = torch.from_numpy(sums)
            dist.all_reduce(shared)
            sums = shared.numpy() / world
        top1, val_loss = judge(average.module.net, data.parts["val"])
        sums /= steps
        row = dict(zip(COLUMNS, (what, epoch + 1, *sums.tolist(), top1, val_loss, time.monotonic() - start), strict=True))
        log.add(row)
        if top1 >= best[0]:
            best = (top1, copy.deepcopy(average.module.net.state_dict()))
        if rank == 0:
            state = {"of": digest, "epoch": epoch + 1, "rows": [r for r in log.rows if r["phase"] == what],
                     "best": best[0], "kept": best[1], "student": student.state_dict(), "average": average.state_dict(),
                     "optimiser": optimiser.state_dict()}
            part = state_path.with_suffix(".part")
            torch.save(state, part)
            part.replace(state_path)
    if anchor:
        anchor.close()
    replaced = what == "qat" and recipe.regression  # its classifier will be, so that validation clips tell nothing of it
    net.load_state_dict(average.module.net.state_dict() if replaced else best[1])
    return net.eval()


def _load(batches: Batches, count: int, batch: int, rank: int, world: int, workers: int) -> Iterator[Any]:
    """Part of every batch of an epoch that is for this process."""
    order = np.random.default_rng([batches.seed, batches.epoch]).permutation(len(batches))[: count // batch * batch]
    mine = order.reshape(-1, world, batch // world)[:, rank].reshape(-1)
    return iter(DataLoader(batches, batch // world, sampler=mine.tolist(), num_workers=workers))


@torch.no_grad()
def judge(net: Network, examples: Examples, batch: int = 32) -> tuple[float, float]:
    """Share of the clips that get their class, and mean cross entropy."""
    logits = predict(net, examples, batch)
    labels = torch.from_numpy(examples.labels)
    return float((logits.argmax(1) == labels).float().mean()), float(F.cross_entropy(logits, labels))
