"""What simple models know: from one frame, from all frames without their order, and from motion.

A network is worth its spikes where it is better than these. Features are ordinary and strong: histograms of oriented
gradients (HOG; Dalal and Triggs, 2005), and of the speed of edges, which is the part of optical flow that two frames tell
about a single pixel (Horn and Schunck, 1981). The classifier, a linear or an RBF support vector machine, is chosen on
validation clips, never on test clips.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, replace

import numpy as np
from numpy.typing import NDArray

from golden.data import digit_motion
from golden.data.cache import Clips
from golden.encoding import Frames, prepare
from golden.spec.encoding import EVENTS, Encoding

Features = NDArray[np.float32]
Labels = NDArray[np.int64]

GRID = 8  #: cells along each side of a picture


@dataclass(frozen=True)
class Score:
    """Accuracies of one baseline on digit motion's test clips."""

    name: str
    overall: float  #: over all 8 classes; chance is 1/8, perfect knowledge of the pair alone gives 1/2
    pair: float  #: of the pair; chance is 1/4
    within: float  #: between the two classes of the true pair; chance is 1/2


def pooled(x: NDArray[np.floating], cells: int = GRID) -> Features:
    """Mean over each of ``cells`` x ``cells`` parts: [..., h, w] -> [..., cells, cells]; h and w are multiples of it."""
    *lead, h, w = x.shape
    return x.reshape(*lead, cells, h // cells, cells, w // cells).mean(axis=(-3, -1), dtype=np.float32)


def directions(size: NDArray[np.floating], angle: NDArray[np.floating], bins: int, cells: int) -> Features:
    """Histogram of angles (in turns), weighted by size, in every cell: [..., h, w] -> [..., cells, cells, bins]."""
    index = (angle % 1 * bins).astype(np.int8) % bins
    return np.stack([pooled(np.where(index == i, size, 0), cells) for i in range(bins)], axis=-1)


def hog(frames: Frames) -> Features:
    """Histograms of 9 undirected gradients in 8 x 8 cells, in blocks of 2 x 2 of length one: [..., h, w] -> [..., 1764]."""
    x = np.sqrt(frames.astype(np.float32) / 255)
    dy, dx = np.gradient(x, axis=(-2, -1))
    cells = directions(np.hypot(dy, dx), np.arctan2(dy, dx) / np.pi, 9, GRID)
    blocks = np.concatenate([cells[..., i : GRID - 1 + i, j : GRID - 1 + j, :] for i in (0, 1) for j in (0, 1)], axis=-1)
    blocks = np.minimum(blocks / (np.linalg.norm(blocks, axis=-1, keepdims=True) + 1e-2), 0.2)
    return blocks.reshape(*frames.shape[:-2], -1)


def one_frame(clip: Frames) -> Features:
    """Gradients and brightness of the middle frame."""
    return still(clip[len(clip) // 2])


def still(frames: Frames) -> Features:
    """Gradients and brightness: [..., h, w] -> [..., 1828]."""
    light = pooled(frames / np.float32(255)).reshape(*frames.shape[:-2], -1)
    return np.concatenate([unit(hog(frames)), unit(light)], axis=-1)


def frame_set(clip: Frames) -> Features:
    """Mean, spread and maximum of those of all frames: the same in any order."""
    x = np.sort(still(clip), axis=0)  # sums of floats, too, are then the same in any order
    return np.concatenate([unit(part) for part in (x.mean(axis=0), x.std(axis=0), x.max(axis=0))])


def motion(clip: Frames) -> Features:
    """Gradients of the middle frame, and which way edges move in 4 x 4 cells in each third of the clip."""
    x = clip.astype(np.float32) / 255
    change, mean = x[1:] - x[:-1], (x[1:] + x[:-1]) / 2
    dy, dx = np.gradient(mean, axis=(1, 2))
    speed = change / (dx * dx + dy * dy + 0.002)  # along the gradient; the constant quiets flat, noisy places
    angle = np.arctan2(-speed * dy, -speed * dx) / (2 * np.pi)
    flow = directions(np.abs(speed) * np.hypot(dy, dx), angle, 8, GRID // 2)
    thirds = np.concatenate([part.mean(axis=0).ravel() for part in np.array_split(flow, 3)])
    return np.concatenate([unit(hog(clip[len(clip) // 2])), unit(np.sqrt(thirds))])


def event_picture(counts: Frames) -> Features:
    """Number of events of every pixel: [1, h, w, 2] -> [h * w * 2]."""
    return unit(np.sqrt(counts.astype(np.float32)).ravel())


def unit(x: Features) -> Features:
    """Vectors [..., n] of length one (or nearly zero)."""
    return x / (np.linalg.norm(x, axis=-1, keepdims=True) + np.float32(1e-6))


FEATURES: dict[str, Callable[[Frames], Features]] = {"one frame": one_frame, "frames, order hidden": frame_set, "motion": motion}
EVENT_FEATURES: dict[str, Callable[[Frames], Features]] = {"all events in one picture": event_picture}
VIDEO = Encoding(height=64, width=64, timesteps=16, frames=1, patch=1)  #: what the baselines see of a video


def judge(train: tuple[Features, Labels], val: tuple[Features, Labels], test: Features) -> NDArray[np.float64]:
    """Decision values [N, classes] for the test features [N, n] of the support vector machine that is best on ``val``.

    The machines, linear and RBF with three costs each, are then fitted once more, to ``train`` and ``val``.
    """
    from sklearn.svm import SVC

    def kernel(what: str, a: Features, b: Features, scale: float) -> NDArray[np.floating]:
        product = a @ b.T
        return product if what == "linear" else np.exp((2 * product - (a * a).sum(1)[:, None] - (b * b).sum(1)[None, :]) / scale)

    def fitted(what: str, cost: float, x: Features, labels: Labels, others: Features) -> NDArray[np.float64]:
        scale = float(2 * x.var(axis=0).sum())  # mean square of the distance of two clips
        machine = SVC(C=cost, kernel="precomputed").fit(kernel(what, x, x, scale), labels)
        values = machine.decision_function(kernel(what, others, x, scale))
        decision = np.full((len(others), classes), -np.inf)  # a class without clips is never chosen
        decision[:, machine.classes_] = values if values.ndim == 2 else np.stack([-values, values], axis=1)
        return decision

    classes = int(max(train[1].max(), val[1].max())) + 1
    choices = [(what, cost) for what in ("linear", "rbf") for cost in (0.3, 1.0, 4.0)]
    right = [(fitted(*choice, *train, val[0]).argmax(axis=1) == val[1]).mean() for choice in choices]
    both = np.concatenate([train[0], val[0]]), np.concatenate([train[1], val[1]])
    return fitted(*choices[int(np.argmax(right))], *both, test)


def baselines(train: int = 2400, test: int = 720, seed: int = 1) -> list[Score]:
    """What can be known of digit motion: nothing about which class of a pair a clip is, unless the order is seen."""
    parts = [digit_motion.make("train", train, seed), digit_motion.make("val", train // 5), digit_motion.make("test", test)]
    scores = []
    for name, feature in FEATURES.items():
        x = [np.stack([feature(clip) for clip in clips]) for clips, _ in parts]
        scores.append(score(name, judge((x[0], parts[0][1]), (x[1], parts[1][1]), x[2]), parts[2][1]))
    return scores


def score(name: str, decision: NDArray[np.floating], labels: Labels) -> Score:
    """Accuracies from decision values [N, 8]."""
    rows = np.arange(len(labels))
    pairs = decision.reshape(len(labels), len(digit_motion.CLASSES) // 2, 2).max(axis=2)
    return Score(
        name=name,
        overall=float((decision.argmax(axis=1) == labels).mean()),
        pair=float((pairs.argmax(axis=1) == labels // 2).mean()),
        within=float((decision[rows, labels] > decision[rows, labels ^ 1]).mean()),
    )


def accuracies(train: Clips, val: Clips, test: Clips, encoding: Encoding) -> dict[str, float]:
    """Accuracy of each baseline on the test clips of a data set.

    Parameters
    ----------
    train, val, test : Clips
        Out of the cache, in any storage. All clips of ``train`` and ``val`` are learned from in the end.
    encoding : Encoding
        Of the network that is compared; of events it gives the sensor, of frames the part of the picture that is seen.
    """
    if encoding.kind == EVENTS:
        seen, features = replace(encoding, timesteps=1, bits=8), EVENT_FEATURES
    else:
        seen, features = replace(VIDEO, fit=encoding.fit, stride=encoding.stride), FEATURES
    found = {}
    for name, feature in features.items():
        x = [np.stack([feature(prepare(clip, seen)) for clip in clips]) for clips in (train, val, test)]
        decision = judge((x[0], train.labels), (x[1], val.labels), x[2])
        found[name] = float((decision.argmax(axis=1) == test.labels).mean())
    return found
