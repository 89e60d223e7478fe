"""Every network by name, its configuration as JSON, and how to build it."""

from __future__ import annotations

import json
from dataclasses import asdict, replace
from typing import Any

from golden.data.digit_motion import CLASSES
from golden.models.attention import AttentionConfig
from golden.models.network import Network
from golden.models.neurons import NeuronConfig
from golden.models.spikevideoformer import SpikeVideoFormer, SpikeVideoFormerConfig
from golden.models.svformer import SVFormer, SVFormerConfig
from golden.models.synapses import Quantisation
from golden.spec.encoding import EVENTS, RGB, Encoding
from golden.spec.model import SDHA, SSA, ModelError

Config = SVFormerConfig | SpikeVideoFormerConfig
MODELS: dict[str, tuple[type, type[Network]]] = {
    "svformer": (SVFormerConfig, SVFormer), "spikevideoformer": (SpikeVideoFormerConfig, SpikeVideoFormer),
}

JHMDB = (
    "brush_hair", "catch", "clap", "climb_stairs", "golf", "jump", "kick_ball", "pick", "pour", "pullup", "push", "run",
    "shoot_ball", "shoot_bow", "shoot_gun", "sit", "stand", "swing_baseball", "throw", "walk", "wave",
)


def _names(count: int) -> tuple[str, ...]:
    """Classes of a geometry without trained weights."""
    return tuple(str(i) for i in range(count))


_VIDEO = Encoding(kind=RGB, height=224, width=224, timesteps=16, frames=1, patch=1, stride=4)
_SDHA_PUBLISHED = AttentionConfig(kind=SDHA, design="joint", rep=True, scale="norm")
_SSA_PUBLISHED = AttentionConfig(kind=SSA, design="spatial", scale="eighth")
_UCF101 = SVFormerConfig(name="svformer-ucf101", encoding=_VIDEO, classes=_names(101), attention=_SSA_PUBLISHED, branch=True,
                         neuron=NeuronConfig(learned=True), published=True)
_15M = SpikeVideoFormerConfig(name="spikevideoformer-15m", encoding=replace(_VIDEO, timesteps=8), classes=_names(1000),
                              attention=_SDHA_PUBLISHED, neuron=NeuronConfig(surrogate="sigmoid"), published=True)
_SMALL = Encoding(kind=RGB, height=64, width=64, timesteps=16, frames=1, patch=4)

#: EfficientNet-Lite0's first twelve blocks, whose weights can be taken over: the last one halves the resolution a fifth time.
_LITE0 = ((3, 1, 1, 16, 1), (3, 2, 6, 24, 2), (5, 2, 6, 40, 2), (3, 2, 6, 80, 3), (5, 1, 6, 112, 3), (5, 2, 6, 192, 1))

CONFIGS: dict[str, Config] = {config.name: config for config in (
    # as published
    _UCF101,
    _15M,
    replace(_15M, name="spikevideoformer-31m", dims=(48, 96, 192, 384, 480)),
    replace(_15M, name="spikevideoformer-55m", dims=(64, 128, 256, 512, 640)),
    replace(_15M, name="spikevideoformer-123m", dims=(96, 192, 384, 768, 960)),
    # what the integer contract can express
    replace(_UCF101, name="svformer-ucf101-hw", neuron=NeuronConfig(), published=False),
    replace(_15M, name="spikevideoformer-15m-hw", attention=AttentionConfig(rep=True), neuron=NeuronConfig(), published=False),
    SVFormerConfig(
        name="svformer-nano", encoding=Encoding(height=32, width=32, timesteps=16, frames=2, patch=4), classes=CLASSES,
        dims=(32, 64), depths=(1, 1), local_stages=1, stem=(1, 1, 0), local_ratio=2, head_dim=32,
    ),
    SVFormerConfig(
        name="svformer-jhmdb", encoding=replace(_SMALL, height=112, width=112, frames=2, patch=1), classes=JHMDB,
        dims=(32, 192), depths=(0, 1), local_stages=1, stem=(3, 2, 1), inverted=_LITE0, down=(1, 1, 0), ratio=1,
        neuron=NeuronConfig(levels=15),
    ),
    SVFormerConfig(
        name="svformer-nmnist", classes=_names(10), dims=(64, 128), depths=(1, 1), local_stages=1, stem=(1, 1, 0), local_ratio=2,
        head_dim=64, encoding=Encoding(
            kind=EVENTS, height=34, width=34, timesteps=10, frames=1, patch=2, bits=2, sensor_height=34, sensor_width=34,
        ),
    ),
    SpikeVideoFormerConfig(
        name="spikevideoformer-jhmdb", encoding=replace(_SMALL, frames=2), classes=JHMDB, dims=(64, 128, 128), depths=(0, 1, 1),
        strides=(1, 2, 1), conv_stages=2, stem=1, kernel=3, separable_ratio=1, conv_ratio=1, ratio=1, heads=2,
        attention=AttentionConfig(rep=True), neuron=NeuronConfig(levels=4),
    ),
)}


def build(config: Config, quant: Quantisation | None = None) -> Network:
    """The network of a configuration, with fresh weights.

    Raises
    ------
    ModelError
        If it shall be quantised and the integer contract cannot express it.
    """
    return MODELS[config.model][1](config, quant)


def config_to_json(config: Config) -> str:
    """A configuration as JSON text, to be kept with weights."""
    return json.dumps({"model": config.model, **asdict(config)}, sort_keys=True)


def tuples(value: Any) -> Any:
    """Lists, and lists in them, as tuples."""
    return tuple(tuples(x) for x in value) if isinstance(value, list) else value


def config_from_json(text: str) -> Config:
    """The inverse of `config_to_json`.

    Raises
    ------
    ModelError
        If the text is no configuration.
    """
    try:
        data: dict[str, Any] = json.loads(text)
        kind = MODELS[data.pop("model")][0]
        for name, part in (("encoding", Encoding), ("attention", AttentionConfig), ("neuron", NeuronConfig)):
            data[name] = part(**data[name])
        return kind(**{name: tuples(value) for name, value in data.items()})
    except (ValueError, TypeError, KeyError, AttributeError) as error:
        raise ModelError(f"not a configuration of {' or '.join(MODELS)}: {error!r}") from error
