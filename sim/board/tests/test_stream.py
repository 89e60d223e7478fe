"""``python -m sw stream`` of a folder through the simulated board: every result is the golden device's, on bad lines, too."""

from __future__ import annotations

import json

import pytest
from typer.testing import CliRunner

from golden.__main__ import app as golden_app
from golden.integer.network import save
from golden.integer.random_model import random_model
from golden.spec.config import SMALL
from golden.spec.model import Encoding
from golden.tests.test_data_video import noise, write
from sim.board.board import SimulatedBoard, build
from sim.lib.runner import seed
from sw.__main__ import MODEL, app

TINY = Encoding(height=16, width=16, timesteps=4, frames=2, patch=4)


@pytest.fixture(scope="module")
def library(pytestconfig):
    """The shared object of ``small``, built where its sources changed."""
    return build(SMALL, pytestconfig.rootpath / "build" / "small")


def stream(*arguments):
    """Lines of JSON of a stream: of clips, and the summary."""
    found = CliRunner().invoke(app, ["stream", *map(str, arguments), "--json"])
    assert found.exit_code == 0, found.output
    *clips, end = map(json.loads, found.stdout.splitlines())
    return clips, end["summary"]


def check(board, folder, model, count):
    """Every clip of a folder has its result, once and in order; the summary."""
    clips, end = stream(folder, "--device", board.uri, "--model", model, "--verify")
    expected, _ = stream(folder, "--device", "golden:small", "--model", model)
    assert [(x["clip"], x["class"], x["logits"]) for x in clips] == [(x["clip"], x["class"], x["logits"]) for x in expected]
    assert len(clips) == end["clips"] == count and all(x["exact"] and x["cycles"] > 0 for x in clips) and not board.violation
    return end


def test_a_folder(library, tmp_path):
    save(tmp_path / "m.safetensors", *random_model(1, TINY, local=8, wide=16))
    (tmp_path / "clips").mkdir()
    for i in range(3):
        write(tmp_path / "clips" / f"{i}.mkv", noise(5 + 3 * i, 16, 16))
    with SimulatedBoard(library) as board:
        assert check(board, tmp_path / "clips", tmp_path / "m.safetensors", 3)["line"]["repeated"] == 0


@pytest.mark.slow
def test_a_folder_of_moving_digits_on_a_bad_line(library, tmp_path):
    """The committed network; one byte in a hundred is wrong both ways, and the memory stalls."""
    made = CliRunner().invoke(golden_app, ["data", "--out", str(tmp_path), "--count", "2", "--lossless"])
    assert made.exit_code == 0, made.output
    with SimulatedBoard(library, seed(), stall=200, noise=10) as board:
        line = check(board, tmp_path, MODEL, 2)["line"]
    assert line["damaged_requests"] > 100 and line["damaged_answers"] > 100 and line["repeated"] < 2 * line["requests"]
