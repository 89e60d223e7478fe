"""The command line, as a user calls it."""

import json
import os
import subprocess
import sys

import numpy as np
import pytest
from typer.testing import CliRunner

from golden.__main__ import app
from golden.integer import network
from golden.spec.model import ModelError

RECIPE = """
network = "svformer-nano"
data = "digit-motion"
pool = 32
val_pool = 16
[float]
epochs = 1
lr = 4e-3
batch = 16
[qat]
epochs = 1
lr = 1e-3
batch = 16
"""


def call(*arguments):
    result = CliRunner().invoke(app, [str(x) for x in arguments])
    assert result.exit_code == 0, (result.output, result.exception)
    return result.output


@pytest.fixture(scope="module")
def trained(tmp_path_factory):
    """Folder of a network that was hardly trained."""
    folder = tmp_path_factory.mktemp("trained")
    (folder / "tiny.toml").write_text(RECIPE)
    out = call("train", folder / "tiny.toml", "--seed", 3, "--out", folder)
    assert "integer validation accuracy" in out and "tiny.toml --seed 3" in out
    return folder


def test_train_and_compare(trained, tmp_path):
    assert "equal: 12/12 val clips, 15 layers" in call("compare", trained / "tiny.safetensors", "--clips", 12, "--part", "val")
    model, tensors = network.load(trained / "tiny.safetensors")
    assert model.card["seed"] == "3" and json.loads(model.card["recipe"])["pool"] == 32
    tensors["down.bias"] = tensors["down.bias"] + 40
    network.save(tmp_path / "tiny.safetensors", model, tensors)
    (tmp_path / "tiny_qat.safetensors").write_bytes((trained / "tiny_qat.safetensors").read_bytes())
    result = CliRunner().invoke(app, ["compare", str(tmp_path / "tiny.safetensors"), "--clips", "2"])
    assert result.exit_code == 1 and "layer 'down', tensor 'down.u' at t=0 y=0 x=0 channel=0" in result.output
    assert "--part test --clips 1" in result.output


def test_eval_tells_the_same_of_quantised_and_integer(trained, tmp_path):
    reports = {}
    for kind in ("_float", "_qat", ""):
        out = call("eval", trained / f"tiny{kind}.safetensors", "--clips", 24, "--no-baselines", "--out", tmp_path / f"x{kind}")
        assert "95 % interval" in out and "measured at the board" in out
        reports[kind] = json.loads((tmp_path / f"x{kind}/eval.json").read_text())
        assert (tmp_path / f"x{kind}/confusion.png").stat().st_size > 1000
        assert np.sum(reports[kind]["confusion"]) == 24 == reports[kind]["top1"]["of"] and reports[kind]["chance"] == 1 / 8
    qat, integer = reports["_qat"], reports[""]
    for key in ("confusion", "top1", "top5", "spike_rates", "synaptic_operations", "energy"):
        assert qat[key] == integer[key], key
    assert reports["_float"]["spike_rates"].keys() == qat["spike_rates"].keys()


def test_energy_has_four_rows_and_adds_up(trained):
    out = call("energy", trained / "tiny.safetensors", "--clips", 2, "--board", 0.25)
    assert "mean of 2 test clips" in out and "250,000.00 uJ" in out and "not measured here" in out
    row = next(line for line in out.splitlines() if line.startswith("1 "))
    macs, acs = (int(row.split(f" {unit} x")[0].split()[-1].replace(",", "")) for unit in ("MAC", "AC"))
    assert f"{(macs * 4.6 + acs * 0.9) * 1e-6:,.2f} uJ" in row
    assert macs == 16 * 8 * 8 * 32 * 32  # T x 8 x 8 places, 32 inputs, 32 outputs


def test_cost_of_each_step(trained):
    lines = call("cost", trained / "tiny_float.safetensors", "--clips", 16).splitlines()
    assert len(lines) == 8 and lines[0].startswith("float") and "trained so" in lines[4] and "12 bits" in lines[5]
    result = CliRunner().invoke(app, ["cost", str(trained / "tiny_qat.safetensors")])
    assert result.exit_code == 1 and "give the float checkpoint" in str(result.exception)


def test_weights_for_other_hardware(trained, tmp_path):
    out = call("weights", trained / "tiny.safetensors", "--out", tmp_path / "w.npz")
    assert "docs/numerics.md" in out
    tensors = network.load(trained / "tiny.safetensors")[1]
    with np.load(tmp_path / "w.npz") as found:
        assert set(found) == {*tensors, "graph"} and all(np.array_equal(found[k], tensors[k]) for k in tensors)


def test_parameters_of_published_networks():
    assert "13,801,612" in call("params", "svformer-ucf101")
    result = CliRunner().invoke(app, ["params", "nothing"])
    assert result.exit_code == 1 and "there are svformer-ucf101" in str(result.exception)


@pytest.mark.parametrize("arguments", [("data", "--count", "0"), ("random", "--seed", "-1"), ("train", "--epochs", "0")])
def test_numbers_that_make_no_sense(arguments):
    result = CliRunner().invoke(app, arguments)
    assert result.exit_code == 2 and "greater than or equal" in result.stderr


def test_places_that_cannot_be_written(tmp_path):
    """No traceback: the command itself turns it into a message."""
    result = CliRunner().invoke(app, ["random", "--out", str(tmp_path)])
    assert isinstance(result.exception, ModelError) and "cannot write model file" in str(result.exception)
    for out in (tmp_path, "/proc/nothing/weights.npz"):
        command = [sys.executable, "-m", "golden", "weights", "--out", str(out)]
        done = subprocess.run(command, capture_output=True, text=True)
        assert done.returncode == 1 and done.stderr.startswith("error: ") and str(out).split("/weights")[0] in done.stderr


def test_random(tmp_path):
    call("random", "--out", tmp_path / "m.safetensors", "--seed", 4)
    model, _ = network.load(tmp_path / "m.safetensors")
    assert model.card["weights"] == "random"


def test_random_weights_of_a_named_network(tmp_path):
    """Of events, here; a network that no machine does, and one that there is not, are refused."""
    call("random", "svformer-nmnist", "--out", tmp_path / "m.safetensors")
    model, tensors = network.load(tmp_path / "m.safetensors")
    assert model.name == "svformer-nmnist" and model.encoding.kind == "events" and len(tensors) > 20
    for name, message in (("svformer-ucf101", "cannot be quantised"), ("nothing", "no network 'nothing'; there are svformer-")):
        result = CliRunner().invoke(app, ["random", name])
        assert isinstance(result.exception, ModelError) and message in str(result.exception)


def test_data(tmp_path):
    call("data", "--out", tmp_path, "--count", 9)
    assert len(list(tmp_path.glob("*/*.mp4"))) == 9 and (tmp_path / "up" / "001.mp4").stat().st_size > 1000


@pytest.mark.parametrize("command", ["eval", "compare", "energy"])
def test_missing_weights_are_an_error_and_no_traceback(tmp_path, command):
    line = [sys.executable, "-m", "golden", command, str(tmp_path / "nothing.safetensors"), "--clips", "1"]
    done = subprocess.run(line, capture_output=True, text=True, check=False)
    assert done.returncode == 1 and done.stderr.startswith("error: cannot read") and "Traceback" not in done.stderr


def test_wrong_data_is_named(trained, tmp_path):
    (tmp_path / "walk").mkdir()
    result = CliRunner().invoke(app, ["eval", str(trained / "tiny.safetensors"), "--data", str(tmp_path)])
    assert result.exit_code == 1 and "is none of the layouts" in str(result.exception)


def test_unknown_split_is_refused():
    result = CliRunner().invoke(app, ["data", "--split", "all"])
    assert result.exit_code == 2


def test_blas_does_not_thread():
    """Its threads wait for each other at every small picture, for ever where another process has the cores."""
    program = ("import golden.__main__, numpy, scipy.linalg, threadpoolctl; "
               "print({x['num_threads'] for x in threadpoolctl.threadpool_info() if x['user_api'] == 'blas'})")
    environment = {k: v for k, v in os.environ.items() if k != "OPENBLAS_NUM_THREADS"}
    done = subprocess.run([sys.executable, "-c", program], env=environment, capture_output=True, text=True, check=True)
    assert done.stdout.strip() == "{1}"
