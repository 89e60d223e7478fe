"""Clips on their way: the next one is written while one is computed; nothing is lost or doubled when the device is."""

import random
from dataclasses import dataclass

import numpy as np
import pytest

from golden.integer.random_model import random_clip
from golden.spec.config import SMALL
from golden.spec.link import STATUS_TEXT, Status
from golden.spec.registers import BUSY, REGISTERS, START
from sw.device.base import Device, DeviceError, DeviceLostError, DeviceUnavailableError, RunError
from sw.device.golden import GoldenDevice
from sw.device.null import NullDevice
from sw.device.open import open_device
from sw.driver import Driver
from sw.link.client import LinkClient
from sw.link.device import LinkDevice
from sw.pipeline import _places, memory_needed
from sw.tests.conftest import TINY
from sw.tests.twin_board import TwinBoard

COUNT = 6


@dataclass
class Clip:
    number: int
    tensor: np.ndarray


@pytest.fixture(scope="module")
def clips():
    rng = np.random.default_rng(3)
    return [Clip(i, random_clip(TINY, rng)) for i in range(COUNT)]


@pytest.fixture(scope="module")
def expected(bundle, clips):
    driver = Driver(GoldenDevice(SMALL))
    driver.load(bundle)
    return [driver.run(clip.tensor) for clip in clips]


def loaded(device, bundle):
    driver = Driver(device)
    driver.load(bundle)
    return driver


def same(found, expected):
    return np.array_equal(found.logits, expected.logits) and found.layers == expected.layers


class Watched(GoldenDevice):
    """Notes which addresses are written while the machine is busy, and how often it is started."""

    def __init__(self):
        super().__init__(SMALL)
        self.meanwhile, self.starts = [], 0

    def write_memory(self, address, data):
        if self.read_register(REGISTERS["STATUS"].address) & BUSY:
            self.meanwhile.append(address)
        super().write_memory(address, data)

    def write_register(self, address, value):
        self.starts += address == REGISTERS["CONTROL"].address and value == START
        super().write_register(address, value)


def test_the_next_clip_is_written_while_one_is_computed(bundle, clips, expected):
    device = Watched()
    driver = loaded(device, bundle)
    found = driver.run([clip.tensor for clip in clips])
    assert all(map(same, found, expected)) and device.starts == COUNT
    places, _ = _places(bundle, bundle.manifest.programs["run"], 2)
    assert set(device.meanwhile) == {x for place in places for x in (place.clip, place.statistics)}
    assert len(device.meanwhile) == 2 * (COUNT - 1)  # all but the first


def test_a_memory_for_one_clip(bundle, clips, expected):
    assert memory_needed(bundle) < memory_needed(bundle, "trace")
    driver = loaded(GoldenDevice(SMALL, memory_needed(bundle)), bundle)
    with pytest.raises(DeviceError, match=r"every tensor of .* needs \d+ bytes, golden:small has \d+: it can run clips"):
        driver.trace(clips[0].tensor)
    assert all(map(same, driver.run([clip.tensor for clip in clips]), expected))


def test_both_programs_in_turn(bundle, clips, expected):
    driver = loaded(GoldenDevice(SMALL), bundle)
    first = driver.submit(clips[0].tensor)
    assert same(driver.trace(clips[1].tensor), expected[1])
    assert first.wait(0) and same(first.result(), expected[0])


def test_stream(bundle, clips, expected):
    driver = loaded(GoldenDevice(SMALL), bundle)
    source = [None, clips[0], None, None, None, *clips[1:3], None, *clips[3:]]
    found = list(driver.stream(source))
    assert [clip.number for clip, _ in found] == list(range(COUNT))
    assert all(same(result, want) for (_, result), want in zip(found, expected, strict=True))
    assert list(driver.stream([])) == []


def test_what_is_there_is_given_before_more_comes(bundle, clips):
    """A source that has nothing more just now does not keep the last result back."""
    driver = loaded(GoldenDevice(SMALL), bundle)
    asked = 0

    def source():
        nonlocal asked
        yield clips[0]
        while True:
            asked += 1
            yield None

    stream = driver.stream(source())
    assert next(stream)[0] is clips[0] and asked > 0
    stream.close()
    assert same(driver.run(clips[1].tensor), driver.run(clips[1].tensor))


def test_an_error_is_its_clips_own(bundle, clips, expected):
    device = GoldenDevice(SMALL)
    driver = loaded(device, bundle)
    places, _ = _places(bundle, bundle.manifest.programs["run"], 2)
    device.fault("write", places[0].results, places[0].results + 4)  # of the second place
    pending = [driver.submit(clip.tensor) for clip in clips[:3]]
    assert same(pending[0].result(), expected[0])
    with pytest.raises(RunError, match="error 3"):
        pending[1].result()
    with pytest.raises(RunError, match="error 3"):  # it stays so
        pending[1].result()
    device.fault("none")
    assert same(pending[2].result(), expected[2])


def test_cancelled_clips(bundle, clips, expected):
    driver = loaded(GoldenDevice(SMALL), bundle)
    pending = [driver.submit(clip.tensor) for clip in clips[:4]]
    with pytest.raises(DeviceError, match="4 clips are on their way"):
        driver.load(bundle)
    pending[0].cancel()
    pending[2].cancel()
    assert same(pending[1].result(), expected[1]) and same(pending[3].result(), expected[3])
    driver.load(bundle)


class Failing(TwinBoard):
    """A board whose line breaks, or which is reset with all its memory lost, at chosen bytes."""

    def __init__(self, falls, kind):
        super().__init__(GoldenDevice(SMALL))
        self.falls, self.kind, self.sent, self.times = sorted(falls), kind, 0, 0

    def send(self, data):
        self.sent += len(data)
        if self.falls and self.sent > self.falls[0]:
            self.falls.pop(0)
            self.times += 1
            self.device = GoldenDevice(SMALL)
            self.reset()
            self.to_board.clear()
            self.to_host.clear()
            if self.kind == "line":
                self.gone = True
        super().send(data)

    def reconnect(self):
        self.gone = False


@pytest.mark.parametrize("kind", ["line", "reset"])
@pytest.mark.parametrize("seed", range(3))
def test_a_board_that_is_lost(bundle, clips, expected, kind, seed):
    """Power fails at any byte, and everything in the board is gone: each clip has its result, once."""
    rng, good = random.Random(seed), Failing([], kind)
    list(loaded(LinkDevice(LinkClient(good), "serial:twin"), bundle).stream(clips))
    board = Failing([rng.randrange(2000, good.sent) for _ in range(3)], kind)
    driver = loaded(LinkDevice(LinkClient(board, timeout=0.002), "serial:twin"), bundle)
    found = list(driver.stream(clips, patience=20.0))
    assert board.times == 3 and [clip.number for clip, _ in found] == list(range(COUNT))
    assert all(same(result, want) for (_, result), want in zip(found, expected, strict=True))


def test_a_board_that_is_lost_and_nobody_waits(bundle, clips, expected):
    good = Failing([], "line")
    list(loaded(LinkDevice(LinkClient(good), "serial:twin"), bundle).stream(clips))
    board = Failing([good.sent * 3 // 4], "line")
    driver = loaded(LinkDevice(LinkClient(board, timeout=0.002), "serial:twin"), bundle)
    pending, lost = [], 0
    for clip in clips:
        try:
            pending.append(driver.submit(clip.tensor))
        except DeviceLostError:
            lost += 1
            board.reconnect()
            pending.append(driver.submit(clip.tensor))
    found: list = []
    while len(found) < COUNT:
        try:
            found.append(pending[len(found)].result())
        except DeviceLostError:
            lost += 1
            driver.recover(1.0)
    assert lost == 1 and all(map(same, found, expected))


def test_a_board_that_stays_away(bundle, clips, monkeypatch):
    board = Failing([bundle.image.size], "line")
    monkeypatch.setattr(Failing, "reconnect", TwinBoard.reconnect)
    driver = loaded(LinkDevice(LinkClient(board, timeout=0.002), "serial:twin"), bundle)
    with pytest.raises(DeviceUnavailableError, match="cannot be opened"):
        list(driver.stream(clips, patience=0.3))
    with pytest.raises(DeviceLostError, match="is lost"):
        list(driver.stream(clips))


def test_a_board_reset_without_patience(bundle, clips):
    board = Failing([bundle.image.size], "reset")
    driver = loaded(LinkDevice(LinkClient(board, timeout=0.002), "serial:twin"), bundle)
    with pytest.raises(DeviceLostError, match=STATUS_TEXT[Status.SEQUENCE][:40]):
        list(driver.stream(clips))


def test_a_silent_board_is_waited_for_once(bundle, clips, expected):
    """Its error comes after the tries of one request."""
    board = TwinBoard()
    device = LinkDevice(LinkClient(board, timeout=0.002), "serial:twin")
    driver = loaded(device, bundle)
    pending = driver.submit(clips[0].tensor)
    board.silent = True
    before = device.link.counters.requests
    with pytest.raises(DeviceLostError, match="no good answer"):
        pending.result()
    assert device.link.counters.requests == before + 1
    board.silent = False
    assert same(pending.result(), expected[0])


def test_null(bundle, clips):
    with open_device("null:small") as device:
        assert isinstance(device, NullDevice) and isinstance(device, Device)
        driver = loaded(device, bundle)
        for clip in clips[:2]:
            result = driver.run(clip.tensor)
            assert not result.logits.any() and result.cycles == 0
        assert driver.info().preset == "small"
        driver.trace(clips[0].tensor)
