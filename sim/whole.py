"""Whole clips, four ways: quantised torch = integer golden = golden device = Verilated RTL, at every layer boundary.

``python -m sim.whole --preset small --clips 64`` runs clips in several processes and writes each one that is equal to
build/PRESET/verified.jsonl. Started again, after a kill or with more clips, it goes on from there, as long as model, hardware
and software are the same. At the end stand accuracy, cycles and one digest of everything that the RTL made; exit code 1
at the first value that differs.
"""

from __future__ import annotations

import argparse
import hashlib
import json
import os
import shlex
import sys
import threading
import time
from collections.abc import Iterator, Sequence
from concurrent.futures import ProcessPoolExecutor, as_completed
from dataclasses import asdict, dataclass
from functools import cached_property
from multiprocessing import get_context, parent_process
from multiprocessing.connection import wait
from pathlib import Path

import numpy as np
import torch
from tqdm import tqdm

from golden.comparison import first_divergence
from golden.encoding import DataError
from golden.examples import open_for
from golden.integer import network
from golden.models.checkpoint import load_checkpoint
from golden.models.network import Network, as_input, as_integers
from golden.spec.config import PRESETS, preset
from golden.spec.model import ModelError
from sim.device.build import build
from sw.compiler import compile_model
from sw.device.base import DeviceError
from sw.device.golden import GoldenDevice
from sw.device.sim import SimDevice
from sw.driver import Driver
from sw.model_file import read_model
from sw.packing import Array
from sw.support import UnsupportedError

ROOT = Path(__file__).parents[1]
BUILD = Path("build")
MODEL = Path("golden/weights/svformer-nano.safetensors")
TIMEOUT = 24 * 3600.0  #: seconds for a clip


@dataclass(frozen=True, kw_only=True)
class Settings:
    """What is run, and how its memory stalls.

    Parameters
    ----------
    preset : str
        Of the machine.
    model : Path
        Model file; the quantised torch network takes part where it lies beside it as ``NAME_qat``.
    data : Path, optional
        Folder of the data set; without it the built-in digit motion.
    seed, stall, latency : int
        Of the memory's random stalls (clip i has ``seed + i``); per mille of cycles; cycles.
    """

    preset: str
    model: Path = MODEL
    data: Path | None = None
    seed: int = 1
    stall: int = 100
    latency: int = 20


@dataclass(frozen=True)
class Outcome:
    """One clip that was run every way.

    Attributes
    ----------
    run : str
        Digest of bundle, machine, stalls and software.
    clip : str
        Digest of the input tensor.
    right : bool
        Whether its class was found; False of networks without classes.
    cycles, sops : int
        Of the traced program on the RTL.
    tensors : dict
        Digest of each tensor that the RTL made, by name.
    difference : str
        The first value that differs, and how to see it again; empty if there is none.
    """

    run: str
    clip: str
    right: bool
    cycles: int
    sops: int
    tensors: dict[str, str]
    difference: str


class Checker:
    """Runs test clips every way and compares each layer boundary bit for bit.

    Raises
    ------
    ModelError, DataError, UnsupportedError
        If the model, the data, or both together cannot be used.
    """

    def __init__(self, settings: Settings) -> None:
        s = self.settings = settings
        self.config, self.source = preset(s.preset), read_model(s.model)
        self.bundle = compile_model(self.source, self.config)
        self.examples = open_for(self.source.model, s.data, BUILD / "cache", "test").parts["test"]
        self.library = build(self.config, BUILD / s.preset)

    @cached_property
    def run(self) -> str:
        """What outcomes depend on, beside the clip: bundle, machine, stalls, and all that takes part in the comparison."""
        s = self.settings
        digest = hashlib.sha256(self.bundle.image.tobytes())
        digest.update(repr((self.bundle.manifest, s.seed, s.stall, s.latency)).encode())
        software = sorted(x for folder in ("golden", "sw") for x in ROOT.glob(f"{folder}/**/*.py"))
        for path in (self.library.with_suffix(".key"), self._twin, *software):
            digest.update(path.read_bytes() if path.is_file() else b"")
        return digest.hexdigest()[:32]

    @property
    def _twin(self) -> Path:
        return self.settings.model.with_name(f"{self.settings.model.stem}_qat.safetensors")

    @cached_property
    def _qat(self) -> Network | None:
        return load_checkpoint(self._twin) if self._twin.is_file() else None

    @property
    def ways(self) -> str:
        """What is compared, as a sentence says it."""
        return ("quantised torch = " if self._qat else "") + "integer golden = golden device = RTL"

    def clip(self, i: int) -> Array:
        """Input tensor of test clip ``i``."""
        return self.examples.see(i, None).x

    def check(self, i: int) -> Outcome:
        """Run test clip ``i`` every way.

        Raises
        ------
        DeviceError
            If a device fails.
        """
        s, model, clip = self.settings, self.source.model, self.clip(i)
        integer = network.run(model, self.source.tensors, clip)
        others: dict[str, dict[str, Array]] = {}
        if self._qat:
            taps: dict[str, torch.Tensor] = {}
            with torch.no_grad():
                self._qat(as_input(clip[None], model.encoding), taps)
            others["quantised torch"] = {k: v[0] for k, v in as_integers(self._qat, taps).items()}
        uri = f"sim:{s.preset}?seed={s.seed + i}&stall={s.stall}&latency={s.latency}"
        with GoldenDevice(self.config) as golden, SimDevice(self.library, uri, s.seed + i, s.stall, s.latency) as rtl:
            for who, device in (("golden device", golden), ("RTL", rtl)):
                driver = Driver(device, TIMEOUT)
                driver.load(self.bundle)
                result = driver.trace(clip)
                others[who] = result.tensors
        difference = ""
        for who, values in others.items():
            same = {k: v.reshape(integer[k].shape) for k, v in values.items()}
            if not difference and (found := first_divergence(model, same, integer, i, who)):
                difference = f"{who} differs from the integer golden: {found}\nreplay: {self.replay(i)}"
        digests = {name: _digest(value) for name, value in sorted(result.tensors.items())}
        right = bool(model.classes) and result.index == int(self.examples.labels[i])
        return Outcome(self.run, _digest(clip), right, result.cycles, result.sops, digests, difference)

    def replay(self, i: int) -> str:
        """The command that runs test clip ``i`` alone."""
        s = self.settings
        data = ["--data", str(s.data)] if s.data else []
        return shlex.join(["python", "-m", "sim.whole", "--preset", s.preset, "--model", str(s.model), *data, "--first", str(i),
                           "--clips", "1", "--seed", str(s.seed), "--stall", str(s.stall), "--latency", str(s.latency)])


def _digest(values: Array) -> str:
    """Of type, shape and values."""
    digest = hashlib.sha256(f"{values.dtype.str} {values.shape}".encode())
    digest.update(np.ascontiguousarray(values).tobytes())
    return digest.hexdigest()[:32]


def read_log(path: Path, run: str) -> dict[str, Outcome]:
    """Outcomes of a run by the digest of their clip; a line that a kill cut short is left out."""
    found = {}
    for line in path.read_text(encoding="utf-8").splitlines() if path.is_file() else []:
        try:
            outcome = Outcome(**json.loads(line))
        except (ValueError, TypeError):
            continue
        if outcome.run == run:
            found[outcome.clip] = outcome
    return found


_checker: Checker  # of a process of the pool


def _open(settings: Settings) -> None:
    """Begin as a process of the pool, which ends with the one that started it even where that is killed."""
    global _checker
    threading.Thread(target=_follow, daemon=True).start()
    torch.set_num_threads(1)
    _checker = Checker(settings)


def _follow() -> None:
    parent = parent_process()
    assert parent is not None
    wait([parent.sentinel])
    os._exit(1)


def _check(i: int) -> Outcome:
    return _checker.check(i)


def outcomes(checker: Checker, clips: Sequence[int], log: Path, workers: int) -> Iterator[Outcome]:
    """Outcomes of test clips, those in the log first, the others in any order; each new one without difference is logged.

    With one worker this process does the work.
    """
    done = read_log(log, checker.run)
    known = {i: done.get(_digest(checker.clip(i))) for i in clips}
    yield from (x for x in known.values() if x)
    left = [i for i in clips if not known[i]]
    log.parent.mkdir(parents=True, exist_ok=True)
    with log.open("ab") as file:
        if not (log.read_bytes() or b"\n").endswith(b"\n"):
            file.write(b"\n")  # after a line that was cut short

        def logged(outcome: Outcome) -> Outcome:
            if not outcome.difference:
                file.write(json.dumps(asdict(outcome)).encode() + b"\n")
                file.flush()
            return outcome

        if workers == 1 or len(left) < 2:
            yield from (logged(checker.check(i)) for i in left)
            return
        with ProcessPoolExecutor(workers, get_context("spawn"), _open, (checker.settings,)) as pool:
            try:
                yield from (logged(x.result()) for x in as_completed([pool.submit(_check, i) for i in left]))
            finally:
                pool.shutdown(cancel_futures=True)


def total_digest(found: Sequence[Outcome]) -> str:
    """One digest of everything that the RTL made of some clips, in whatever order they ran."""
    lines = sorted(json.dumps([x.clip, x.tensors], sort_keys=True) for x in found)
    return hashlib.sha256("\n".join(lines).encode()).hexdigest()[:32]


def main(arguments: Sequence[str] | None = None) -> None:
    """Read the command line, run, print."""
    parser = argparse.ArgumentParser(prog="python -m sim.whole", description="whole clips, bit for bit")
    parser.add_argument("--preset", choices=PRESETS, default="small")
    parser.add_argument("--model", type=Path, default=MODEL, help="model file")
    parser.add_argument("--data", type=Path, help="folder of the data set; without it the built-in digit motion")
    parser.add_argument("--clips", type=int, default=64, help="of the test part")
    parser.add_argument("--first", type=int, default=0, help="number of the first one")
    parser.add_argument("--workers", type=int, default=2, help="processes")
    parser.add_argument("--seed", type=int, default=1, help="of the memory's random stalls")
    parser.add_argument("--stall", type=int, default=100, help="per mille of cycles in which a handshake waits")
    parser.add_argument("--latency", type=int, default=20, help="cycles")
    parser.add_argument("--log", type=Path, help="clips that were equal before; build/PRESET/verified.jsonl if not given")
    a = parser.parse_args(arguments)
    if min(a.clips, a.workers) < 1 or a.first < 0:
        parser.error("--clips and --workers must be at least 1, --first 0")
    begin, found = time.monotonic(), []
    try:
        checker = Checker(Settings(preset=a.preset, model=a.model, data=a.data, seed=a.seed, stall=a.stall, latency=a.latency))
        last = min(a.first + a.clips, len(checker.examples))
        clips = range(a.first, last)
        if not clips:
            sys.exit(f"error: there are {last} test clips, none from {a.first} on")
        log = a.log or BUILD / a.preset / "verified.jsonl"
        for outcome in tqdm(outcomes(checker, clips, log, a.workers), total=len(clips), unit="clip", disable=None):
            if outcome.difference:
                sys.exit(outcome.difference)
            found.append(outcome)
    except (DataError, DeviceError, ModelError, UnsupportedError) as error:
        sys.exit(f"error: {error}")
    n = len(found)
    print(f"bit-exact: {n}/{n} clips, {len(checker.source.model.layers)} layers each: {checker.ways}")
    print(f"right: {sum(x.right for x in found)}/{n}; {sum(x.cycles for x in found) / n:,.0f} cycles a clip with every tensor "
          f"stored, {sum(x.sops for x in found) / n:,.0f} synaptic operations; {time.monotonic() - begin:.0f} s")
    print(f"digest of every tensor: {total_digest(found)}")


if __name__ == "__main__":
    main()
