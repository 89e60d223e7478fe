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
from hw.boards.catalog import BOARDS
from sim.board.board import SimulatedBoard, build
from sim.lib.runner import seed
from sw.__main__ import MODEL, app
from sw.compiler import compile_model
from sw.device.golden import GoldenDevice
from sw.device.open import open_device
from sw.driver import Driver
from sw.model_file import ModelFile
from sw.sources import arrays

ULX3S = BOARDS["ulx3s-85f"].config
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


def check(board, folder, model, count, config=SMALL):
    """Every clip of a folder has its result, once and in order; the summary."""
    clips, end = stream(folder, "--device", board.uri, "--model", model, "--verify")
    expected, _ = stream(folder, "--device", f"golden:{config.name}", "--model", model)
    assert [(x["clip"], x["class"], x["logits"]) for x in clips] == [(x["clip"], x["class"], x["logits"]) for x in expected]
    assert len(clips) == end["clips"] == count and all(x["exact"] and x["cycles"] > 0 for x in clips) and not board.violation
    return end


def test_a_folder(library, tmp_path):
    save(tmp_path / "m.safetensors", *random_model(1, TINY, local=8, wide=16))
    (tmp_path / "clips").mkdir()
    for i in range(3):
        write(tmp_path / "clips" / f"{i}.mkv", noise(5 + 3 * i, 16, 16))
    with SimulatedBoard(library) as board:
        line = check(board, tmp_path / "clips", tmp_path / "m.safetensors", 3)["line"]
    assert line["damaged_requests"] == line["damaged_answers"] == 0


@pytest.mark.slow
def test_a_board_that_is_pulled_out(library, tmp_path):
    """In the middle of a stream; another one of its kind, with nothing in its memory, takes its place at the same port."""
    bundle = compile_model(ModelFile(*random_model(1, TINY, local=8, wide=16)), SMALL)
    clips = list(arrays((noise(4 + i, 16, 16) for i in range(5)), TINY))
    golden = Driver(GoldenDevice(SMALL))
    golden.load(bundle)
    expected = [golden.run(clip.tensor).logits.tolist() for clip in clips]

    def plug(board):
        path, _, options = board.uri.removeprefix("serial://").partition("?")
        (tmp_path / "port").unlink(missing_ok=True)
        (tmp_path / "port").symlink_to(path)
        return f"serial://{tmp_path / 'port'}?{options}"

    first = SimulatedBoard(library)
    found = []
    with open_device(plug(first)) as device, SimulatedBoard(library) as second:
        driver = Driver(device)
        driver.load(bundle)
        for clip, result in driver.stream(clips, patience=20):
            found.append((clip.name, result.logits.tolist()))
            if len(found) == 2:  # the next two are on their way
                first.close()
                plug(second)
        assert second.cycles > 100_000
    assert found == [(clip.name, logits) for clip, logits in zip(clips, expected, strict=True)]


@pytest.mark.slow
def test_a_folder_of_moving_digits_on_a_bad_line(pytestconfig, tmp_path):
    """The committed network on the machine of a ULX3S; one byte in a hundred is wrong both ways, and the memory stalls."""
    library = build(ULX3S, pytestconfig.rootpath / "build" / ULX3S.name)
    made = CliRunner().invoke(golden_app, ["data", "--out", str(tmp_path), "--count", "2", "--lossless"])
    assert made.exit_code == 0, made.output
    with SimulatedBoard(library, seed(), stall=200, noise=10, config=ULX3S) as board:
        line = check(board, tmp_path, MODEL, 2, ULX3S)["line"]
    assert line["damaged_requests"] > 100 and line["damaged_answers"] > 100 and line["repeated"] < 2 * line["requests"]
