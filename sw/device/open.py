"""Devices by their URI."""

from __future__ import annotations

from urllib.parse import parse_qsl, urlsplit

from golden.spec.config import ConfigError, preset
from sw.device.base import Device, DeviceError, DeviceUnavailableError
from sw.link.client import TIMEOUT, LinkClient
from sw.link.device import LinkDevice
from sw.link.transport import SerialTransport, Transport, UdpTransport

KINDS = ("golden:PRESET, sim:PRESET[?seed=N&stall=PER_MILLE&latency=CYCLES&bandwidth=BYTES], serial://PATH[?baud=N], "
         "udp://HOST:PORT or null:PRESET")
OPTIONS: dict[str, set[str]] = {
    "golden": set(), "null": set(), "sim": {"seed", "stall", "latency", "bandwidth"}, "serial": {"baud"}, "udp": set(),
}
UDP_TIMEOUT = 0.2  #: seconds to wait for an answer, where no line takes time
LIMITS = {
    "seed": (0, (1 << 64) - 1), "stall": (0, 999), "latency": (0, 1_000_000), "bandwidth": (0, 1024), "baud": (1, 100_000_000),
}
BAUD = 1_000_000  #: where the URI says nothing


def open_device(uri: str) -> Device:
    """Open a device.

    Parameters
    ----------
    uri : str
        ``golden:PRESET``, the functional model; ``sim:PRESET?seed=1&stall=100&latency=20&bandwidth=4``, the Verilated
        accelerator whose memory answers after ``latency`` cycles, moves ``bandwidth`` bytes a cycle and stalls with ``stall`` per
        mille (default ``small``);
        ``serial:///dev/ttyUSB0?baud=3000000``, a board on a serial line; ``udp://HOST:PORT``, one on a network;
        ``null:PRESET``, a machine that makes nothing, at once.

    Raises
    ------
    DeviceUnavailableError
        If there is no such device, or it has not been built; the message says how to build it.
    DeviceError
        If a board does not answer.
    """
    kind, _, rest = uri.partition(":")
    name, _, query = rest.partition("?")
    if kind not in OPTIONS:
        raise DeviceUnavailableError(f"no device '{uri}'; there are {KINDS}")
    try:
        options = {key: int(value) for key, value in parse_qsl(query, keep_blank_values=True, strict_parsing=bool(query))}
    except ValueError:
        raise DeviceUnavailableError(f"device '{uri}': options are NAME=NUMBER, joined by '&'") from None
    if unknown := set(options) - OPTIONS[kind]:
        raise DeviceUnavailableError(f"device '{uri}' has no option {', '.join(sorted(unknown))}; there are {KINDS}")
    for option, value in options.items():
        low, high = LIMITS[option]
        if not low <= value <= high:
            raise DeviceUnavailableError(f"device '{uri}': {option} = {value} is outside {low}..{high}")
    if kind == "serial":
        return _open_link(SerialTransport(name.removeprefix("//"), options.get("baud", BAUD)), uri)
    if kind == "udp":
        try:
            where = urlsplit(uri)
            host, port = where.hostname, where.port
        except ValueError:
            host = port = None
        if not host or not port or where.path:
            raise DeviceUnavailableError(f"device '{uri}': it is udp://HOST:PORT, with a port from 1 to 65535")
        return _open_link(UdpTransport(host, port), uri, UDP_TIMEOUT)
    try:
        config = preset(name or "small")
    except ConfigError as error:
        raise DeviceUnavailableError(f"device '{uri}': {error}") from None
    if kind == "golden":
        from sw.device.golden import GoldenDevice

        return GoldenDevice(config)
    if kind == "null":
        from sw.device.null import NullDevice

        return NullDevice(config)
    from sw.device.sim import MEMORY_BYTES, SimDevice, library_path

    return SimDevice(library_path(config.name), uri, **options, memory_bytes=min(MEMORY_BYTES, 1 << config.address_bits))


def _open_link(transport: Transport, uri: str, timeout: float = TIMEOUT) -> Device:
    try:
        return LinkDevice(LinkClient(transport, timeout), uri)
    except DeviceError:
        transport.close()
        raise
