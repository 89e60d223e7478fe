"""Weights that are taken over from the teacher."""

from dataclasses import replace

import numpy as np
import pytest
import torch
from torch.nn import functional as F

from golden.comparison import compare_with_random_clip
from golden.models.catalogue import CONFIGS, build
from golden.models.neurons import NeuronConfig
from golden.pretraining import LIMIT, RANGE, take_over
from golden.spec.model import ModelError

SMALL = replace(CONFIGS["svformer-jhmdb"], encoding=replace(CONFIGS["svformer-jhmdb"].encoding, height=32, width=32, timesteps=4))
