"""Labelled clips as a network is trained and judged on them: decoded, augmented, encoded."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import NamedTuple, Protocol

import numpy as np
from numpy.typing import NDArray

from golden.data import digit_motion
from golden.data.augment import WHOLE, Augmentation, Box, augment
from golden.data.cache import Clips, cached, exact, roomy
from golden.data.folder import Item, open_data
from golden.encoding import encode, prepare, sample
from golden.spec.encoding import EVENTS, RGB, Encoding
from golden.spec.model import ModelError

PARTS = ("train", "val", "test")
TEST = 720  #: clips of digit motion


class Seen(NamedTuple):
    """One clip as the network sees it."""

    x: NDArray[np.uint8]  #: [T, H, W, C]
    at: NDArray[np.float64]  #: [T], where in the clip each frame is from, 0 to 1
    flipped: bool
    box: Box = WHOLE  #: part of the picture that it shows


class Examples(ABC):
    """Clips of one part of a data set."""

    @property
    @abstractmethod
    def labels(self) -> NDArray[np.int64]:
        """Classes [N]."""

    @property
    @abstractmethod
    def names(self) -> Sequence[str]:
        """Of clips."""

    @property
    @abstractmethod
    def sources(self) -> Sequence[str]:
        """Recordings that they are cut from."""

    @abstractmethod
    def see(self, i: int, rng: np.random.Generator | None) -> Seen:
        """Clip ``i``; with a generator it is augmented, always in the same way for the same state."""

    def __len__(self) -> int:
        """Number of clips."""
        return len(self.labels)


@dataclass(frozen=True)
class Folder(Examples):
    """Clips of a folder, out of the cache."""

    clips: Clips
    encoding: Encoding
    augmentation: Augmentation | None

    @property
    def labels(self) -> NDArray[np.int64]:
        """Classes [N]."""
        return self.clips.labels

    @property
    def names(self) -> list[str]:
        """File names."""
        return [x.path.name for x in self.clips.items]

    @property
    def sources(self) -> list[str]:
        """Recordings."""
        return [x.source for x in self.clips.items]

    def see(self, i: int, rng: np.random.Generator | None) -> Seen:
        """See `Examples`."""
        clip, encoding, name, flipped, box = self.clips[i], self.encoding, str(self.clips.items[i].path), False, WHOLE
        count = encoding.timesteps if encoding.kind == EVENTS else len(clip)
        if rng is not None and self.augmentation:
            frames, at, flipped, box = augment(clip, rng, self.augmentation, encoding, name)
        else:
            frames, at = prepare(clip, encoding, name), sample(count, encoding, name)
        return Seen(encode(frames, encoding), at / max(count - 1, 1), flipped, box)


@dataclass(frozen=True)
class Digits(Examples):
    """Clips of the built-in set, which are made with all their variety and need no augmentation."""

    frames: NDArray[np.uint8]  #: [N, T, 32, 32]
    classes: NDArray[np.int64]  #: [N]
    encoding: Encoding

    @property
    def labels(self) -> NDArray[np.int64]:
        """Classes [N]."""
        return self.classes

    @property
    def names(self) -> list[str]:
        """Numbers."""
        return [f"{i:04}" for i in range(len(self.labels))]

    @property
    def sources(self) -> list[str]:
        """Each clip is its own."""
        return self.names

    def see(self, i: int, rng: np.random.Generator | None) -> Seen:
        """See `Examples`."""
        clip = self.frames[i]
        if self.encoding.kind == RGB:
            clip = np.repeat(clip[..., None], 3, axis=3)
        return Seen(encode(prepare(clip, self.encoding), self.encoding), np.linspace(0, 1, self.encoding.timesteps), False)


@dataclass(frozen=True)
class First(Examples):
    """The first clips of a part."""

    examples: Examples
    count: int

    @property
    def labels(self) -> NDArray[np.int64]:
        """Classes [N]."""
        return self.examples.labels[: self.count]

    @property
    def names(self) -> Sequence[str]:
        """Of clips."""
        return self.examples.names[: self.count]

    @property
    def sources(self) -> Sequence[str]:
        """Recordings."""
        return self.examples.sources[: self.count]

    def see(self, i: int, rng: np.random.Generator | None) -> Seen:
        """See `Examples`."""
        return self.examples.see(i, rng)


class HasData(Protocol):
    """A trained network, or its configuration: what it sees and tells."""

    @property
    def encoding(self) -> Encoding:
        """How a clip becomes its input."""

    @property
    def classes(self) -> tuple[str, ...]:
        """Names of the classes."""


@dataclass(frozen=True)
class Data:
    """All parts of a data set, and what a model card says of it."""

    parts: dict[str, Examples]  #: by name, of `PARTS`
    classes: tuple[str, ...]
    card: str
    broken: tuple[str, ...]  #: why clips were left out
    trained: frozenset[str]  #: recordings that training or validation clips are cut from


@dataclass(frozen=True, kw_only=True)
class Choice:
    """Which data, and what is done to it."""

    data: str = "folder"  #: or ``digit-motion``, the built-in set
    margin: float = 1.5  #: clips to be augmented are stored so many times larger than the network sees them
    pool: int = 8192  #: different training clips of digit motion
    val_pool: int = 512  #: and validation clips
    val: float = 0.1  #: share of the training clips on which the best epoch is chosen
    seed: int = 1
    augmentation: Augmentation | None = None


def open_examples(choice: Choice, encoding: Encoding, folder: Path | None, cache: Path, parts: Sequence[str] = PARTS) -> Data:
    """The parts of a data set; clips that are not in the cache yet are decoded now.

    Parameters
    ----------
    choice : Choice
        Which data, how large it is stored, how it is augmented.
    encoding : Encoding
        Of the network.
    folder : path, optional
        Of the data set; not needed for the built-in one.
    cache : path
        Folder of decoded clips.
    parts : sequence of str
        Those that are needed; training clips are stored larger than others.

    Raises
    ------
    golden.encoding.DataError
        If there is no folder, or nothing in it that can be used.
    """
    if choice.data == "digit-motion":
        counts = {"train": choice.pool, "val": choice.val_pool, "test": TEST}
        made = {part: digit_motion.make(part, counts[part], choice.seed if part == "train" else 0) for part in parts}
        card = f"digit motion, {choice.pool} training clips from {len(digit_motion.split_digits('train'))} digits"
        return Data({k: Digits(*v, encoding) for k, v in made.items()}, digit_motion.CLASSES, card, (), frozenset())
    data = open_data(folder or "", val=choice.val)
    every: dict[str, Examples] = {}
    broken = [f"{x}: no such file" for x in data.missing]
    for part in parts:
        items: tuple[Item, ...] = getattr(data, part)
        augmented = part == "train" and choice.augmentation
        clips = cached(items, roomy(encoding, choice.margin) if augmented else exact(encoding), cache)
        every[part] = Folder(clips, encoding, choice.augmentation if part == "train" else None)
        broken += [f"{item.path}: {why}" for item, why in clips.broken]
    return Data(every, data.classes, str(data), tuple(broken), frozenset(x.source for x in (*data.train, *data.val)))



def open_for(model: HasData, folder: Path | None, cache: Path, part: str, clips: int | None = None) -> Data:
    """One part of a data set as a trained network sees it, nothing augmented; without a folder, of digit motion.

    Raises
    ------
    ModelError
        If the data's classes are not the network's.
    golden.encoding.DataError
        As `open_examples`.
    """
    data = open_examples(Choice(data="folder" if folder else "digit-motion"), model.encoding, folder, cache, [part])
    if data.classes != model.classes:
        mine, others = (f"{len(x)} classes ({', '.join(x[:3])}, ..)" for x in (model.classes, data.classes))
        hint = "" if folder else "; give the folder of its data, --data DIR"
        raise ModelError(f"the network tells {mine}, the data has {others}{hint}")
    return data if clips is None else replace(data, parts={part: First(data.parts[part], clips)})
