"""The simulated board through the very code that drives a real one: results, bad lines, rubbish, hosts that come and go."""

from __future__ import annotations

import json
import os
import random
import time

import numpy as np
import pytest
from typer.testing import CliRunner

from golden.integer.random_model import random_clip, random_model
from golden.spec.config import SMALL
from golden.spec.model import Encoding
from golden.spec.registers import REGISTERS
from golden.tests.test_data_video import noise, write
from sim.board.board import SimulatedBoard, build
from sim.lib.runner import seed
from sw.__main__ import MODEL, app
from sw.bundle import Bundle
from sw.compiler import compile_model
from sw.device.base import DeviceUnavailableError, RunError
from sw.device.golden import GoldenDevice
from sw.device.open import open_device
from sw.driver import Driver
from sw.link.device import LinkDevice
from sw.model_file import ModelFile

TINY = Encoding(height=16, width=16, timesteps=4, frames=2, patch=4)


@pytest.fixture(scope="module")
def library(pytestconfig):
    """The shared object of ``small``, built where its sources changed."""
    return build(SMALL, pytestconfig.rootpath / "build" / "small")


@pytest.fixture
def board(library):
    """A board on a good line; it must keep the rules of AXI4."""
    with SimulatedBoard(library) as board:
        yield board
        assert not board.violation


@pytest.fixture(scope="module")
def bundle():
    """A small random network, compiled."""
    return compile_model(ModelFile(*random_model(1, TINY, local=8, wide=16)), SMALL)


def opened(board):
    """The board as a host opens it."""
    device = open_device(board.uri)
    assert isinstance(device, LinkDevice)
    return device


def result(device, bundle, program="trace"):
    """What a device makes of a clip."""
    driver = Driver(device)
    driver.load(bundle)
    return getattr(driver, program)(random_clip(TINY, np.random.default_rng(9)))


def same(found, expected):
    return (np.array_equal(found.logits, expected.logits) and found.saturations == expected.saturations
            and all(np.array_equal(found.tensors[name], expected.tensors[name]) for name in expected.tensors))


def test_a_clip(board, bundle):
    with opened(board) as device:
        found = result(device, bundle)
        assert same(found, result(GoldenDevice(SMALL), bundle)) and found.cycles > 0
        assert not device.link.counters.damaged_requests + device.link.counters.damaged_answers


@pytest.mark.slow
def test_a_bad_line(library, bundle):
    """One byte in a hundred is wrong both ways, and the memory stalls: everything is right in the end."""
    with SimulatedBoard(library, seed(), stall=200, noise=10) as board, opened(board) as device:
        assert same(result(device, bundle, "run"), result(GoldenDevice(SMALL), bundle, "run"))
        counters = device.link.counters
        assert counters.damaged_requests > 20 and counters.damaged_answers > 20
        assert not board.violation


@pytest.mark.slow
def test_rubbish(board):
    """Nothing is written but what was acknowledged, and the board still answers."""
    rng = random.Random(seed())
    port = board.uri.removeprefix("serial://").partition("?")[0]
    expected = bytearray(1 << 16)
    for _ in range(6):
        descriptor = os.open(port, os.O_RDWR | os.O_NOCTTY)
        for _ in range(4):
            os.write(descriptor, bytes(rng.choice([0, 1, 5, rng.randrange(256)]) for _ in range(rng.randrange(1200))))
            time.sleep(0.05)
        os.close(descriptor)
        with opened(board) as device:
            data, at = rng.randbytes(200), 4 * rng.randrange((1 << 14) - 50)
            device.write_memory(at, data)
            expected[at:at + len(data)] = data
            assert device.read_memory(at, len(data)) == data
            assert device.read_register(REGISTERS["STATUS"].address) == 0
    assert board.read_memory(0, len(expected)) == bytes(expected)


def test_hosts_that_come_and_go(board):
    """Nobody else gets the port of one who has it; one leaves in the middle of a request, the next gets its own answers only."""
    with opened(board) as device:
        with pytest.raises(DeviceUnavailableError, match="cannot be opened"):
            open_device(board.uri)
        device.write_memory(0, b"12345678")
        device.link.transport.send(b"\0\5\5\1")
    with opened(board) as device:
        assert device.read_memory(0, 8) == b"12345678"


def test_errors_of_a_run(board, bundle):
    """A damaged program ends in the machine's own error; the next clip works."""
    with opened(board) as device:
        driver = Driver(device)
        driver.load(bundle)
        image = bundle.image.copy()
        image[40] ^= 1
        driver.load(Bundle(bundle.manifest, image))
        with pytest.raises(RunError, match="error 1"):
            driver.run(random_clip(TINY, np.random.default_rng(9)))
        assert same(result(device, bundle), result(GoldenDevice(SMALL), bundle))


def test_link_test(board):
    found = CliRunner().invoke(app, ["link-test", board.uri, "--json"])
    assert found.exit_code == 0, found.output
    report = json.loads(found.stdout)
    assert report["identity"]["board"] == "sim-small" and report["identity"]["digest"] == SMALL.digest
    assert report["counters"]["damaged_requests"] == report["counters"]["damaged_answers"] == 0
    assert report["write_overhead"] < 0.08 and report["read_overhead"] < 0.08
    assert report["write_rate"] > 0 and report["read_rate"] > 0
    plain = CliRunner().invoke(app, ["link-test", board.uri])
    assert plain.exit_code == 0 and "27 right" in plain.stdout and " repeated" in plain.stdout
    refused = CliRunner().invoke(app, ["link-test", "golden:small"])
    assert refused.exit_code == 3 and "no line to test" in refused.stderr


@pytest.mark.slow
def test_classify(board, tmp_path):
    """The committed network on the command line: the same answer as the golden device's."""
    write(tmp_path / "a.mkv", noise(4, 32, 32))
    answers = []
    for device in (board.uri, "golden:small"):
        arguments = ["classify", str(tmp_path / "a.mkv"), "--model", str(MODEL), "--device", device, "--json"]
        found = CliRunner().invoke(app, arguments)
        assert found.exit_code == 0, found.output
        answers.append(json.loads(found.stdout)[0])
    assert answers[0]["cycles"] > 0
    assert answers[0]["logits"] == answers[1]["logits"] and answers[0]["class"] == answers[1]["class"]
