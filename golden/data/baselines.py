"""What can be known without the order of frames: nothing about which class of a pair a clip is.

Each baseline sees one frame, or a set of frames whose order is hidden, and gets strong ordinary features: the pixels and
histograms of oriented gradients. A control that may see the order shows that the features are not the limit.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from golden.data.digit_motion import CLASSES, Clips, make

Features = NDArray[np.float32]


@dataclass(frozen=True)
class Score:
    """Accuracies of one baseline on test clips."""

    name: str
    overall: float  #: over all 8 classes; chance is 1/8, perfect knowledge of the pair alone gives 1/2
    pair: float  #: of the pair; chance is 1/4
    within: float  #: between the two classes of the true pair; chance is 1/2


def gradients(frames: NDArray[np.number]) -> Features:
    """Histogram of 8 gradient directions in each 8 x 8 cell: [..., H, W] -> [..., 128]."""
    x = frames.astype(np.float32) / 255
    dy, dx = np.gradient(x, axis=(-2, -1))
    size, bins = np.hypot(dy, dx), ((np.arctan2(dy, dx) / (2 * np.pi) + 1) * 8).astype(int) % 8
    *lead, height, width = x.shape
    cells = [
        np.where(bins == i, size, 0).reshape(*lead, height // 8, 8, width // 8, 8).sum(axis=(-3, -1)).reshape(*lead, -1)
        for i in range(8)
    ]
    return np.sqrt(np.concatenate(cells, axis=-1))


def one_frame(clips: Clips) -> Features:
    """Pixels (halved in size) and gradients of the first frame."""
    first = clips[:, 0]
    small = first.reshape(len(first), 16, 2, 16, 2).mean(axis=(2, 4)).reshape(len(first), -1) / 255
    return np.concatenate([small, gradients(first)], axis=1).astype(np.float32)


def frame_set(clips: Clips) -> Features:
    """Mean, maximum, spread and sorted quartiles over the frames of pixels and gradients: the same in any order."""
    n, t = clips.shape[:2]
    small = clips.reshape(n, t, 8, 4, 8, 4).mean(axis=(3, 5)).reshape(n, t, -1) / 255
    x = np.sort(np.concatenate([small, gradients(clips)], axis=2), axis=1)
    parts = (x.mean(axis=1), x.std(axis=1), *(x[:, i] for i in (0, 4, 8, 12, 15)))
    return np.concatenate(parts, axis=1).astype(np.float32)


def ordered(clips: Clips) -> Features:
    """Gradients times the change to the next frame: a control that sees the order."""
    x = clips.astype(np.float32) / 255
    change = x[:, 1:] - x[:, :-1]
    n, t = change.shape[:2]
    maps = [(np.gradient(x[:, :-1], axis=axis) * change).reshape(n, t, 8, 4, 8, 4).sum(axis=(3, 5)) for axis in (2, 3)]
    parts = [value for m in maps for value in (m.mean(axis=1), np.sort(m, axis=1)[:, t // 2])]
    return np.concatenate([value.reshape(n, -1) for value in parts], axis=1).astype(np.float32)


def baselines(train: int = 2400, test: int = 720, seed: int = 1) -> list[Score]:
    """Train a logistic regression and an SVM on each kind of feature and score them on test clips."""
    from sklearn.decomposition import PCA
    from sklearn.linear_model import LogisticRegression
    from sklearn.pipeline import make_pipeline
    from sklearn.preprocessing import StandardScaler
    from sklearn.svm import SVC

    clips, labels = make("train", train, seed)
    others, truth = make("test", test, seed)
    scores = []
    for what, features in (("one frame", one_frame), ("frames, order hidden", frame_set), ("control: order seen", ordered)):
        x, z = features(clips), features(others)
        for how, judge in (("logistic regression", LogisticRegression(C=0.1, max_iter=300)), ("SVM", SVC(C=4))):
            steps = make_pipeline(StandardScaler(), PCA(min(150, x.shape[1]), random_state=0), StandardScaler(), judge)
            decision = steps.fit(x, labels).decision_function(z)
            scores.append(score(f"{what}, {how}", decision, truth))
    return scores


def score(name: str, decision: NDArray[np.floating], labels: NDArray[np.int64]) -> Score:
    """Accuracies from decision values [N, 8]."""
    guess = decision.argmax(axis=1)
    rows = np.arange(len(labels))
    return Score(
        name=name,
        overall=float((guess == labels).mean()),
        pair=float((decision.reshape(len(labels), len(CLASSES) // 2, 2).max(axis=2).argmax(axis=1) == labels // 2).mean()),
        within=float((decision[rows, labels] > decision[rows, labels ^ 1]).mean()),
    )
