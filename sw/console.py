"""What all commands share: the application, its two outputs, exit codes, and how a network gets to a device."""

from __future__ import annotations

import json
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Annotated, Any

import typer
from rich.console import Console

from golden.encoding import DataError
from golden.spec.config import Config, ConfigError, preset
from golden.spec.model import ModelError
from sw import bundle as bundles
from sw.bundle import Bundle, BundleError
from sw.compiler import compile_model
from sw.device.base import Device, DeviceError, DeviceMismatchError
from sw.device.open import KINDS
from sw.driver import ClipError, Driver
from sw.model_file import ModelFile, read_model
from sw.support import UnsupportedError

MODEL = Path("golden/weights/svformer-nano.safetensors")
DEVICE = "sim:small"

DIFFERENT, UNUSABLE, FAILED = 1, 2, 3  #: exit codes; 0 is done
EXIT_CODES = ("Exit code 0: done; 1: something is not what it must be (not bit-exact, a tool is missing); 2: a file, model or "
              "option cannot be used; 3: the device is not there, is another one, or failed.")

app = typer.Typer(add_completion=False, no_args_is_help=True, pretty_exceptions_enable=False, epilog=EXIT_CODES)
screen = Console(stderr=True, highlight=False, soft_wrap=True)
output = Console(highlight=False, soft_wrap=True)

DeviceOption = Annotated[str, typer.Option("--device", help=KINDS)]
ModelOption = Annotated[Path | None, typer.Option("--model", help=f"model file, compiled for the device (default: {MODEL})")]
BundleOption = Annotated[Path | None, typer.Option("--bundle", help="bundle to run, instead of compiling a model")]
JsonOption = Annotated[bool, typer.Option("--json", help="print JSON")]


def complain(error: Exception) -> None:
    """Tell a user's mistake."""
    screen.print(f"error: {error}", style="red", markup=False)


def code(error: Exception) -> int:
    """The exit code of an error."""
    return FAILED if isinstance(error, DeviceError) else UNUSABLE


@contextmanager
def mistakes() -> Iterator[None]:
    """Turn whatever can go wrong outside of this program into a message and an exit code."""
    try:
        yield
    except (BundleError, ClipError, ConfigError, DataError, DeviceError, ModelError, OSError, UnsupportedError) as error:
        complain(error)
        raise typer.Exit(code(error)) from None


def dump(value: Any) -> None:
    """Print JSON."""
    print(json.dumps(value, indent=2))


def rows(pairs: list[tuple[str, str]]) -> None:
    """Print names and values."""
    for key, value in pairs:
        output.print(f"{key + ':':<16}{value}", markup=False)


def config_of(device: Device) -> Config:
    """What a device has been built as.

    Raises
    ------
    DeviceMismatchError
        If that is no preset.
    """
    info = Driver(device).info()
    if not info.preset:
        raise DeviceMismatchError(f"{device.uri} has config {info.digest}, which is no preset: give a --bundle compiled for it")
    return preset(info.preset)


def network(device: Device, model: Path | None, bundle: Path | None) -> tuple[Bundle, ModelFile | None]:
    """What is to be run on a device, and the model it was made from, where that is given.

    Raises
    ------
    BundleError, ModelError, UnsupportedError, DeviceMismatchError
        If it cannot be used, or bundle and model do not belong together.
    """
    source = None if bundle and not model else read_model(model or MODEL)
    used = bundles.load(bundle) if bundle else compile_model(read_model(model or MODEL), config_of(device))
    if source and source.digest != used.manifest.model:
        raise BundleError(f"'{bundle}' was compiled from model {used.manifest.model}, '{model}' is {source.digest}")
    return used, source
