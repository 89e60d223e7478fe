"""Random models and clips that several tests share."""

import numpy as np
import pytest

from golden.integer.random_model import random_clip, random_model
from golden.spec.config import SMALL
from golden.spec.model import Encoding
from sw.compiler import compile_model
from sw.model_file import ModelFile

TINY = Encoding(height=16, width=16, timesteps=4, frames=2, patch=4)


@pytest.fixture(scope="session")
def tiny():
    """Model file of a tiny network."""
    return ModelFile(*random_model(1, TINY, local=16, wide=32))


@pytest.fixture(scope="session")
def bundle(tiny):
    """The tiny network, compiled for ``small``."""
    return compile_model(tiny, SMALL)


@pytest.fixture
def clip():
    """A clip for the tiny network."""
    return random_clip(TINY, np.random.default_rng(5))
