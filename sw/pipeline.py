"""Clips on their way through a device: one is computed while the next one is written, and what fails begins again."""

from __future__ import annotations

import contextlib
import enum
import time
from collections import deque
from collections.abc import Callable
from dataclasses import dataclass

import numpy as np

from golden.spec import registers
from golden.spec.registers import REGISTERS, ErrorCode
from sw import packing
from sw.bundle import Bundle, Program
from sw.device.base import Device, DeviceError, DeviceLostError, DeviceTimeoutError, RunError
from sw.packing import Bytes
from sw.results import Result, StatisticsReader, conclude, poison, unpack
from sw.stall import counters, explain, layer_of

LOOK = 0.1  #: seconds between looks at the progress of a run
PLACES = 2  #: clips that the device's memory holds, where there is room

Progress = Callable[[int, int, str], None]  #: descriptors done, descriptors in all, layer being executed


@dataclass(frozen=True)
class Place:
    """Where one clip lies in memory: addresses of input, results and statistics."""

    clip: int
    results: int
    statistics: int


class State(enum.Enum):
    """How far a clip is."""

    WAITING = enum.auto()  #: in the host
    WRITTEN = enum.auto()  #: in the device's memory
    RUNNING = enum.auto()
    ENDED = enum.auto()  #: its results are in the device's memory


class Pending:
    """A clip on its way to a result.

    Work goes on within `wait` and `result` (of any clip of the device) and within `Driver.submit`: there is no thread.
    """

    def __init__(self, pipeline: Pipeline, name: str, data: Bytes, progress: Progress | None) -> None:
        self._pipeline = pipeline
        self.name, self.data, self.progress = name, data, progress
        self.state = State.WAITING
        self.place: Place | None = None
        self.deadline = 0.0
        self.cycles = self.saturations = 0
        self.outcome: Result | DeviceError | None = None

    def wait(self, seconds: float) -> bool:
        """Let work go on for at most so long (0: only look); whether result or error are there.

        Raises
        ------
        DeviceLostError
            If the device does not answer. The clip stays on its way: once the device is reached again, it is run again.
        """
        if self.outcome is None:
            self._pipeline.advance(seconds)
        return self.outcome is not None

    def result(self) -> Result:
        """The result, waited for as long as the driver's limit allows for this clip and those before it.

        Raises
        ------
        RunError
            If the machine reports an error with this clip; the device takes the next one.
        DeviceTimeoutError
            If it does not finish in time; it has been aborted.
        DeviceLostError
            As `wait`.
        """
        while not self.wait(LOOK):
            pass
        assert self.outcome is not None
        if isinstance(self.outcome, DeviceError):
            raise self.outcome
        return self.outcome

    def cancel(self) -> None:
        """Forget the clip, unless it has come to its end."""
        self._pipeline.forget(self)


class Pipeline:
    """Takes clips in order, and gives each its result.

    Of a device that is lost in the middle nothing is believed: every clip that has no result yet begins again, from a good
    image. An error of one clip is its own.

    Parameters
    ----------
    device : Device
        On which nobody else works meanwhile.
    bundle : Bundle
        Compiled for it.
    """

    def __init__(self, device: Device, bundle: Bundle) -> None:
        self.device, self.bundle = device, bundle
        self.timeout, self.watchdog = 0.0, 0  #: seconds of a run, cycles without progress
        self.pack = bundle.manifest.packer()
        self._programs = bundle.manifest.programs
        recorded = bundle.manifest.records
        self._readers = {name: StatisticsReader(program, device.uri, recorded) for name, program in self._programs.items()}
        self._empty = {name: poison(program, recorded) for name, program in self._programs.items()}
        self._stale = True  # the image in memory cannot be relied on, nor what the machine does
        self._registers: dict[str, int] = {}  # as they were last written
        self._clips: deque[Pending] = deque()  # that have come to no end yet, in order
        self._program = ""  # that the places are made for
        self._places: list[Place] = []  # that are free
        self.spare: list[Bytes] = []  #: arrays of clips that have their results, to be packed into again
        self._subject: Pending | None = None  # clip that is being worked at

    @property
    def busy(self) -> int:
        """Clips on their way."""
        return len(self._clips)

    @property
    def place(self) -> Place:
        """Where the next clip will lie; there is one while none is on its way and one has been run."""
        return self._places[-1]

    def submit(self, name: str, data: Bytes, progress: Progress | None) -> Pending:
        """Send a clip through program ``name``: its words are written now if there is room, and it is started if nothing runs.

        Raises
        ------
        DeviceLostError
            If the device does not answer; this clip is forgotten, those before it stay on their way.
        """
        pending = Pending(self, name, data, progress)
        self._clips.append(pending)
        try:
            self._guarded(self._feed)
        except BaseException:
            self.forget(pending)
            raise
        return pending

    def forget(self, pending: Pending) -> None:
        """Let a clip that has come to no end go no further."""
        if pending in self._clips:
            if pending.place:
                self._abandon(True)
            self._clips.remove(pending)

    def advance(self, seconds: float) -> None:
        """Let every clip go on, waiting at most so long for the end of the one that runs."""
        self._guarded(lambda: self._step(seconds))

    def _guarded(self, action: Callable[[], None]) -> None:
        """Do something with the device; after any error all clips on their way start again, but for the one to blame."""
        self._subject = None
        try:
            action()
        except BaseException as error:
            subject, lost = self._subject, isinstance(error, DeviceLostError)
            self._abandon(not lost)  # of a lost device another answer would only be waited for
            if subject is None or not isinstance(error, DeviceError) or lost:
                raise
            subject.outcome = error
            self._clips.remove(subject)

    def _abandon(self, stop: bool) -> None:
        """Begin again with all clips; the next one stops what the device still does, if not now, and writes a good image."""
        self._stale, self._program = True, ""
        for clip in self._clips:
            clip.state, clip.place = State.WAITING, None
        if stop:
            with contextlib.suppress(DeviceError):  # there is another error to tell
                self._stop()

    def _stop(self) -> None:
        """End a run that is still going on.

        One that has ended is left alone: the machine still takes what the memory owes it, so that the next run does not
        get answers meant for this one, and an abort meanwhile would cut that short.
        """
        if self.device.read_register(REGISTERS["STATUS"].address) & registers.BUSY:
            self.device.write_register(REGISTERS["CONTROL"].address, registers.ABORT)

    def _step(self, seconds: float) -> None:
        self._feed()
        clip = self._first(State.RUNNING)
        if clip and self._ended(clip, seconds):
            self._start()  # the next one, before anything else
            self._collect(clip)
            self._feed()

    def _first(self, state: State) -> Pending | None:
        return next((x for x in self._clips if x.state is state), None)

    def _feed(self) -> None:
        """Write clips to all free places, and start one if none runs."""
        while (clip := self._first(State.WAITING)) and self._make_room(clip):
            self._subject = clip
            clip.place = self._places.pop()
            self.device.write_memory(clip.place.clip, clip.data.data)
            self.device.write_memory(clip.place.statistics, self._empty[clip.name])
            clip.state = State.WRITTEN
            self._start()
        self._start()

    def _make_room(self, clip: Pending) -> bool:
        """Whether there is a free place for the clip; memory is laid out anew for another program, when no clip is in it."""
        if self._program != clip.name:
            if any(x.place for x in self._clips):
                return False
            program = self._programs[clip.name]
            self._places, end = _places(self.bundle, program, PLACES)
            if end > self.device.memory_bytes:
                self._places, _ = _places(self.bundle, program, 1)
            self._program = clip.name
        if self._stale:
            self._subject = clip
            self._registers.clear()
            self._stop()
            self.device.write_memory(0, self.bundle.image.tobytes())
            self._stale = False
        return bool(self._places)

    def _start(self) -> None:
        """Start the next clip, if there is one and none runs."""
        clip = self._first(State.WRITTEN)
        if not clip or self._first(State.RUNNING):
            return
        self._subject = clip
        assert clip.place
        wanted = {
            "IRQ_ENABLE": 1, "WATCHDOG": self.watchdog, "PROGRAM": self._programs[clip.name].offset, "SEGMENT0": 0,
            "SEGMENT1": clip.place.clip, "SEGMENT2": clip.place.results, "SEGMENT3": clip.place.statistics,
        }
        first = next((name for name, value in wanted.items() if self._registers.get(name) != value), "CONTROL")
        at = REGISTERS[first].address
        values = [wanted[x.name] for x in REGISTERS.values() if at <= x.address < REGISTERS["CONTROL"].address]
        self.device.write_registers(at, [*values, registers.START])  # all at once, the start last
        self._registers = wanted
        clip.state, clip.deadline = State.RUNNING, time.monotonic() + self.timeout

    def _ended(self, clip: Pending, seconds: float) -> bool:
        """Whether the clip that runs has ended; waits for it at most so long."""
        self._subject = clip
        program = self._programs[clip.name]
        if not self.device.wait_interrupt(max(min(seconds, clip.deadline - time.monotonic()), 0)):
            if clip.progress:
                index = self.device.read_register(REGISTERS["LAYER"].address)
                clip.progress(index, len(program.steps), layer_of(program, index))
            if time.monotonic() >= clip.deadline:
                before = counters(self.device)
                self.device.wait_interrupt(LOOK)
                state = explain(program, before, counters(self.device))
                raise DeviceTimeoutError(f"{self.device.uri} did not finish within {self.timeout:g} s; {state}")
            return False
        found = counters(self.device)
        if found["status"] & registers.FAILED:
            code, index = found["error"] & 0xFF, found["error"] >> 16
            raise RunError(code, index, layer_of(program, index),
                           explain(program, found, found) if code == ErrorCode.WATCHDOG else "")
        clip.cycles, clip.saturations = found["cycles"], found["saturations"]
        clip.state = State.ENDED
        if clip.progress:
            clip.progress(len(program.steps), len(program.steps), program.steps[-1].layer)
        return True

    def _collect(self, clip: Pending) -> None:
        """Read the results of a clip that has ended, and give its place free."""
        self._subject = clip
        assert clip.place
        manifest, program, place = self.bundle.manifest, self._programs[clip.name], clip.place
        tensors = {
            name: unpack(np.frombuffer(self.device.read_memory(place.results + x.offset, x.size), np.uint8), x, manifest)
            for name, x in program.tensors.items()
        }
        size = (len(program.steps) - 1) * registers.STATISTICS_BYTES * manifest.records
        reader = self._readers[clip.name]
        words = reader.read(np.frombuffer(self.device.read_memory(place.statistics, size), np.uint8))
        kept = tensors if clip.name == "trace" else {}
        clip.outcome = conclude(self.bundle, tensors[program.result], kept, reader, words, clip.cycles, clip.saturations)
        self._clips.remove(clip)
        self._places.append(place)
        if len(self.spare) < PLACES:
            self.spare.append(clip.data)


def memory_needed(bundle: Bundle, program: str = "run") -> int:
    """Bytes of memory for one clip of a program."""
    return _places(bundle, bundle.manifest.programs[program], 1)[1]


def _places(bundle: Bundle, program: Program, count: int) -> tuple[list[Place], int]:
    """Places for ``count`` clips behind the image and what spills, the first one last, and where they end."""
    sizes = (bundle.manifest.input_bytes, program.result_bytes,
             len(program.steps) * registers.STATISTICS_BYTES * bundle.manifest.records)
    at = packing.round_up(bundle.image.size + bundle.manifest.spill_bytes, registers.SEGMENT_ALIGN)  # one clip runs at a time
    places = []
    for _ in range(count):
        addresses = []
        for size in sizes:
            addresses.append(at)
            at = packing.round_up(at + size, registers.SEGMENT_ALIGN)
        places.append(Place(*addresses))
    return places[::-1], at
