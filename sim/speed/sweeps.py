"""Does skipping pay, and is attention linear in time? One convolution at several densities, one attention at several lengths.

The convolution is 3x3 from 64 to 64 channels on 16x16 places, 16 time steps, its spikes independent of each other; a
layer before it picks them out of the input, so that they are as dense as is asked for. At density 1 the array has
nothing to skip: an array without skipping takes as long for any spikes. Attention is SDHA, one head of 64 channels.
"""

from __future__ import annotations

from itertools import product
from pathlib import Path

import numpy as np

from golden.integer import network
from golden.integer.random_model import calibrate
from golden.spec.config import Config
from golden.spec.encoding import EVENTS, Encoding
from golden.spec.model import CONV, HEAD, INPUT, SDHA, Layer, Model
from sim.speed.report import Attention, Density, Sweeps
from sw.attention import slices as attention_slices
from sw.compiler import compile_model
from sw.cycles import predict
from sw.device.sim import SimDevice
from sw.driver import Driver
from sw.layouts import Layouts
from sw.model_file import ModelFile
from sw.packing import Array

DENSITIES = (0.05, 0.1, 0.2, 0.4, 1.0)
MEASURED = (0.1, 0.4)  #: of these
LENGTHS = (4, 8, 16, 32)  #: time steps of attention
PLACES = (4, 8)  #: rows and columns of attention: those of svformer-nano and svformer-jhmdb, of spikevideoformer-jhmdb
CHANNELS = 64
INPUT_DENSITY = 0.1  #: of attention's network
_CLASSES = ("one", "two")


def _encoding(places: int, timesteps: int) -> Encoding:
    """Input tensors [timesteps, places, places, 128] of single bits: events, in patches of 8 x 8 pixels."""
    size = 8 * places
    return Encoding(kind=EVENTS, height=size, width=size, timesteps=timesteps, frames=1, patch=8, bits=1, sensor_height=size,
                    sensor_width=size)


def _head(source: str) -> Layer:
    return Layer(name="head", op=HEAD, inputs=(source,), channels=len(_CLASSES))


def convolution(places: int = 16, timesteps: int = 16, seed: int = 0) -> ModelFile:
    """The network around layer ``conv``, whose input are the first `CHANNELS` channels of the network's."""
    rng = np.random.default_rng(seed)
    layers = (
        Layer(name="pick", op=CONV, inputs=(INPUT,), channels=CHANNELS, spike_out="pick.s", theta=1, leak=0),
        Layer(name="conv", op=CONV, inputs=("pick.s",), channels=CHANNELS, kernel=3, padding=1, spike_out="conv.s", theta=64),
        _head("conv.s"),
    )
    encoding = _encoding(places, timesteps)
    tensors: dict[str, Array] = {}
    for layer, inputs in zip(layers, (encoding.shape[3], CHANNELS, CHANNELS), strict=True):
        shape = (layer.channels, inputs, layer.kernel, layer.kernel)
        tensors |= {
            f"{layer.name}.weight": rng.integers(-8, 8, shape, np.int8), f"{layer.name}.bias": np.zeros(shape[0], np.int32),
            f"{layer.name}.shift": np.zeros(shape[0], np.int8),
        }
    tensors["pick.weight"] = np.eye(CHANNELS, encoding.shape[3], dtype=np.int8)[:, :, None, None]
    return ModelFile(Model(name="convolution", encoding=encoding, classes=_CLASSES, layers=layers), tensors)


def spikes(source: ModelFile, density: float, seed: int = 0) -> Array:
    """Input [T, H, W, C] of a network, each bit set with probability ``density`` and independent of all others."""
    return (np.random.default_rng(seed).random(source.model.encoding.shape) < density).astype(np.uint8)


def attention(timesteps: int, places: int = 8, seed: int = 0) -> ModelFile:
    """The network around layer ``sdha``; q, k, v are made of random weights, the same for any ``timesteps``."""
    projections = tuple(
        Layer(name=x, op=CONV, inputs=(INPUT,), channels=CHANNELS, spike_out=f"{x}.s", theta=64) for x in "qkv")
    layers = (
        *projections,
        Layer(name="sdha", op=SDHA, inputs=("q.s", "k.s", "v.s"), channels=CHANNELS, spike_out="sdha.s", theta=64),
        _head("sdha.s"),
    )
    rng = np.random.default_rng(seed)
    seen = (rng.random(_encoding(places, timesteps=16).shape) < INPUT_DENSITY).astype(np.uint8)
    known: list[dict[str, network.Array]] = [{INPUT: seen}]
    tensors: dict[str, Array] = {}
    for layer in layers:
        calibrate(layer, tensors, known, rng, (5, 25), 16)
    encoding = _encoding(places, timesteps)
    return ModelFile(Model(name="attention", encoding=encoding, classes=_CLASSES, layers=layers), tensors)


def _cycles(source: ModelFile, config: Config, clip: Array, layer: str, library: Path | None) -> tuple[int, int | None]:
    """Cycles of a layer as predicted, and on the Verilated machine where there is a ``library``."""
    bundle = compile_model(source, config)
    predicted = predict(bundle, config, clip).layers[layer].cycles
    if library is None:
        return predicted, None
    with SimDevice(library, f"sim:{config.name}") as device:
        driver = Driver(device)
        driver.load(bundle)
        return predicted, driver.run(clip).layers[layer].cycles


def sweep(config: Config, library: Path) -> Sweeps:
    """Both sweeps by the cycle model, and what is in `MEASURED` on the Verilated machine, too.

    Parameters
    ----------
    config : Config
        A machine whose memories hold the layers, such as ``base``.
    library : Path
        Its shared object, see `sim.device.build`.

    Raises
    ------
    sw.support.UnsupportedError
        If the layers do not fit.
    """
    source, densities, lengths = convolution(), [], []
    for density in DENSITIES:
        found = _cycles(source, config, spikes(source, density), "conv", library if density in MEASURED else None)
        densities.append(Density(density=density, predicted=found[0], measured=found[1]))
    for places, timesteps in product(PLACES, LENGTHS):
        other = attention(timesteps, places)
        found = _cycles(other, config, spikes(other, INPUT_DENSITY, seed=timesteps), "sdha", library)
        slices = attention_slices(Layouts(other.model, config), other.model.layers[-2])
        lengths.append(Attention(places=places, timesteps=timesteps, slices=slices, predicted=found[0], measured=found[1]))
    return Sweeps(preset=config.name, densities=tuple(densities), attention=tuple(lengths))
