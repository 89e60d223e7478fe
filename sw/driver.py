"""The driver: a bundle and clips in, classes, tensors and statistics out, on any device."""

from __future__ import annotations

import time
from collections import deque
from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass
from functools import partial
from typing import TYPE_CHECKING, Protocol, TypeVar, overload

import numpy as np

from golden.spec import registers
from golden.spec.config import PRESETS
from sw.bundle import Bundle
from sw.device.base import Device, DeviceError, DeviceLostError, DeviceMismatchError, DeviceUnavailableError
from sw.packing import Array
from sw.pipeline import LOOK, PLACES, Pending, Pipeline, Progress, memory_needed
from sw.results import Result
from sw.stall import counters
from sw.stall import registers as read_all

if TYPE_CHECKING:
    from sw.link.check import LinkReport

AGAIN = 0.2  #: seconds between tries to reach a device that was lost

__all__ = ["ClipError", "Driver", "Info", "Pending", "Progress", "Result"]


class Clip(Protocol):
    """Something with an input tensor, such as a `sw.sources.Clip`."""

    @property
    def tensor(self) -> Array:
        """[T, H, W, C] uint8."""


T = TypeVar("T")
C = TypeVar("C", bound=Clip)


class ClipError(ValueError):
    """An input tensor that the loaded network does not take."""


@dataclass(frozen=True)
class Info:
    """What a device says of itself. ``preset`` is empty where no preset has its digest."""

    version: int
    digest: str
    preset: str


class Driver:
    """Runs a bundle on a device. Not for several threads.

    Parameters
    ----------
    device : Device
        Any transport.
    timeout : float
        Seconds after which a run is given up.
    watchdog : int
        Cycles without progress after which the machine itself gives up; 0 for never.
    """

    def __init__(self, device: Device, timeout: float = 600.0, watchdog: int = 100_000) -> None:
        self.device = device
        self.timeout = timeout
        self.watchdog = watchdog
        self._pipeline: Pipeline | None = None

    def info(self) -> Info:
        """Ask the device what it is.

        Raises
        ------
        DeviceMismatchError
            If it is no accelerator of this project, or one of another register map.
        """
        known = read_all(self.device, "ID", "DIGEST3")
        found, version = known["ID"], known["VERSION"]
        if found != registers.ID_VALUE:
            raise DeviceMismatchError(f"{self.device.uri} is no tANDem: its ID is {found:#010x}, not {registers.ID_VALUE:#010x}")
        if version != registers.VERSION:
            raise DeviceMismatchError(f"{self.device.uri} has register map {version}, this software knows {registers.VERSION}")
        digest = "".join(f"{known[f'DIGEST{i}']:08x}" for i in range(4))
        return Info(version, digest, next((c.name for c in PRESETS.values() if c.digest == digest), ""))

    def load(self, bundle: Bundle) -> None:
        """Make a bundle ready to run; its image is written with the first clip.

        Raises
        ------
        DeviceMismatchError
            If it was compiled for another configuration, naming both digests.
        DeviceError
            If it does not fit the device's memory, or clips of another bundle are on their way.
        """
        if self._pipeline and self._pipeline.busy:
            raise DeviceError(f"{self._pipeline.busy} clips are on their way: wait for them, or cancel them")
        info = self.info()
        wanted = bundle.manifest
        if info.digest != wanted.config:
            raise DeviceMismatchError(
                f"bundle '{wanted.name}' was compiled for config '{wanted.preset}' {wanted.config}, "
                f"but {self.device.uri} is '{info.preset or 'unknown'}' {info.digest}"
            )
        needed = memory_needed(bundle)
        if needed > self.device.memory_bytes:
            raise DeviceError(f"bundle '{wanted.name}' needs {needed} bytes, {self.device.uri} has {self.device.memory_bytes}")
        self._pipeline = Pipeline(self.device, bundle)

    @property
    def pipeline(self) -> Pipeline:
        """What clips of the loaded bundle go through.

        Raises
        ------
        DeviceError
            If no bundle is loaded.
        """
        if self._pipeline is None:
            raise DeviceError("no bundle is loaded")
        return self._pipeline

    @overload
    def run(self, clips: Array, progress: Progress | None = None) -> Result: ...
    @overload
    def run(self, clips: Sequence[Array], progress: Progress | None = None) -> list[Result]: ...
    def run(self, clips: Array | Sequence[Array], progress: Progress | None = None) -> Result | list[Result]:
        """Run an input tensor [T, H, W, C] uint8, or several, one being written while another one is computed.

        Raises
        ------
        ClipError
            If the network does not take it.
        DeviceError
            As `Pending.result`; of several clips, none goes on.
        """
        if not isinstance(clips, np.ndarray):
            several: list[Pending] = []
            results: list[Result] = []
            try:
                for clip in clips:
                    if len(several) == len(results) + PLACES:  # no more are packed than the device has room for
                        results.append(several[len(results)].result())
                    several.append(self.submit(clip, progress))
                return results + [x.result() for x in several[len(results):]]
            finally:
                for x in several:
                    x.cancel()
        return self._alone("run", clips, progress)

    def trace(self, clip: Array, progress: Progress | None = None) -> Result:
        """Like `run`, with every tensor that the layers make.

        Raises
        ------
        DeviceError
            Also if all these tensors do not fit the device's memory, which may be large enough to `run`.
        """
        bundle = self.pipeline.bundle
        needed = memory_needed(bundle, "trace")
        if needed > self.device.memory_bytes:
            raise DeviceError(f"every tensor of '{bundle.manifest.name}' needs {needed} bytes, {self.device.uri} has "
                              f"{self.device.memory_bytes}: it can run clips, but not show what its layers make")
        return self._alone("trace", clip, progress)

    def submit(self, clip: Array, progress: Progress | None = None) -> Pending:
        """Send a clip on its way: it is written to the device now if there is room, and started if nothing runs.

        Raises
        ------
        ClipError
            If the network does not take it.
        DeviceLostError
            If the device does not answer; this clip is forgotten, those before it stay on their way.
        """
        return self._submit("run", clip, progress)

    def stream(self, source: Iterable[C | None], patience: float = 0.0) -> Iterator[tuple[C, Result]]:
        """Every clip of a source with its result, in order; one is written while another one is computed.

        Parameters
        ----------
        source : iterable of Clip
            None says that there is nothing just now, so that what is on its way can come to its end.
        patience : float
            Seconds for which a device that is lost is tried to be reached again. What was on its way is run again; no result
            is given twice.

        Raises
        ------
        DeviceError
            As `Pending.result`; nothing is on its way any more then.
        """
        flying: deque[tuple[C, Pending]] = deque()
        try:
            for clip in source:
                if clip is not None:
                    flying.append((clip, self._patiently(partial(self.submit, clip.tensor), patience)))
                    while len(flying) >= PLACES:
                        yield flying[0][0], self._patiently(flying[0][1].result, patience)
                        flying.popleft()
                elif flying:
                    if self._patiently(partial(flying[0][1].wait, LOOK), patience):
                        yield flying[0][0], flying[0][1].result()
                        flying.popleft()
            while flying:
                yield flying[0][0], self._patiently(flying[0][1].result, patience)
                flying.popleft()
        finally:
            for _, pending in flying:
                pending.cancel()

    def recover(self, patience: float) -> None:
        """Reach a lost device again, within so many seconds.

        Raises
        ------
        DeviceUnavailableError
            If that does not succeed: the last reason.
        """
        end = time.monotonic() + patience
        while True:
            try:
                self.device.reconnect()
                self.info()
                return
            except DeviceUnavailableError:
                if time.monotonic() >= end:
                    raise
                time.sleep(AGAIN)

    def counters(self) -> dict[str, int]:
        """What the machine counted since the last start, and its state; see `sw.stall.counters`."""
        return counters(self.device)

    def check_memory(self) -> int | None:
        """Write the loaded bundle's image and read it back: the first byte that is another one, None where all are the same."""
        wanted = self.pipeline.bundle.image
        self.device.write_memory(0, wanted.tobytes())
        wrong = np.flatnonzero(np.frombuffer(self.device.read_memory(0, wanted.size), np.uint8) != wanted)
        return int(wrong[0]) if wrong.size else None

    def throughput_test(self, clips: Sequence[Array]) -> dict[str, float]:
        """How long these clips take, with FINN's keys; see `sw.throughput.measure`."""
        from sw.throughput import measure

        return measure(self, clips)

    def link_test(self) -> LinkReport:
        """Test the line to the device; see `sw.link.check.check_link`.

        Raises
        ------
        DeviceError
            If there is no line, or something came back wrong.
        """
        from sw.link.check import check_link
        from sw.link.device import LinkDevice

        if not isinstance(self.device, LinkDevice):
            raise DeviceError(f"'{self.device.uri}' has no line to test")
        return check_link(self.device)

    def _patiently(self, action: Callable[[], T], patience: float) -> T:
        """Do something; where the device is lost, reach it and do it again, for so many seconds."""
        end = time.monotonic() + patience
        while True:
            try:
                return action()
            except DeviceLostError:
                if time.monotonic() >= end:
                    raise
            self.recover(max(end - time.monotonic(), 0))

    def _alone(self, name: str, clip: Array, progress: Progress | None) -> Result:
        pending = self._submit(name, clip, progress)
        try:
            return pending.result()
        finally:
            pending.cancel()

    def _submit(self, name: str, clip: Array, progress: Progress | None) -> Pending:
        pipeline, manifest = self.pipeline, self.pipeline.bundle.manifest
        shape = manifest.video.shape
        if clip.dtype != np.uint8 or clip.shape != shape:
            raise ClipError(f"the input is {clip.dtype} {list(clip.shape)}, '{manifest.name}' takes uint8 {list(shape)}")
        pipeline.timeout, pipeline.watchdog = self.timeout, self.watchdog
        out = pipeline.spare.pop() if pipeline.spare else None
        return pipeline.submit(name, pipeline.pack(clip, out), progress)
