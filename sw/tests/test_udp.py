"""The link over UDP, against the twin of the gateware behind a real socket."""

import socket
import threading

import pytest

from golden.spec.registers import ID_VALUE
from sw.device.base import DeviceUnavailableError
from sw.device.open import open_device
from sw.tests.twin_board import SITE, TwinBoard


@pytest.fixture
def server():
    """A twin that answers datagrams; its URI."""
    twin = TwinBoard()
    port = socket.socket(socket.AF_INET, socket.SOCK_DGRAM)
    port.bind(("127.0.0.1", 0))

    def serve():
        while True:
            data, host = port.recvfrom(1 << 16)
            if data == b"stop":
                return
            twin.send(data)
            answer, twin.to_host = bytes(twin.to_host), bytearray()
            if answer:
                port.sendto(answer, host)

    thread = threading.Thread(target=serve)
    thread.start()
    yield "udp://{}:{}".format(*port.getsockname())
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as stopper:
        stopper.sendto(b"stop", port.getsockname())
    thread.join()
    port.close()


def test_operations(server):
    with open_device(server.replace("127.0.0.1", "localhost")) as device:
        assert device.read_register(0) == ID_VALUE and device.clock == SITE.clock
        device.write_memory(3, b"0123456789" * 200)
        device.reconnect()
        assert device.read_memory(3, 2000) == b"0123456789" * 200


@pytest.mark.parametrize(("uri", "message"), [
    ("udp://", "HOST:PORT"), ("udp://localhost", "HOST:PORT"), ("udp://localhost:0", "HOST:PORT"), ("udp://:5", "HOST:PORT"),
    ("udp://localhost:99999", "HOST:PORT"), ("udp://localhost:5/x", "HOST:PORT"), ("udp://[::1:5", "HOST:PORT"),
    ("udp:localhost:5", "HOST:PORT"), ("udp://localhost:5?baud=3", "no option baud"),
    ("udp://no.such.host.invalid:5", "cannot be reached"),
    ("udp://127.0.0.1:9", "nobody is at|no good answer"),
])
def test_hosts_that_are_not_there(uri, message):
    with pytest.raises(DeviceUnavailableError, match=message):
        open_device(uri)
