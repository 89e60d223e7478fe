"""QAT network against integer model: every spike, residual value and logit of every layer must be equal."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

import numpy as np
import torch

from golden.data.digit_motion import Clips
from golden.integer import network
from golden.integer.encode import encode as encode_frames
from golden.models.svformer_nano import SVFormerNano, as_integers, encode
from golden.spec.model import Model


@dataclass(frozen=True)
class Divergence:
    """First value that differs, in the order in which layers run."""

    clip: int
    layer: str
    tensor: str
    t: int
    y: int
    x: int
    channel: int
    found: int
    integer: int
    who: str  #: what is compared with the integer model

    def __str__(self) -> str:
        return (f"clip {self.clip}: layer '{self.layer}', tensor '{self.tensor}' at t={self.t} y={self.y} x={self.x} "
                f"channel={self.channel}: {self.who} {self.found}, integer {self.integer}")


def first_divergence(
    model: Model, found: Mapping[str, np.ndarray], integer: Mapping[str, np.ndarray], clip: int = 0, who: str = "QAT"
) -> Divergence | None:
    """Compare two runs of one clip, both tensors by name, [T, H, W, C] each; None if they are equal."""
    for layer in model.layers:
        for name in (layer.u_out, layer.spike_out, layer.name if layer is model.layers[-1] else ""):
            if name and not np.array_equal(found[name], integer[name]):
                t, y, x, c = np.argwhere(found[name] != integer[name])[0].tolist()
                values = int(found[name][t, y, x, c]), int(integer[name][t, y, x, c])
                return Divergence(clip, layer.name, name, t, y, x, c, *values, who)
    return None


@torch.no_grad()
def compare(
    qat: SVFormerNano, model: Model, tensors: network.Tensors, clips: Clips, batch: int = 32
) -> tuple[int, Divergence | None]:
    """Run both on all clips; number of values that were equal, and the first that was not.

    Parameters
    ----------
    qat : SVFormerNano
        Quantised network.
    model, tensors
        Integer model.
    clips : [N, T, H, W] uint8
        Grey frames.
    batch : int
        Clips that the network sees at once.
    """
    qat.eval()
    equal = 0
    for first in range(0, len(clips), batch):
        x = encode_frames(clips[first : first + batch], model.encoding)
        taps: dict[str, torch.Tensor] = {}
        qat(encode(x), taps)
        values = as_integers(qat, taps)
        for i in range(len(x)):
            known = network.run(model, tensors, x[i])
            mine = {name: value[i].reshape(known[name].shape) for name, value in values.items()}
            if difference := first_divergence(model, mine, known, first + i):
                return equal, difference
            equal += sum(value.size for value in mine.values())
    return equal, None


@dataclass(frozen=True)
class IntegerScore:
    """The integer model on a set of clips."""

    right: int
    clips: int
    rates: dict[str, float]  #: share of set bits of every spike tensor
    counts: dict[str, network.Count]  #: sums over the clips

    @property
    def accuracy(self) -> float:
        """Share of the clips that get their class."""
        return self.right / self.clips


def integer_score(model: Model, tensors: network.Tensors, clips: Clips, labels: np.ndarray) -> IntegerScore:
    """Classify every clip with the integer model; count spikes, operations and saturations."""
    counts: dict[str, network.Count] = {}
    rates = {layer.spike_out: 0.0 for layer in model.layers if layer.spike_out}
    right = 0
    for clip, label in zip(encode_frames(clips, model.encoding), labels, strict=True):
        known = network.run(model, tensors, clip, counts)
        right += network.classify(model, known) == label
        for name in rates:
            rates[name] += float(known[name].mean()) / len(clips)
    return IntegerScore(right, len(clips), rates, counts)
