"""Blocks that stay as they are while those behind them learn: what they make of augmented clips is computed once.

The first blocks of a network with taken over weights (`golden.pretraining`) see the largest pictures and so take most of the
time, and a few hundred clips teach them little. Each clip is seen ``draws`` times, once as it is, then augmented differently,
and an epoch takes one of these.
"""

from __future__ import annotations

import json
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import nn
from tqdm import tqdm

from golden.data.augment import Box
from golden.examples import Examples, Seen
from golden.models.network import Network, as_input
from golden.spec.model import ModelError

BATCH = 8  #: clips that pass through at a time


@dataclass(frozen=True)
class Made(Examples):
    """What frozen blocks make of the clips of one part."""

    examples: Examples
    x: NDArray[np.float16]  #: [draws, N, T, H, W, C]
    at: NDArray[np.float64]  #: [draws, N, T]
    flipped: NDArray[np.bool_]  #: [draws, N]
    box: NDArray[np.float64]  #: [draws, N, 4]

    @property
    def labels(self) -> NDArray[np.int64]:
        """Classes [N]."""
        return self.examples.labels

    @property
    def names(self) -> Sequence[str]:
        """Of clips."""
        return self.examples.names

    @property
    def sources(self) -> Sequence[str]:
        """Recordings that they are cut from."""
        return self.examples.sources

    def see(self, i: int, rng: np.random.Generator | None) -> Seen:
        """One of the draws of clip ``i``; without a generator the first one, which is not augmented."""
        draw = 0 if rng is None else int(rng.integers(len(self.x)))
        box: Box = tuple(self.box[draw, i].tolist())  # type: ignore[assignment]
        return Seen(np.array(self.x[draw, i]), self.at[draw, i], bool(self.flipped[draw, i]), box)  # type: ignore[arg-type]


@contextmanager
def frozen(net: Network, blocks: int) -> Iterator[nn.Sequential]:
    """Network without its stem and its first ``blocks`` blocks, which are handed out: it sees what they make of clips.

    Raises
    ------
    ModelError
        If the network has not so many blocks.
    """
    if not 0 < blocks < getattr(net, "fork", 0):
        raise ModelError(f"'{net.config.name}' has no {blocks} blocks that could be frozen")
    chain: Any = net.chain
    front = chain[: blocks + 1]
    learning = [p for p in front.parameters() if p.requires_grad]
    for p in learning:
        p.requires_grad_(False)
    net.skip = blocks + 1
    try:
        yield front
    finally:
        net.skip = 0
        for p in learning:
            p.requires_grad_(True)


@torch.no_grad()
def made(net: Network, front: nn.Sequential, examples: Examples, draws: int, seed: int, path: Path, digest: str) -> Made:
    """What ``front`` makes of clips as they are, and of ``draws - 1`` augmented forms; kept at ``path`` for a ``digest``."""
    note = path.with_suffix(".json")
    if not note.is_file() or json.loads(note.read_text()) != digest:
        front.eval()
        count = len(examples)
        store: np.memmap | None = None
        aside: dict[str, list[Any]] = {"at": [], "flipped": [], "box": []}
        for j in tqdm(range(0, draws * count, BATCH), f"{path.stem}: frozen blocks", disable=None):
            places = [divmod(k, count) for k in range(j, min(j + BATCH, draws * count))]
            seen = [examples.see(i, np.random.default_rng([seed, 2_000_000 + draw, i]) if draw else None) for draw, i in places]
            u = _through(net, front, np.stack([x.x for x in seen])).permute(1, 0, 3, 4, 2)  # [B, T, H, W, C]
            if store is None:
                shape = (draws * count, *u.shape[1:])
                store = np.lib.format.open_memmap(path.with_suffix(".part"), "w+", np.float16, shape)
            store[j : j + len(u)] = u.half().cpu().numpy()
            for x in seen:
                for name, values in aside.items():
                    values.append(getattr(x, name))
        assert store is not None
        store.flush()
        path.with_suffix(".part").replace(path)
        np.savez(path.with_suffix(".npz"), at=aside["at"], flipped=aside["flipped"], box=aside["box"])
        note.write_text(json.dumps(digest))
    x = np.load(path, mmap_mode="r")
    with np.load(path.with_suffix(".npz")) as file:
        parts = [v.reshape(-1, len(examples), *v.shape[1:]) for v in (x, *(file[k] for k in ("at", "flipped", "box")))]
    return Made(examples, *parts)


def _through(net: Network, front: nn.Sequential, x: NDArray[np.uint8]) -> torch.Tensor:
    return front(as_input(x, net.config.encoding).to(next(front.parameters()).device))
