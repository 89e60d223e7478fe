"""A folder of videos or event recordings as a data set: classes, the official split, and where each clip comes from.

Layouts, told apart by their list files (in the folder or one below); docs/data.md shows each:

- ``ucf101``: ``classInd.txt``, ``trainlist0N.txt``, ``testlist0N.txt``.
- ``hmdb51``: ``<class>_test_splitN.txt`` with 1 for training, 2 for test and 0 for neither, as in J-HMDB's own distribution.
- ``lists``: ``train.txt`` (and ``test.txt``) with lines ``class/file``.
- ``nmnist``: ``train.txt`` (and ``test.txt``) with lines ``number class`` for ``number.bs2``.
- ``dvsgesture``: ``trials_to_train.txt``, ``trials_to_test.txt``; a recording's labels are in ``<name>_labels.csv``.
- ``folders``: ``<class>/<file>``, or that below ``train`` and ``test``.

Clips cut out of one recording look alike, so none may be trained on and judged by another. Validation clips (and test
clips, where no list names them) are therefore cut out of the training part by source.
"""

from __future__ import annotations

import csv
import re
from collections import Counter
from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from golden.data import events, video
from golden.encoding import DataError

SUFFIXES = video.SUFFIXES + events.SUFFIXES
TEST_SHARE = 0.2  #: of the clips, where no list names the test part

#: Classes 1 to 11 of DVS128-Gesture, as its ``gesture_mapping.csv`` calls them.
GESTURES = ("hand_clapping", "right_hand_wave", "left_hand_wave", "right_arm_clockwise", "right_arm_counter_clockwise",
            "left_arm_clockwise", "left_arm_counter_clockwise", "arm_roll", "air_drums", "air_guitar", "other_gestures")


@dataclass(frozen=True)
class Item:
    """One clip: its file, class, the recording it was cut from, and which microseconds of the file it is (None: all)."""

    path: Path
    label: int
    source: str
    span: tuple[int, int] | None = None


@dataclass(frozen=True, kw_only=True)
class DataSet:
    """The clips of a folder. Nothing is decoded yet."""

    layout: str
    classes: tuple[str, ...]
    train: tuple[Item, ...]
    val: tuple[Item, ...]  #: out of the official training part; has no source in common with ``train``
    test: tuple[Item, ...]
    seed: int  #: of the cut
    missing: tuple[str, ...]  #: files that a list names but that are not there

    @property
    def overlap(self) -> tuple[str, ...]:
        """Sources on both sides of the official split: what makes its test easier than it should be."""
        return tuple(sorted({x.source for x in (*self.train, *self.val)} & {x.source for x in self.test}))

    def __str__(self) -> str:
        """One line for logs and model cards."""
        clips = f"{len(self.train)} training, {len(self.val)} validation (seed {self.seed}), {len(self.test)} test clips"
        return (f"{self.layout}: {len(self.classes)} classes; {clips}; {len(self.overlap)} sources in training and test; "
                f"{len(self.missing)} files missing")


def labels(items: Iterable[Item]) -> NDArray[np.int64]:
    """Classes [N] of clips."""
    return np.array([item.label for item in items], np.int64)


def open_data(folder: str | Path, split: int = 1, val: float = 0.1, seed: int = 0) -> DataSet:
    """Find out what a folder holds.

    Parameters
    ----------
    folder : path
        Of the data set.
    split : int
        Number of the official split, where there are several.
    val : float
        Share of the training clips of every class that are kept for validation, below 0.5.
    seed : int
        Which ones.

    Raises
    ------
    DataError
        If the folder is none of the layouts, a list is damaged, or a part would be empty.
    """
    root = Path(folder)
    if not root.is_dir():
        raise DataError(f"no folder '{folder}'")
    for layout, read in LAYOUTS.items():
        try:
            found = read(root, split)
        except DataError:
            raise
        except (ValueError, LookupError) as error:
            raise DataError(f"'{folder}' looks like {layout}, but a list is damaged: {error}") from error
        if found:
            break
    else:
        raise DataError(f"'{folder}' is none of the layouts {', '.join(LAYOUTS)}: no list files, and no <class>/<file> with "
                        f"one of {', '.join(SUFFIXES)}")
    classes, train, test = found
    missing = tuple(str(x.path) for x in (*train, *(test or ())) if not x.path.is_file())
    train = [x for x in train if x.path.is_file()]
    if test is None:
        train, test = cut(train, TEST_SHARE, seed)
    test = [x for x in test if x.path.is_file()]
    train, kept = cut(train, val, seed)
    for name, part in (("training", train), ("validation", kept), ("test", test)):
        if not part:
            raise DataError(f"'{folder}' ({layout}): no {name} clips; {len(missing)} listed files are missing")
    return DataSet(
        layout=layout, classes=classes, train=tuple(train), val=tuple(kept), test=tuple(test), seed=seed, missing=missing,
    )


def cut(items: list[Item], share: float, seed: int) -> tuple[list[Item], list[Item]]:
    """Two parts that have no source in common; the second has about ``share`` of each class, but never all of its sources."""
    if not 0 < share < 0.5:
        raise DataError(f"a share of {share} for validation is not between 0 and 0.5")
    clips = Counter((x.source, x.label) for x in items)
    of_label: dict[int, list[str]] = {}
    for source, label in sorted(clips):
        of_label.setdefault(label, []).append(source)
    rng = np.random.default_rng(seed)
    taken: set[str] = set()
    for label, sources in sorted(of_label.items()):
        wanted = share * sum(clips[source, label] for source in sources)
        have = sum(clips[source, label] for source in sources if source in taken)
        for source in rng.permutation(np.array(sources, object)):
            others = [x for x in of_label.values() if source in x]  # classes that would lose it
            closer = have + clips[source, label] / 2 <= wanted
            if source not in taken and closer and all(set(x) - taken - {source} for x in others):
                taken.add(source)
                have += clips[source, label]
    return [x for x in items if x.source not in taken], [x for x in items if x.source in taken]


def source(path: Path, name: str) -> str:
    """Recording that a clip was cut from: UCF101's class and group, the title before HMDB51's ``_<class>_``, else the file."""
    group = re.fullmatch(r"v_(.+)_c\d+", path.stem)
    if group:
        return group[1]
    return path.stem.rpartition(f"_{name}_")[0] or path.stem


Found = tuple[tuple[str, ...], list[Item], list[Item] | None]  #: classes, training and test clips (None: no list says)


def _lines(path: Path) -> list[str]:
    """Lines of a list file that are neither empty nor comments."""
    try:
        text = path.read_text(encoding="utf-8")
    except (OSError, ValueError) as error:
        raise DataError(f"cannot read list '{path}': {error}") from error
    return [line.strip() for line in text.splitlines() if line.strip() and not line.startswith("#")]


def _lists(root: Path, pattern: str) -> list[Path]:
    """Files of that name in the folder or, if there are none, one below."""
    return sorted(root.glob(pattern)) or sorted(root.glob("*/" + pattern))


def _home(root: Path, name: str) -> Path:
    """The folder, it or one below, in which the class ``name`` has its own."""
    return next((x for x in (root, *sorted(root.iterdir())) if (x / name).is_dir()), root)


def _clips(root: Path, names: Iterable[str], classes: tuple[str, ...], lists: str) -> list[Item]:
    """Clips of a list of ``class/file``."""
    home = _home(root, classes[0])
    found = []
    for name in names:
        label, _, file = name.partition("/")
        if label not in classes or not file or "/" in file:
            raise DataError(f"list {lists} names '{name}', which is not <class>/<file> of one of {len(classes)} classes")
        found.append(Item(home / label / file, classes.index(label), source(Path(file), label)))
    return found


def _ucf101(root: Path, split: int) -> Found | None:
    if not (index := _lists(root, "classInd.txt")):
        return None
    classes = tuple(line.split()[-1] for line in sorted(_lines(index[0]), key=lambda x: int(x.split()[0])))
    parts = []
    for what in ("train", "test"):
        path = index[0].parent / f"{what}list{split:02}.txt"
        parts.append(_clips(root, (line.split()[0] for line in _lines(path)), classes, f"'{path}'"))
    return classes, parts[0], parts[1]


def _hmdb51(root: Path, split: int) -> Found | None:
    end = f"_test_split{split}.txt"
    if not (lists := _lists(root, "*" + end)):
        if others := _lists(root, "*_test_split?.txt"):
            raise DataError(f"no lists '*{end}', but '{others[0]}': there is no split {split}")
        return None
    classes = tuple(path.name.removesuffix(end) for path in lists)
    parts: dict[str, list[str]] = {"0": [], "1": [], "2": []}
    for name, path in zip(classes, lists, strict=True):
        for line in _lines(path):
            file, _, part = line.rpartition(" ")
            if part not in parts:
                raise DataError(f"list '{path}': '{line}' does not end in 0, 1 or 2")
            parts[part].append(f"{name}/{file.strip()}")
    what = f"'*{end}'"
    return classes, _clips(root, parts["1"], classes, what), _clips(root, parts["2"], classes, what)


def _named(root: Path, split: int) -> Found | None:
    train, test = root / "train.txt", root / "test.txt"
    if not (train.is_file() and all("/" in line for line in _lines(train))):
        return None
    classes = tuple(sorted({line.partition("/")[0] for line in _lines(train)}))
    tested = _clips(root, _lines(test), classes, f"'{test}'") if test.is_file() else None
    return classes, _clips(root, _lines(train), classes, f"'{train}'"), tested


def _nmnist(root: Path, split: int) -> Found | None:
    if not (root / "train.txt").is_file():
        return None
    digits = tuple("0123456789")
    parts: list[list[Item]] = []
    for path in (root / "train.txt", root / "test.txt"):
        pairs = [line.split() for line in _lines(path)] if path.is_file() else []
        if not all(len(pair) == 2 and pair[0].isdigit() and pair[1] in digits for pair in pairs):
            raise DataError(f"list '{path}': a line is neither class/file nor a number and its class 0 to 9")
        parts.append([Item(root / f"{number}.bs2", int(digit), number) for number, digit in pairs])
    return digits, parts[0], parts[1] or None


def _dvsgesture(root: Path, split: int) -> Found | None:
    if not (root / "trials_to_train.txt").is_file():
        return None
    parts = []
    for what in ("train", "test"):
        items = []
        for name in _lines(root / f"trials_to_{what}.txt"):
            path = root / Path(name).name
            table = path.with_name(path.stem + "_labels.csv")
            try:
                with table.open(newline="", encoding="utf-8") as file:
                    for row in csv.DictReader(file):
                        span = int(row["startTime_usec"]), int(row["endTime_usec"])
                        label = int(row["class"]) - 1
                        if not 0 <= label < len(GESTURES) or span[0] >= span[1]:
                            raise DataError(f"labels '{table}': class {label + 1} from {span[0]} to {span[1]} us cannot be")
                        items.append(Item(path, label, path.stem.partition("_")[0], span))
            except (OSError, ValueError, KeyError, TypeError) as error:
                raise DataError(f"cannot read labels '{table}' with class, startTime_usec, endTime_usec: {error}") from error
        parts.append(items)
    return GESTURES, parts[0], parts[1]


def _folders(root: Path, split: int) -> Found | None:
    parts = {x.name.lower(): x for x in root.iterdir() if x.is_dir()}
    if {"train", "test"} <= parts.keys():
        train, test = _tree(parts["train"]), _tree(parts["test"])
        classes = tuple(sorted({name for name, _ in train}))
        if strange := {name for name, _ in test} - set(classes):
            raise DataError(f"'{parts['test']}' has classes that '{parts['train']}' has not: {', '.join(sorted(strange))}")
    else:
        train, test = _tree(root), []
        classes = tuple(sorted({name for name, _ in train}))
    items = [[Item(path, classes.index(name), source(path, name)) for name, path in part] for part in (train, test)]
    return (classes, items[0], items[1] or None) if classes else None


def _tree(root: Path) -> list[tuple[str, Path]]:
    """Class and path of every ``<class>/<file>`` with a known suffix."""
    return [(x.parent.name, x) for x in sorted(root.glob("*/*")) if x.suffix.lower() in SUFFIXES and x.is_file()]


LAYOUTS = {
    "ucf101": _ucf101, "hmdb51": _hmdb51, "lists": _named, "nmnist": _nmnist, "dvsgesture": _dvsgesture, "folders": _folders,
}
