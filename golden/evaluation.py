"""Judging a trained network on the test part: accuracy, where it errs, spikes, operations, energy."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass, field, replace
from pathlib import Path

import numpy as np
import torch
from numpy.typing import NDArray
from safetensors import SafetensorError, safe_open
from scipy.stats import binomtest
from torch import Tensor
from tqdm import tqdm

from golden import energy
from golden.data import baselines
from golden.data.cache import cached, roomy
from golden.data.folder import open_data
from golden.examples import Data, Examples
from golden.integer import network as integer
from golden.integer.network import Count
from golden.models.catalogue import build
from golden.models.checkpoint import load_checkpoint
from golden.models.network import Network, as_input, fold
from golden.models.synapses import Quantisation
from golden.pictures import confusion
from golden.prediction import predict
from golden.spec.model import INPUT, Model, ModelError

FINE = Quantisation(weight_bits=16, u_bits=24, u_frac=8, acc_bits=32)  #: nearly float; no machine has it
Loaded = Network | tuple[Model, dict[str, NDArray]]  #: a float or quantised network, or an integer model


@dataclass(frozen=True)
class Share:
    """So many of so many, with the 95 % interval of Wilson's method."""

    right: int
    of: int

    @property
    def value(self) -> float:
        """The share."""
        return self.right / self.of if self.of else float("nan")

    @property
    def interval(self) -> tuple[float, float]:
        """Low and high end."""
        if not self.of:
            return (0.0, 1.0)
        found = binomtest(self.right, self.of).proportion_ci(0.95, "wilson")
        return (float(found.low), float(found.high))

    def __str__(self) -> str:
        """As a table shows it."""
        return f"{self.value:6.1%} ({self.interval[0]:.1%} to {self.interval[1]:.1%})"

    def to_dict(self) -> dict[str, object]:
        """As JSON shows it."""
        return {"right": self.right, "of": self.of, "value": self.value, "interval95": self.interval}


@dataclass(frozen=True, kw_only=True)
class Report:
    """Everything that is known of a network on a set of clips."""

    network: str
    kind: str  #: float, quantised (torch) or integer
    parameters: int
    data: str
    classes: tuple[str, ...]
    counts: NDArray[np.int64] = field(repr=False)  #: confusion, true class by predicted one
    top1: Share
    top5: Share
    unseen: Share  #: top-1 of the clips whose recording is in no other part
    by_source: float  #: mean over recordings of the share of their clips
    rates: dict[str, float]  #: share of set bits by spike tensor
    sops: dict[str, int]  #: synaptic operations by layer, mean of the clips
    energy: tuple[energy.Row, ...]
    baselines: dict[str, Share]

    def to_json(self) -> str:
        """All of it."""
        values = {
            "network": self.network, "kind": self.kind, "parameters": self.parameters, "data": self.data, "classes": self.classes,
            "confusion": self.counts.tolist(), "top1": self.top1.to_dict(), "top5": self.top5.to_dict(),
            "recordings_not_in_training": self.unseen.to_dict(), "mean_over_recordings": self.by_source,
            "chance": 1 / len(self.classes), "baselines": {k: v.to_dict() for k, v in self.baselines.items()},
            "spike_rates": self.rates, "synaptic_operations": self.sops, "energy": [asdict(row) for row in self.energy],
        }
        return json.dumps(values, indent=1)

    def lines(self) -> list[str]:
        """As a terminal shows it."""
        out = [
            f"{self.network} ({self.kind}), {self.parameters:,} parameters, on {self.data}",
            "",
            f"{'top-1':34} {self.top1}   95 % interval",
            f"{'top-5':34} {self.top5}",
            f"{'recordings not in training':34} {self.unseen}   {self.unseen.of} clips",
            f"{'mean over recordings':34} {self.by_source:6.1%}",
            f"{'chance':34} {1 / len(self.classes):6.1%}",
            *(f"{name:34} {share}" for name, share in self.baselines.items()),
        ]
        if self.rates:
            out += ["", f"{'spike tensor':24} {'rate':>8}", *(f"{k:24} {v:8.1%}" for k, v in self.rates.items())]
        if self.sops:
            out += ["", f"{'layer':24} {'synaptic operations a clip':>28}", *(f"{k:24} {v:28,}" for k, v in self.sops.items()),
                    f"{'sum':24} {sum(self.sops.values()):28,}"]
        if self.energy:
            out += ["", "energy of a clip", *energy_lines(self.energy)]
        return out

    def write(self, out: Path) -> None:
        """``eval.json`` and ``confusion.png``."""
        out.mkdir(parents=True, exist_ok=True)
        (out / "eval.json").write_text(self.to_json() + "\n", encoding="utf-8")
        confusion(out / "confusion.png", f"{self.network} ({self.kind})", self.counts, self.classes)


def energy_lines(rows: Sequence[energy.Row]) -> list[str]:
    """The energy rows as text."""
    return [f"{row.name:42} {'' if row.joules is None else f'{row.joules * 1e6:,.2f} uJ':>14}   {row.formula}" for row in rows]


class Tally:
    """Set bits of every spike tensor, and what every layer did, summed over clips."""

    def __init__(self, model: Model) -> None:
        self.model = model
        self.clips = 0
        self.rates = {layer.spike_out: 0.0 for layer in model.layers if layer.spike_out}
        self.counts: dict[str, Count] = {}

    def add(self, known: Mapping[str, NDArray[np.integer]], counted: bool) -> None:
        """One clip, its tensors [T, H, W, C] by name; ``counted``: operations are in ``counts`` already."""
        self.clips += 1
        for name in self.rates:
            self.rates[name] += float((known[name] > 0).mean())
        for layer in () if counted else self.model.layers:
            integer.tally(layer, known, self.counts.setdefault(layer.name, Count()))

    @property
    def means(self) -> dict[str, float]:
        """Rates, mean of the clips."""
        return {name: value / self.clips for name, value in self.rates.items()}

    @property
    def sops(self) -> dict[str, int]:
        """Synaptic operations by layer, attention's own products among them, mean of the clips."""
        return {name: (count.sop + count.pairs) // self.clips for name, count in self.counts.items()}


def structure(net: Network) -> Model | None:
    """The graph of fused layers that a network would have if it were quantised; None where the contract cannot express it."""
    if net.config.obstacles():
        return None
    quant = net if net.quant else build(net.config, Quantisation())
    assert quant.quant
    return Model(name=net.config.name, encoding=net.config.encoding, u_frac=quant.quant.u_frac,
                 u_bits=quant.quant.u_bits, classes=net.config.classes, layers=quant.layers())


@torch.no_grad()
def run_torch(net: Network, examples: Examples, batch: int = 16) -> tuple[NDArray[np.float32], Tally | None]:
    """Logits [N, classes] of a float or quantised network, and its tally where it has a graph."""
    net.eval()
    model = structure(net)
    tally = Tally(model) if model else None
    logits = []
    for i in tqdm(range(0, len(examples), batch), "clips", disable=None):
        inputs = np.stack([examples.see(j, None).x for j in range(i, min(i + batch, len(examples)))])
        taps: dict[str, Tensor] = {}
        logits.append(net(as_input(inputs, net.config.encoding), taps if tally else None).numpy())
        for b in range(len(inputs)):
            if tally is None:
                break
            known = {k: v[:, b].permute(0, 2, 3, 1).numpy().astype(np.uint8) for k, v in taps.items() if k in tally.rates}
            tally.add({INPUT: inputs[b], **known}, False)
    return np.concatenate(logits), tally


def run_integer(model: Model, tensors: integer.Tensors, examples: Examples) -> tuple[NDArray[np.float32], Tally]:
    """Logits [N, classes] of an integer model, and its tally."""
    tally, logits = Tally(model), []
    for i in tqdm(range(len(examples)), "clips", disable=None):
        known = integer.run(model, tensors, examples.see(i, None).x, tally.counts)
        tally.add(known, True)
        logits.append(known[model.layers[-1].name].reshape(-1))
    return np.stack(logits).astype(np.float32), tally


def evaluate(kind: str, loaded: Loaded, data: Data, part: str, beside: Mapping[str, float]) -> Report:
    """Judge a network.

    Parameters
    ----------
    kind, loaded
        As `load_any` gives them.
    data : Data
        With the part.
    part : str
        ``test``, or another one.
    beside : mapping of str to float
        Accuracies on the same clips, to stand beside.
    """
    examples, labels = data.parts[part], data.parts[part].labels
    tally: Tally | None
    if isinstance(loaded, Network):
        logits, tally = run_torch(loaded, examples)
        name, parameters = loaded.config.name, sum(p.numel() for p in loaded.parameters())
    else:
        logits, tally = run_integer(*loaded, examples)
        name, parameters = loaded[0].name, sum(v.size for k, v in loaded[1].items() if not k.endswith(".shift"))
    order = np.argsort(-logits, axis=1, kind="stable")  # the lowest class first where logits are equal
    right, five = order[:, 0] == labels, (order[:, :5] == labels[:, None]).any(axis=1)
    counts = np.zeros((len(data.classes),) * 2, np.int64)
    np.add.at(counts, (labels, order[:, 0]), 1)
    sources = np.array(examples.sources)
    new = np.array([x not in data.trained for x in sources])
    rows = energy.table(tally.model, tally.counts, tally.clips) if tally else ()
    return Report(
        network=name, kind=kind, parameters=parameters, data=f"{len(labels)} {part} clips of {data.card}", classes=data.classes,
        counts=counts, top1=Share(int(right.sum()), len(right)), top5=Share(int(five.sum()), len(right)),
        unseen=Share(int(right[new].sum()), int(new.sum())),
        by_source=float(np.mean([right[sources == x].mean() for x in np.unique(sources)])),
        rates=tally.means if tally else {}, sops=tally.sops if tally else {}, energy=tuple(rows),
        baselines={name: Share(round(value * len(right)), len(right)) for name, value in beside.items()},
    )


def tallied(loaded: Loaded, examples: Examples) -> Tally:
    """Spikes and operations of a network on clips.

    Raises
    ------
    ModelError
        If it is a published variant that has no graph of spike operations.
    """
    tally = run_torch(loaded, examples)[1] if isinstance(loaded, Network) else run_integer(*loaded, examples)[1]
    if tally is None:
        assert isinstance(loaded, Network)
        raise ModelError(f"operations of '{loaded.config.name}' cannot be counted: " + "; ".join(loaded.config.obstacles()))
    return tally


def simple_baselines(loaded: Loaded, folder: Path | None, cache: Path) -> dict[str, float]:
    """Accuracy of simple models on the test clips of the data that a network is judged on."""
    if folder is None:
        return {score.name: score.overall for score in baselines.baselines()}
    encoding = (loaded.config if isinstance(loaded, Network) else loaded[0]).encoding
    data = open_data(folder)
    train, val, test = (cached(part, roomy(encoding, 1), cache) for part in (data.train, data.val, data.test))
    return baselines.accuracies(train, val, test, encoding)


def steps(path: Path, examples: Examples) -> list[tuple[str, Share]]:
    """Accuracy after each step of quantisation; only the last four are of a network that was trained as it is quantised.

    Parameters
    ----------
    path : Path
        Float checkpoint ``NAME_float``, beside ``NAME_qat``.
    examples : Examples
        Clips to judge on.
    """
    net = load_checkpoint(path)
    if net.quant:
        raise ModelError(f"'{path}' is quantised already; give the float checkpoint")
    trained = load_checkpoint(path.with_name(path.name.replace("_float", "_qat")))
    found = [("float", net), ("batch norm folded, 16-bit weights, residual of 24 bits", fold(net, FINE))]
    for bits in (8, 4):
        found.append((f"{bits}-bit weights, residual of 16 bits, not trained so", fold(net, Quantisation(weight_bits=bits))))
    assert trained.quant
    q = trained.quant
    found.append((f"{q.weight_bits}-bit weights, residual of {q.u_bits} bits (u_frac {q.u_frac}), trained so", trained))
    for bits, fraction in ((12, 6), (8, 4), (8, 3)):
        other = build(trained.config, replace(q, u_bits=bits, u_frac=fraction))
        other.load_state_dict(trained.state_dict())
        other.constrain()
        found.append((f"the same, residual of {bits} bits (u_frac {fraction})", other))
    labels = torch.from_numpy(examples.labels)
    return [(name, Share(int((predict(x, examples).argmax(1) == labels).sum()), len(labels))) for name, x in found]


def load_any(path: Path) -> tuple[str, Loaded]:
    """Kind and content of a checkpoint or model file.

    Raises
    ------
    ModelError
        If it is neither, or damaged.
    """
    try:
        with safe_open(str(path), framework="numpy") as file:
            keys = set(file.metadata() or {})
    except (OSError, SafetensorError) as error:
        raise ModelError(f"cannot read '{path}': {error}") from error
    if "model" in keys:
        return "integer", integer.load(path)
    net = load_checkpoint(path)
    return "quantised" if net.quant else "float", net
