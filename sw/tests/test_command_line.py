"""The command line: answers, exit codes, and no traceback for a user's mistake."""

import json

import numpy as np
import pytest
from safetensors.numpy import save_file
from typer.testing import CliRunner

from golden.integer.network import save
from golden.spec.model import CONV, Layer
from golden.tests.test_data_video import noise, write
from sw.__main__ import app
from sw.tests.conftest import TINY
from sw.tests.test_contract import conv, made


@pytest.fixture(scope="session")
def files(tiny, tmp_path_factory):
    """A folder with a model and a few clips."""
    folder = tmp_path_factory.mktemp("files")
    save(folder / "m.safetensors", tiny.model, tiny.tensors)
    write(folder / "a.mkv", noise(4, 16, 16))
    write(folder / "b.mkv", noise(9, 40, 30))
    (folder / "bad.mkv").write_bytes(b"junk")
    return folder


def sw(*arguments):
    result = CliRunner().invoke(app, [str(x) for x in arguments])
    assert result.exception is None or isinstance(result.exception, SystemExit), result.exception
    return result


def golden(files, *arguments):
    return sw("classify", *arguments, "--device", "golden:small", "--model", files / "m.safetensors")


def test_classify(files):
    result = golden(files, files / "a.mkv", files / "b.mkv", "--verify")
    assert result.exit_code == 0 and result.stdout.count("bit-exact: 15/15 layers") == 2 and "class" in result.stdout


def test_json_and_picture(files, tmp_path):
    result = golden(files, files / "a.mkv", "--json", "--verify", "--picture", tmp_path / "p.png")
    answer, = json.loads(result.stdout)
    assert answer["bit_exact"] and answer["class"] in answer["scores"] and answer["sops"] > 0
    assert (tmp_path / "p.png").read_bytes().startswith(b"\x89PNG")


def test_a_network_without_classes(files, tmp_path):
    source = made(conv("a", "input", 12, kernel=3, levels=5, step=32, u_out="a.u"),
                  Layer(name="b", op=CONV, inputs=("a.s",), channels=2, u_out="b.u"), encoding=TINY)
    save(tmp_path / "dense.safetensors", source.model, source.tensors)
    arguments = ("classify", files / "a.mkv", "--device", "golden:small", "--model", tmp_path / "dense.safetensors", "--verify")
    plain = sw(*arguments, "--picture", tmp_path / "p.png")
    assert plain.exit_code == 0 and "bit-exact: 2/2 layers" in plain.stdout and "[4, 2, 2, 2] values from" in plain.stdout
    answer, = json.loads(sw(*arguments, "--json").stdout)
    assert np.array(answer["result"]).shape == (4, 2, 2, 2) and answer["bit_exact"] and "class" not in answer


def test_the_next_file_is_classified(files):
    result = golden(files, files / "bad.mkv", files / "none.mkv", files / "a.mkv")
    assert result.exit_code == 2 and result.stderr.count("error: ") == 2 and "synaptic operations" in result.stdout


def test_a_difference_is_exit_code_1(files, monkeypatch):
    from sw import verify

    expect = verify.expect
    monkeypatch.setattr(verify, "expect", lambda *x: {name: value + (name == "g0.a") for name, value in expect(*x).items()})
    result = golden(files, files / "a.mkv", "--verify")
    assert result.exit_code == 1 and "bit-exact: 14/15 layers" in result.stdout
    assert "replay: python -m sw classify" in result.stdout


def test_compile_info_and_run_a_bundle(files, tmp_path):
    path = tmp_path / "m.bundle"
    assert sw("compile", files / "m.safetensors", "--preset", "micro", "--out", path).exit_code == 0
    assert "random-nano" in sw("info", path).stdout and "preset:         micro" in sw("info", "golden:micro").stdout
    assert sw("classify", files / "a.mkv", "--bundle", path, "--device", "golden:micro", "--verify").exit_code == 0
    wrong = sw("classify", files / "a.mkv", "--bundle", path, "--device", "golden:small")
    assert wrong.exit_code == 3 and "was compiled for config 'micro'" in wrong.stderr
    with_model = ("classify", files / "a.mkv", "--bundle", path, "--device", "golden:micro", "--verify", "--model")
    assert sw(*with_model, files / "m.safetensors").exit_code == 0
    other = sw(*with_model, "golden/weights/svformer-nano.safetensors")
    assert other.exit_code == 2 and "was compiled from model" in other.stderr


@pytest.mark.parametrize("arguments", [
    ("classify", "a.mkv", "--picture", "x.txt"),
    ("classify", "a.mkv", "--model", "none", "--device", "golden:small"),
    ("classify", "a.mkv", "--bundle", "none", "--device", "golden:small"),
    ("classify", "a.mkv", "b.mkv", "--picture", "x.png"), ("compile", "none"),
    ("compile", "a.mkv"), ("compile", "m.safetensors", "--preset", "none"), ("info", "none"), ("info", "m.safetensors"),
    ("compile", "broken"), ("load", "none", "--device", "null:small"), ("program", "a.mkv", "--board", "none"),
    ("program", "none.bit", "--board", "ulx3s-85f"), ("program", "a.mkv", "--board", "ulx3s-85f"),
    ("compile", "m.safetensors", "--out", "a.mkv/x"),
])
def test_mistakes(files, arguments, monkeypatch):
    monkeypatch.chdir(files)
    save_file({"x": np.zeros(1, np.int8)}, files / "broken", {"model": '{"layers": 3}'})
    result = sw(*arguments)
    assert result.exit_code == 2 and result.stderr.startswith("error: ") and "Traceback" not in result.output, result.output


@pytest.mark.parametrize("arguments", [
    ("classify", "a.mkv", "--device", "golden:none"), ("classify", "a.mkv", "--device", "moon"), ("info", "golden:none"),
    ("classify", "a.mkv", "--device", "sim:small?stall=1000"), ("info", "udp://10.0.0.1"), ("link-test", "golden:small"),
    ("stream", "a.mkv", "--device", "serial:///dev/nothing"), ("bench", "--device", "moon"), ("verify", "a.mkv", "--device", ""),
    ("load", "m.bundle", "--device", "golden:base"),
])
def test_devices_that_cannot_be_used(files, arguments, monkeypatch):
    monkeypatch.chdir(files)
    assert sw("compile", "m.safetensors", "--out", "m.bundle").exit_code == 0
    result = sw(*arguments)
    assert result.exit_code == 3 and result.stderr.startswith("error: ") and "Traceback" not in result.output, result.output


def test_doctor():
    result = sw("doctor")
    assert "verilator" in result.stdout and "g++" in result.stdout
    found = {x["tool"]: x for x in json.loads(sw("doctor", "--json").stdout)}
    assert found["openFPGALoader"]["optional"] and not found["g++"]["optional"]
