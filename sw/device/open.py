"""Devices by their URI."""

from __future__ import annotations

from urllib.parse import parse_qsl

from golden.spec.config import ConfigError, preset
from sw.device.base import Device, DeviceUnavailableError

KINDS = "golden:PRESET or sim:PRESET[?seed=N&stall=PER_MILLE&latency=CYCLES]"


def open_device(uri: str) -> Device:
    """Open a device.

    Parameters
    ----------
    uri : str
        ``golden:PRESET``, the functional model, or ``sim:PRESET?seed=1&stall=100&latency=20``, the Verilated
        accelerator whose memory answers after ``latency`` cycles and stalls with ``stall`` per mille. Default ``small``.

    Raises
    ------
    DeviceUnavailableError
        If there is no such device, or it has not been built; the message says how to build it.
    """
    kind, _, rest = uri.partition(":")
    name, _, query = rest.partition("?")
    try:
        config = preset(name or "small")
        options = {key: int(value) for key, value in parse_qsl(query, keep_blank_values=True, strict_parsing=bool(query))}
    except ConfigError as error:
        raise DeviceUnavailableError(f"device '{uri}': {error}") from None
    except ValueError:
        raise DeviceUnavailableError(f"device '{uri}': options are NAME=NUMBER, joined by '&'") from None
    allowed = {"golden": set(), "sim": {"seed", "stall", "latency"}}
    if kind not in allowed:
        raise DeviceUnavailableError(f"no device '{uri}'; there are {KINDS}")
    if unknown := set(options) - allowed[kind]:
        raise DeviceUnavailableError(f"device '{uri}' has no option {', '.join(sorted(unknown))}; there are {KINDS}")
    for option, high in (("seed", (1 << 64) - 1), ("stall", 999), ("latency", 1_000_000)):
        if not 0 <= options.get(option, 0) <= high:
            raise DeviceUnavailableError(f"device '{uri}': {option} = {options[option]} is outside 0..{high}")
    if kind == "golden":
        from sw.device.golden import GoldenDevice

        return GoldenDevice(config)
    from sw.device.sim import SimDevice, library_path

    return SimDevice(library_path(config.name), uri, **options)
