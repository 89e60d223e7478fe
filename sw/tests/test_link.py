"""The host's end of the link, against the twin of the gateware: operations, bad lines, boards that are lost or another one."""

import binascii
import dataclasses
import random

import numpy as np
import pytest
from cobs import cobs
from hypothesis import given
from hypothesis import strategies as st

from golden.spec import link as protocol
from golden.spec.config import SMALL
from golden.spec.link import ANSWER, DATA_BYTES, Kind, Status
from golden.spec.registers import ID_VALUE, REGISTERS
from sw.device.base import DeviceError, DeviceMismatchError, DeviceUnavailableError
from sw.device.golden import GoldenDevice
from sw.device.open import open_device
from sw.driver import Driver
from sw.link.client import TRIES, LinkClient, LinkError, RefusedError
from sw.link.codec import LINE_BYTES, Answer, Decoder, decode, encode, pack_sparse, sparse_sizes
from sw.link.device import LinkDevice
from sw.tests.twin_board import SITE, TwinBoard

SEGMENT = REGISTERS["SEGMENT0"].address


@pytest.fixture
def board():
    """A board on a good line."""
    return TwinBoard()


@pytest.fixture
def device(board):
    """The device made of it; it waits hardly at all for lost answers, since the twin answers at once."""
    return LinkDevice(LinkClient(board, timeout=0.002), "serial:twin")


def noisy(noise, seed, device=None):
    board = TwinBoard(device, noise, seed=seed)
    return board, LinkDevice(LinkClient(board, timeout=0.002), "serial:twin")


def frame(kind, sequence, body):
    content = bytes([kind]) + sequence.to_bytes(2, "little") + body
    return cobs.encode(content + binascii.crc32(content).to_bytes(4, "little"))


@given(st.sampled_from(Kind), st.integers(0, 65535), st.sampled_from(Status), st.binary(max_size=DATA_BYTES))
def test_answers_are_read(kind, sequence, status, body):
    line = frame(kind | ANSWER, sequence, bytes([status]) + body)
    assert decode(line) == Answer(kind, sequence, status, body) and len(line) <= LINE_BYTES
    assert decode(frame(kind, sequence, bytes([status]) + body)) is None  # a request is no answer
    assert encode(kind, sequence, body) == b"\0" + frame(kind, sequence, body) + b"\0"


@given(st.lists(st.binary(max_size=2 * LINE_BYTES), max_size=6))
def test_any_bytes_are_read(parts):
    decoder = Decoder()
    found = [x for part in parts for x in decoder.feed(part)]
    assert found == [None] * len([x for x in b"".join(parts).split(b"\0")[:-1] if x])
    decoder.feed(b"\0")
    assert decoder.feed(frame(Kind.ECHO | ANSWER, 1, b"\0x") + b"\0") == [Answer(Kind.ECHO, 1, Status.OK, b"x")]


@given(st.binary(min_size=1, max_size=80), st.data())
def test_flipped_answers_are_seen(body, data):
    line = bytearray(frame(Kind.ECHO | ANSWER, 7, b"\0" + body))
    at = data.draw(st.integers(0, len(line) - 1))
    line[at] ^= data.draw(st.integers(1, 255))
    assert decode(bytes(line)) is None
    assert decode(bytes(line[:at])) is None


def test_identity(device):
    assert dataclasses.asdict(device.link.identity) == {
        "protocol": protocol.VERSION, "align": 4, "data_bytes": DATA_BYTES, "clock": SITE.clock, "memory": SITE.memory_bytes,
        "digest": SMALL.digest, "build": SITE.build, "board": "twin"}
    assert device.memory_bytes == SITE.memory_bytes and Driver(device).info().preset == "small"


def test_operations(board, device):
    rng = random.Random(2)
    assert device.read_register(REGISTERS["ID"].address) == ID_VALUE
    device.write_register(SEGMENT, 0xFFFFF000)
    assert device.read_registers(SEGMENT - 4, 2) == [0, 0xFFFFF000]
    requests = device.link.counters.requests
    device.write_registers(SEGMENT, [0x1000, 0, 0x3000])
    assert device.read_registers(SEGMENT - 4, 4) == [0, 0x1000, 0, 0x3000]
    assert device.link.counters.requests == requests + 2  # one each
    memory = bytearray(rng.randbytes(3000))
    device.write_memory(0, bytes(memory))
    for _ in range(40):  # any alignment; what lies around stays
        low, size = rng.randrange(2900), rng.choice([0, 1, 2, 3, 5, 64, 97])
        memory[low:low + size] = data = rng.randbytes(min(size, 3000 - low))
        device.write_memory(low, data)
        assert device.read_memory(low, len(data)) == data
    assert board.device.read_memory(0, 3000) == bytes(memory) == device.read_memory(0, 3000)
    for data in (b"", b"\0", bytes(DATA_BYTES), b"\xff" * DATA_BYTES, rng.randbytes(254)):
        assert device.link.echo(data) == data
    assert not device.wait_interrupt(0.01)
    assert board.register_writes == [(SEGMENT, 0xFFFFF000), (SEGMENT, 0x1000), (SEGMENT + 4, 0), (SEGMENT + 8, 0x3000)]
    assert device.link.counters.repeated == 0


@given(st.lists(st.one_of(st.just(0), st.integers(0, 255)), max_size=200).map(bytes))
def test_sparse_bytes_come_back(data):
    packed = pack_sparse(data)
    assert protocol.unpack_sparse(packed, len(data)) == data
    sizes = sparse_sizes(data)
    assert sizes[-1] == len(packed) and all(len(pack_sparse(data[:8 * i])) == n for i, n in enumerate(sizes))


@pytest.mark.parametrize("density", [0.0, 0.05, 0.3, 0.7, 1.0])
def test_what_is_mostly_zeros_is_written_sooner(board, device, density):
    """Never more on the line than the bytes themselves take, and an eighth where all are zero; any size arrives."""
    rng = random.Random(7)
    for size in (4, 12, 448, 452, 5000, 20_000):
        data = bytes(rng.randrange(1, 256) if rng.random() < density else 0 for _ in range(size))
        board.device.write_memory(0, b"\xaa" * (size + 8))
        before = device.link.counters.bytes_sent
        device.write_memory(4, data)
        assert board.device.read_memory(0, size + 8) == b"\xaa" * 4 + data + b"\xaa" * 4
        sent = device.link.counters.bytes_sent - before
        frames = -(-size // DATA_BYTES)
        nonzero = size - data.count(0)
        assert sent <= min(size, nonzero + size // 8 + 20) + 18 * frames
    assert device.link.counters.repeated == 0


@pytest.mark.parametrize("seed", range(3))
def test_a_bad_line(seed):
    """One byte in a hundred is wrong, both ways: everything is right in the end, and every register is written once."""
    board, device = noisy(0.01, seed)
    rng = random.Random(seed)
    data = rng.randbytes(6000)
    writes = [(SEGMENT, rng.getrandbits(32)) for _ in range(50)]
    device.write_memory(0x1000, data)
    for address, value in writes:
        device.write_register(address, value)
        assert device.read_register(address) == value
    assert device.read_memory(0x1000, len(data)) == data == board.device.read_memory(0x1000, len(data))
    assert board.beats_written == set(range(0x1000, 0x1000 + len(data), 4)) and board.register_writes == writes
    counters = device.link.counters
    assert counters.repeated > 50 and counters.damaged_requests > 10 and counters.damaged_answers > 10 and counters.timeouts > 0


def test_answers_that_come_twice(board, device):
    board.echoes = 3
    for value in range(30):
        device.write_register(SEGMENT, value)
        assert device.read_register(SEGMENT) == value
    assert device.link.counters.strays > 50 and board.register_writes == [(SEGMENT, value) for value in range(30)]


def test_no_answer(board, device):
    device.read_register(0)
    board.silent = True
    with pytest.raises(LinkError, match=rf"no good answer to WRITE_REGISTERS \(number \d+\) in {TRIES} tries; "
                                        r"\d+ bytes sent, 0 received, the last good answer was .*READ_REGISTERS"):
        device.write_register(SEGMENT, 5)
    assert board.register_writes == [(SEGMENT, 5)]  # it was done, once; nobody can know
    board.silent = False
    assert device.read_register(SEGMENT) == 5


def test_refusals(board, device):
    with pytest.raises(RefusedError, match=r"READ_REGISTERS \(number \d+, address 0x1000, length 0x4\): outside") as caught:
        device.read_register(0x1000)
    assert caught.value.status == Status.RANGE
    board.broken = Status.BUS
    with pytest.raises(RefusedError, match="error response"):
        device.write_memory(0, bytes(8))
    board.broken = None
    assert device.read_register(0) == ID_VALUE


def test_a_board_that_was_reset(board, device):
    board.reset()
    with pytest.raises(RefusedError, match="has been reset"):
        device.write_register(SEGMENT, 1)
    assert board.register_writes == []
    device.write_register(SEGMENT, 2)
    assert board.register_writes == [(SEGMENT, 2)]


def test_another_board(board, device):
    board.site = dataclasses.replace(SITE, board="other")
    board.reset()
    with pytest.raises(RefusedError):
        device.write_register(SEGMENT, 1)
    for _ in range(2):
        with pytest.raises(DeviceMismatchError, match=r"was .*twin.* and is now .*other"):
            device.write_register(SEGMENT, 1)
    assert board.register_writes == []


def test_another_version(monkeypatch, board):
    monkeypatch.setattr("golden.spec.link.VERSION", 9)
    board.reset()  # the twin says 9
    monkeypatch.undo()
    with pytest.raises(DeviceMismatchError, match="speaks version 9 of the link, this software 3"):
        LinkClient(board)


class Liar(TwinBoard):
    """Answers with good frames that say anything."""

    def send(self, data):
        before = len(self.to_host)
        super().send(data)
        if len(self.to_host) == before or self.rng.random() < 0.5:
            return
        answer, pick = decode(bytes(self.to_host[before:-1])), self.rng.choice
        assert answer
        kind, sequence = pick([answer.kind, answer.kind, *Kind]), pick([answer.sequence, answer.sequence, 0, answer.sequence ^ 1])
        body = pick([answer.body, answer.body[::-1], answer.body[1:], self.rng.randbytes(self.rng.randrange(60))])
        self.to_host[before:] = frame(kind | ANSWER, sequence, bytes([pick([0, 0, *range(9)])]) + body) + b"\0"


def test_a_board_that_lies():
    """Whatever comes is the value of an answer or a `DeviceError`, and comes soon."""
    good = bad = 0
    for seed in range(150):
        try:
            device = LinkDevice(LinkClient(Liar(seed=seed), timeout=0.0005), "serial:liar")
        except DeviceError:
            bad += 1
            continue
        for action, fine in (
            (lambda x: x.read_register(0), lambda x: 0 <= x < 1 << 32),
            (lambda x: x.write_memory(2, bytes(9)), lambda x: x is None),
            (lambda x: x.read_memory(0, 900), lambda x: len(x) == 900),
            (lambda x: x.wait_interrupt(0), lambda x: x in (False, True)),
        ):
            try:
                assert fine(action(device))
                good += 1
            except DeviceError:
                bad += 1
    assert good > 30 and bad > 30


def test_a_board_that_never_ends(board, device, monkeypatch):
    monkeypatch.setattr("sw.link.client.RESTLESS", 0.05)
    board.reset()
    with pytest.raises(RefusedError):
        device.read_register(0)
    board.receive = lambda timeout: b"x"
    with pytest.raises(LinkError, match="without end"):
        device.read_register(0)


def test_a_board_that_talks_over_its_answer(board, device):
    board.receive = lambda timeout: b"x"
    with pytest.raises(LinkError, match="no good answer to READ_REGISTERS"):
        device.read_register(0)


@pytest.mark.parametrize(("uri", "message"), [
    ("serial:///dev/nothing-there", "cannot be opened"), ("serial:///dev/null", "cannot be opened"),
    ("serial:///dev/nothing-there?baud=0", "baud = 0 is outside"), ("serial:///dev/nothing-there?stall=1", "no option stall"),
])
def test_ports_that_are_not_there(uri, message):
    with pytest.raises(DeviceUnavailableError, match=message):
        open_device(uri)


def test_a_line_that_is_lost(board, device, bundle, clip):
    """In the middle of a run: a clear error; the run after works."""
    driver = Driver(device)
    driver.load(bundle)
    expected = driver.run(clip).logits
    board.gone = True
    with pytest.raises(DeviceUnavailableError, match="lost"):
        driver.run(clip)
    board.gone = False
    assert np.array_equal(driver.run(clip).logits, expected)


@pytest.mark.parametrize("noise", [0.0, 0.002])
def test_a_clip(noise, bundle, clip):
    golden = Driver(GoldenDevice(SMALL))
    golden.load(bundle)
    _, device = noisy(noise, 4)
    driver = Driver(device)
    driver.load(bundle)
    expected, found = golden.trace(clip), driver.trace(clip)
    assert np.array_equal(found.logits, expected.logits) and found.layers == expected.layers
    assert all(np.array_equal(found.tensors[name], expected.tensors[name]) for name in expected.tensors)
