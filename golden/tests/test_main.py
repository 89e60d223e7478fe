"""The command line, as a user calls it."""

import subprocess
import sys

import pytest
from typer.testing import CliRunner

from golden.__main__ import app
from golden.integer import network


def call(*arguments):
    result = CliRunner().invoke(app, [str(x) for x in arguments])
    assert result.exit_code == 0, (result.output, result.exception)
    return result.output


def test_train_compare_and_eval_on_fresh_weights(tmp_path):
    out = call("train", "--quick", "--epochs", 1, "--seed", 3, "--out", tmp_path)
    assert "integer accuracy" in out and "--quick" in out
    assert len((tmp_path / "log.csv").read_text().splitlines()) == 3
    assert "equal: 12/12 val clips, 15 layers" in call("compare", "--weights", tmp_path, "--clips", 12, "--split", "val")
    assert "integer" in call("eval", "--weights", tmp_path, "--clips", 16)
    model, tensors = network.load(tmp_path / "svformer_nano.safetensors")
    assert model.card["seed"] == "3"

    tensors["down.bias"] = tensors["down.bias"] + 40
    network.save(tmp_path / "svformer_nano.safetensors", model, tensors)
    result = CliRunner().invoke(app, ["compare", "--weights", str(tmp_path), "--clips", "2"])
    assert result.exit_code == 1 and "layer 'down', tensor 'down.u' at t=0 y=0 x=0 channel=0" in result.output


def test_random(tmp_path):
    call("random", "--out", tmp_path / "m.safetensors", "--seed", 4)
    model, _ = network.load(tmp_path / "m.safetensors")
    assert model.card["weights"] == "random"


def test_data(tmp_path):
    call("data", "--out", tmp_path, "--count", 9)
    assert len(list(tmp_path.glob("*/*.mp4"))) == 9 and (tmp_path / "up" / "001.mp4").stat().st_size > 1000


@pytest.mark.parametrize("command", ["eval", "compare"])
def test_missing_weights_are_an_error_and_no_traceback(tmp_path, command):
    line = [sys.executable, "-m", "golden", command, "--weights", str(tmp_path), "--clips", "1"]
    done = subprocess.run(line, capture_output=True, text=True, check=False)
    assert done.returncode == 1 and done.stderr.startswith("error: cannot read") and "Traceback" not in done.stderr


def test_unknown_split_is_refused():
    result = CliRunner().invoke(app, ["data", "--split", "all"])
    assert result.exit_code == 2
