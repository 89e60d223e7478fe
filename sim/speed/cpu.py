"""The same network on the CPU of this host: its quantised and its float twin in PyTorch, and the integer golden model."""

from __future__ import annotations

import time
from collections.abc import Callable, Sequence
from functools import partial
from itertools import cycle
from pathlib import Path
from statistics import median

import torch

from golden.integer import network
from golden.models.checkpoint import load_checkpoint
from golden.models.network import Network, as_input
from sw.model_file import ModelFile
from sw.packing import Array

TWINS = {"quantised": "PyTorch, quantised (bit-exact)", "float": "PyTorch, float"}
RUNS = 5
_SUFFIX = {"quantised": "_qat", "float": "_float"}


def twin(model: Path, kind: str) -> Path:
    """Checkpoint of a model's quantised or float twin: ``NAME_qat`` and ``NAME_float`` lie beside ``NAME``."""
    return model.with_name(f"{model.stem}{_SUFFIX[kind]}{model.suffix}")


def seconds(model: Path, source: ModelFile, clips: Sequence[Array]) -> dict[str, float]:
    """Seconds a clip, one clip at a time, median of `RUNS`; of the twins that exist, and of the integer golden model.

    Parameters
    ----------
    model : Path
        Model file, beside which its twins may lie.
    source : ModelFile
        What is in it.
    clips : sequence of [T, H, W, C] uint8
        At least one; they take turns.
    """
    found = {}
    for kind, name in TWINS.items():
        if (path := twin(model, kind)).is_file():
            net = load_checkpoint(path)
            found[f"{name}, {torch.get_num_threads()} thread(s)"] = _time(partial(_torch, net), clips)
    found["integer golden model, NumPy"] = _time(partial(network.run, source.model, source.tensors), clips)
    return found


@torch.no_grad()
def _torch(net: Network, clip: Array) -> None:
    net(as_input(clip[None], net.config.encoding))


def _time(run: Callable[[Array], object], clips: Sequence[Array]) -> float:
    run(clips[0])  # first use allocates
    taken = []
    for _, clip in zip(range(RUNS), cycle(clips), strict=False):
        begin = time.perf_counter()
        run(clip)
        taken.append(time.perf_counter() - begin)
    return median(taken)


def cpu_name(path: Path = Path("/proc/cpuinfo")) -> str:
    """Model of this host's CPU, as Linux says it."""
    lines = path.read_text(encoding="utf-8").splitlines() if path.exists() else []
    return next((x.partition(":")[2].strip() for x in lines if x.startswith("model name")), "unknown CPU")
