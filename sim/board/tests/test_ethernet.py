"""LiteEth's core itself, the Verilog that is on ECPIX-5, from the pins of its PHY: ARP, requests of every size, and rubbish."""

from __future__ import annotations

import ctypes
import random
from pathlib import Path

import numpy as np
import pytest

from golden.integer.random_model import random_clip, random_model
from golden.spec.config import MICRO
from golden.spec.link import DATA_BYTES, Kind, Status
from golden.spec.model import Encoding
from hw.flow.ethernet_core import mac_address
from hw.link.ethernet import PORT
from sim.board import frames
from sim.board.board import ETHERNET, SimulatedBoard, build
from sim.board.frames import REPLY, REQUEST, Host
from sim.board.line import BOARD_IP, CHUNK
from sim.lib.runner import seed
from sw.compiler import compile_model
from sw.device.golden import GoldenDevice
from sw.device.open import open_device
from sw.driver import Driver
from sw.link.codec import Decoder, encode
from sw.link.device import LinkDevice
from sw.model_file import ModelFile

pytest.importorskip("liteeth", reason="no LiteEth: pip install -e '.[ethernet]'")
pytestmark = pytest.mark.slow

BOARD = Host.at(BOARD_IP, mac_address(BOARD_IP))
TINY = Encoding(height=16, width=16, timesteps=4, frames=2, patch=4)


@pytest.fixture(scope="module")
def library(pytestconfig):
    """The shared object of ``micro`` with LiteEth's core, built where its sources changed."""
    return build(MICRO, pytestconfig.rootpath / "build" / "micro", ETHERNET)


def test_every_size(library):
    """The host's own code; nothing is asked twice, and every frame of the board keeps the rules."""
    rng = random.Random(seed())
    with SimulatedBoard(library, link=ETHERNET) as board:
        with open_device(board.uri) as device:
            assert isinstance(device, LinkDevice)
            for size in range(DATA_BYTES + 1):
                data = rng.randbytes(size)
                assert device.link.echo(data) == data
            counters = device.link.counters
        assert not board.violation
    assert counters.strays <= counters.repeated <= counters.timeouts  # a slow simulation is asked again
    assert not counters.damaged_requests + counters.damaged_answers


def test_a_clip(library):
    """Program, clip and every tensor through the core, and some of the datagrams are lost, come twice, or late."""
    bundle = compile_model(ModelFile(*random_model(1, TINY, local=8, wide=16)), MICRO)
    clip = random_clip(TINY, np.random.default_rng(9))
    results = []
    with SimulatedBoard(library, seed(), stall=100, noise=10, link=ETHERNET) as board:
        with open_device(board.uri) as opened:
            for device in (opened, GoldenDevice(MICRO)):
                driver = Driver(device)
                driver.load(bundle)
                results.append(driver.trace(clip))
        assert not board.violation
    found, expected = results
    assert np.array_equal(found.logits, expected.logits) and found.tensors.keys() == expected.tensors.keys()
    assert all(np.array_equal(found.tensors[x], expected.tensors[x]) for x in expected.tensors)


class Wire:
    """The board's pins in the hands of the test: frames in, frames out; answers what the board asks of a host that it knows."""

    def __init__(self, library: Path, hosts: list[Host]) -> None:
        handle, u32, u64, data = ctypes.c_void_p, ctypes.c_uint32, ctypes.c_uint64, ctypes.c_char_p
        self._library = ctypes.CDLL(str(library.resolve()))
        for name, result, arguments in (
            ("create", handle, (u64, u64, u32, u32)), ("destroy", None, (handle,)), ("send", None, (handle, data, u64)),
            ("receive", u64, (handle, data, u64)), ("run", ctypes.c_int, (handle, u64)),
        ):
            function = getattr(self._library, f"board_{name}")
            function.restype, function.argtypes = result, arguments
        self._handle = self._library.board_create(1 << 16, 1, 0, 20)
        self.hosts = {x.ip: x for x in hosts}

    def close(self) -> None:
        self._library.board_destroy(self._handle)

    def send(self, *lines: bytes) -> None:
        """Lines one behind the other, with the least gap."""
        data = b"".join(len(x).to_bytes(2, "little") + x for x in lines)
        self._library.board_send(self._handle, data, len(data))

    def run(self, cycles: int = 6000) -> list[bytes]:
        """What the board sends within so many cycles, but for its questions for hosts' addresses, which are answered."""
        buffer, came, found = ctypes.create_string_buffer(CHUNK), b"", []
        for _ in range(cycles // 100):
            self._library.board_run(self._handle, 100)
            count = self._library.board_receive(self._handle, buffer, CHUNK)
            came += buffer.raw[:count]
            while len(came) >= 2 and len(came) >= 2 + int.from_bytes(came[:2], "little"):
                end = 2 + int.from_bytes(came[:2], "little")
                frame, came = frames.off_the_line(came[2:end]), came[end:]
                asked = frames.read_arp(frame)
                if asked and asked[0] == REQUEST:
                    assert asked[1] == BOARD
                    if asked[2] in self.hosts:
                        self.send(frames.on_the_line(frames.arp(REPLY, self.hosts[asked[2]], BOARD.mac, BOARD.ip)))
                else:
                    found.append(frame)
        assert not came
        return found


def answered(frame: bytes) -> tuple[bytes, bytes, int, int, Status]:
    """MAC and IP address, and port, that an answer goes to; its number, and its status."""
    found = frames.read_udp(frame)
    assert found and (found[:2], frame[6:12]) == ((BOARD.ip, PORT), BOARD.mac)
    _, _, target, port, data = found
    (answer,) = Decoder().feed(data)
    assert answer
    return frame[:6], target, port, answer.sequence, answer.status


def test_rubbish(library):
    """Whatever else is on the cable, the next request is answered, to who asked, and nothing else is."""
    rng = random.Random(seed())
    a, b = Host.at("192.168.1.2", 0x020000000002), Host.at("192.168.1.3", 0x020000000003)
    stranger = Host.at("192.168.1.77", 0x020000000077)
    wire = Wire(library, [a, b])
    line = frames.on_the_line

    def ask(host, port, number):
        return line(frames.udp(host, port, BOARD, PORT, encode(Kind.IDENTIFY, number, b"")))

    wire.send(line(frames.arp(REQUEST, a, b"", BOARD.ip)), line(frames.arp(REQUEST, a, b"", stranger.ip)))
    (reply,) = wire.run()
    assert frames.read_arp(reply) == (REPLY, BOARD, a.ip) and reply[:6] == a.mac

    elsewhere = Host(BOARD.mac, stranger.ip)
    good = encode(Kind.IDENTIFY, 99, b"")
    whole = frames.udp(a, 1, BOARD, PORT, good)
    damaged = bytearray(line(whole))
    damaged[-6] ^= 4
    ping = bytearray(frames.udp(a, 8 << 8, BOARD, 0, bytes(40)))
    ping[23] = 1  # the protocol, which makes the checksum wrong
    rubbish = [
        line(frames.udp(a, 1, elsewhere, PORT, good)), line(frames.udp(a, 1, BOARD, PORT + 1, good)), bytes(damaged),
        line(bytes(ping)), line(rng.randbytes(60)), line(BOARD.mac + a.mac + frames.IPV4 + rng.randbytes(300)),
        line(BOARD.mac + a.mac + frames.ARP + rng.randbytes(46)), line(whole[:36]), line(whole[:-3] + b"\0" * 900),
        frames.PREAMBLE + rng.randbytes(5), rng.randbytes(200), frames.PREAMBLE + whole, b"\x55",
        line(frames.udp(a, 1, BOARD, PORT, b"", 0)), line(frames.udp(a, 1, BOARD, PORT, bytes(1472))),
    ]
    answering = [  # is answered, that it was damaged
        (line(frames.udp(a, 7, BOARD, PORT, rng.randbytes(1400).replace(b"\0", b"\1"))), 7),
        (line(frames.udp(a, 8, BOARD, PORT, good[:6])), 8), (line(frames.udp(a, 9, BOARD, PORT, good, 6)), 9),
    ]
    number = 0
    for _ in range(3):
        for part in rng.sample(rubbish, len(rubbish)):
            number += 2
            wire.send(part)
            wire.run()
            wire.send(line(bytes(60)))  # what was cut within a header takes this with it
            wire.send(ask(a, 1000, number), ask(b, 2000 + number, number + 1))
            found = [answered(x) for x in wire.run()]
            assert found == [(a.mac, a.ip, 1000, number, Status.OK), (b.mac, b.ip, 2000 + number, number + 1, Status.OK)]
    for part, port in answering:
        wire.send(part)
        assert [answered(x) for x in wire.run()] == [(a.mac, a.ip, port, 0, Status.DAMAGED)]
    wire.send(ask(stranger, 5, 7))  # nobody answers for it: its answer is lost, not those of others
    assert wire.run() == []
    wire.close()
