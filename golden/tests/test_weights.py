"""Every network in golden/weights: its card, and quantised torch equal to the integer model in every value."""

import json
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

from golden.comparison import compare
from golden.integer import network
from golden.models.checkpoint import load_checkpoint
from golden.recipe import SHIPPED, load_recipe

FOLDER = Path("golden/weights")
NAMES = sorted(x.stem.removesuffix("_qat") for x in FOLDER.glob("*_qat.safetensors"))


@pytest.mark.parametrize("name", NAMES)
def test_quantised_and_integer_model_are_equal_on_random_clips(name):
    model, tensors = network.load(FOLDER / f"{name}.safetensors")
    network.accumulator_bounds(model, tensors)
    rng = np.random.default_rng(1)
    rates = rng.random((1, 1, *model.encoding.shape[1:]))  # places that often have bits, and others
    clip = (rng.integers(0, 1 << model.planes, (1, *model.encoding.shape)) * (rng.random((1, *model.encoding.shape)) < rates))
    values, difference = compare(load_checkpoint(FOLDER / f"{name}_qat.safetensors"), model, tensors, clip.astype(np.uint8))
    assert difference is None and values > 10_000


def agree(known, mine) -> bool:
    """Equal, but for fields that are newer than the card and switch nothing on."""
    if not (isinstance(known, dict) and isinstance(mine, dict)):
        return known == mine
    return all(agree(known[k], mine[k]) for k in known) and not any(mine[k] for k in mine.keys() - known.keys() - {"draws"})


@pytest.mark.parametrize("name", sorted({*NAMES} - {"svformer-nano"}))  # which is older than recipes, see its card
def test_the_card_has_the_recipe_that_is_shipped(name):
    model, _ = network.load(FOLDER / f"{name}.safetensors")
    assert (SHIPPED / f"{name}.toml").is_file() and model.card["command"].startswith(f"python -m golden train {name}")
    recipe = load_recipe(name)
    known, mine = json.loads(model.card["recipe"]), json.loads(json.dumps(recipe.to_dict()))
    assert agree(known, mine)
    float_net = load_checkpoint(FOLDER / f"{name}_float.safetensors")
    assert float_net.config == replace(recipe.config, classes=model.classes)
