"""Recipes: everything that decides the weights of a trained network, as one TOML file."""

from __future__ import annotations

import tomllib
from dataclasses import asdict, dataclass, field, fields, replace
from pathlib import Path
from typing import Any

from golden.data.augment import Augmentation
from golden.examples import Choice
from golden.models.catalogue import CONFIGS, Config, tuples
from golden.models.synapses import Quantisation
from golden.spec.model import ModelError

SHIPPED = Path(__file__).parent / "recipes"


@dataclass(frozen=True, kw_only=True)
class Phase:
    """One run of the optimiser (AdamW, learning rate up and down again) over the training clips."""

    epochs: int
    lr: float  #: at its highest
    batch: int = 32  #: clips of one step, of all processes together
    clips: int = 0  #: that one epoch sees; 0 for all
    decay: float = 0.05  #: of weights
    warm: float = 0.15  #: share of the steps in which the learning rate rises
    smoothing: float = 0.1  #: of labels
    average: float = 0.99  #: the weights that are judged and kept are a mean that decays so much with every step
    relative: bool = False  #: learning rates count in root mean squares of each tensor, as it is when the phase begins
    bf16: bool = False  #: convolutions in bfloat16, where the processor is faster at it; not for quantised networks


@dataclass(frozen=True, kw_only=True)
class Distillation:
    """The network also learns to tell what a larger one sees in each frame; see `golden.distillation`."""

    weight: float = 1.0  #: of the mean square error of what it tells of frames, beside the cross entropy
    labels: float = 0.5  #: share of the teacher's opinion of a clip in the labels that the network learns
    components: int = 128  #: principal components of what the teacher sees in a frame
    places: float = 1.0  #: weight of the mean square error of what it tells of each place of a frame
    anchor: float = 0.0  #: weight of the distance of inverted residual blocks from the teacher's, see `golden.pretraining`
    size: int = 192  #: height and width of the frames that the teacher sees


@dataclass(frozen=True, kw_only=True)
class Recipe(Choice):
    """Everything that decides the weights, but the data."""

    name: str
    network: str  #: of the catalogue
    change: dict[str, Any] = field(default_factory=dict)  #: fields of its configuration, and their values
    float: Phase
    qat: Phase
    quantisation: Quantisation = field(default_factory=Quantisation)
    distillation: Distillation | None = None
    pretrained: bool = False  #: stem and inverted residual blocks begin with the teacher's weights, see `golden.pretraining`
    frozen: int = 0  #: so many first blocks, and the stem, keep their weights in float, see `golden.frozen`
    draws: int = 8  #: forms of each clip that the frozen blocks see
    regression: bool = False  #: the classifier begins and ends as a logistic regression, see `golden.regression`
    calibration: int = 0  #: clips on which narrow weights are calibrated before they are trained, see `golden.calibration`

    @property
    def config(self) -> Config:
        """Configuration of the network; classes are the catalogue's until the data's are known."""
        config = CONFIGS[self.network]
        values = dict(self.change)
        for part in ("encoding", "attention", "neuron"):
            if part in values:
                values[part] = replace(getattr(config, part), **values[part])
        return replace(config, **{k: tuples(v) for k, v in values.items()})  # type: ignore[arg-type]

    def to_dict(self) -> dict[str, Any]:
        """For a model card."""
        return asdict(self)


def load_recipe(which: str) -> Recipe:
    """A recipe by the name of one that is shipped, or by the path of a TOML file.

    Raises
    ------
    ModelError
        If there is none, or it has a field that no recipe has, or a value that makes no sense.
    """
    path = Path(which) if which.endswith(".toml") else SHIPPED / f"{which}.toml"
    names = ", ".join(sorted(x.stem for x in SHIPPED.glob("*.toml")))
    try:
        data = tomllib.loads(path.read_text(encoding="utf-8"))
    except FileNotFoundError as error:
        raise ModelError(f"no recipe '{which}'; shipped are {names}; or give the path of a .toml file") from error
    except (OSError, ValueError) as error:
        raise ModelError(f"cannot read recipe '{path}': {error}") from error
    parts = {
        "float": Phase, "qat": Phase, "quantisation": Quantisation, "augmentation": Augmentation,
        "distillation": Distillation,
    }
    try:
        made = {k: parts[k](**_known(parts[k], v, f"[{k}]")) if k in parts else v for k, v in data.items()}
        recipe = Recipe(**{"name": path.stem, **_known(Recipe, made, "the recipe")})
        if recipe.network not in CONFIGS:
            raise ValueError(f"no network '{recipe.network}'; there are {', '.join(CONFIGS)}")
        if recipe.data not in ("folder", "digit-motion"):
            raise ValueError(f"data is '{recipe.data}', not folder or digit-motion")
        if recipe.qat.bf16:
            raise ValueError("[qat] cannot be bf16: quantised networks need the 24 bits of float32")
        if recipe.draws < 1 or recipe.frozen < 0 or recipe.calibration < 0:
            raise ValueError("draws is at least 1, frozen and calibration are at least 0")
        recipe.config  # noqa: B018  fields of the network
    except (TypeError, ValueError) as error:
        raise ModelError(f"recipe '{path}': {error}") from error
    return recipe


def _known(cls: type, values: dict[str, Any], where: str) -> dict[str, Any]:
    """The values, of which the class must have a field each."""
    if strange := set(values) - {f.name for f in fields(cls)}:
        raise ValueError(f"{where} has no {', '.join(sorted(strange))}; it has {', '.join(f.name for f in fields(cls))}")
    return values
