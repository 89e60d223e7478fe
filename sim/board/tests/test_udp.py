"""The simulated board behind a real socket: datagrams that are lost, come twice or late change no result."""

from __future__ import annotations

import socket

import numpy as np
import pytest

from golden.integer.random_model import random_model
from golden.spec.config import SMALL
from golden.spec.link import Kind, Status
from golden.spec.model import Encoding
from golden.tests.test_data_video import noise
from sim.board.board import UDP, SimulatedBoard, build
from sim.lib.runner import seed
from sw.compiler import compile_model
from sw.device.base import DeviceLostError
from sw.device.golden import GoldenDevice
from sw.device.open import open_device
from sw.driver import Driver
from sw.link.codec import Decoder, encode
from sw.link.device import LinkDevice
from sw.model_file import ModelFile
from sw.sources import arrays

TINY = Encoding(height=16, width=16, timesteps=4, frames=2, patch=4)


@pytest.fixture(scope="module")
def library(pytestconfig):
    """The shared object of ``small`` with a UDP core's streams, built where its sources changed."""
    return build(SMALL, pytestconfig.rootpath / "build" / "small", UDP)


@pytest.fixture(scope="module")
def bundle():
    """A small random network, compiled."""
    return compile_model(ModelFile(*random_model(1, TINY, local=8, wide=16)), SMALL)


def stream(device, bundle, count):
    """Names and logits of a stream of clips."""
    driver = Driver(device)
    driver.load(bundle)
    clips = arrays((noise(4 + i, 16, 16) for i in range(count)), TINY)
    return [(clip.name, result.logits.tolist()) for clip, result in driver.stream(clips, patience=60)]


@pytest.mark.parametrize(("spoiled", "count"), [(0, 3), (30, 3), pytest.param(100, 12, marks=pytest.mark.slow)])
def test_a_stream(library, bundle, spoiled, count):
    """So many per mille of all datagrams are lost, come twice, and come behind the next one, each, both ways."""
    with SimulatedBoard(library, seed(), stall=100 if spoiled else 0, noise=spoiled, link=UDP) as board:
        with open_device(board.uri) as device:
            assert isinstance(device, LinkDevice) and device.link.identity.board == "sim-small"
            found, counters = stream(device, bundle, count), device.link.counters
        assert not board.violation and board.cycles > 0
    assert found == stream(GoldenDevice(SMALL), bundle, count)
    if spoiled:
        assert counters.timeouts > 0 and counters.strays > 0
    else:
        assert counters.strays <= counters.repeated <= counters.timeouts  # a slow simulation is asked again
        assert not counters.damaged_requests + counters.damaged_answers


def test_memory_and_rubbish(library):
    """Whatever else somebody sends to the port, memory keeps what was written, and another host finds the board ready."""
    with SimulatedBoard(library, link=UDP) as board:
        where = board.uri.removeprefix("udp://").split(":")
        data = np.random.default_rng(seed()).integers(0, 256, 3000, np.uint8).tobytes()
        with open_device(board.uri) as device:
            device.write_memory(64, data)
            with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as other:
                for rubbish in (b"", b"\0", b"\5\5\1", bytes(range(256)) * 5):
                    other.sendto(rubbish, (where[0], int(where[1])))
            assert device.read_memory(64, len(data)) == data
        with open_device(board.uri) as device:
            assert device.read_memory(64, len(data)) == data
        assert board.read_memory(64, len(data)) == data


def test_two_hosts(library):
    """At the same time: each gets the answers to what it asked, and no others."""
    with SimulatedBoard(library, seed(), stall=100, link=UDP) as board:
        host, port = board.uri.removeprefix("udp://").split(":")
        hosts = [socket.socket(socket.AF_INET, socket.SOCK_DGRAM) for _ in range(2)]
        for number in range(0, 40, 2):
            for i, sender in enumerate(hosts):
                sender.settimeout(10)
                sender.sendto(encode(Kind.IDENTIFY, number + i, b""), (host, int(port)))
            for i, sender in enumerate(hosts):
                (answer,) = Decoder().feed(sender.recv(1 << 16))
                assert answer and (answer.kind, answer.sequence, answer.status) == (Kind.IDENTIFY, number + i, Status.OK)
        for sender in hosts:
            sender.close()


def test_a_board_that_is_gone(library):
    """As soon as the network says that nobody listens."""
    board = SimulatedBoard(library, link=UDP)
    try:
        device = open_device(board.uri)
    finally:
        board.close()
    with device, pytest.raises(DeviceLostError, match="nobody is at 127"):
        device.read_register(0)
