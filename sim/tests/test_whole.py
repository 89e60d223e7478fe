"""Verification of many clips: goes on after a kill, forgets what is stale, tells how to see a difference again."""

import json
import os
import shutil
import signal
import subprocess
import sys
import time
from dataclasses import replace

import pytest

from golden.integer import network
from sim.whole import MODEL, Checker, Outcome, Settings, main, outcomes, read_log, total_digest

ONE = Outcome("run", "clip", True, 10, 20, {"a": "1", "b": "2"}, "")


def test_log(tmp_path):
    log = tmp_path / "log"
    assert read_log(log, "run") == {}
    other, stale = replace(ONE, clip="other"), replace(ONE, run="stale", clip="third")
    lines = [json.dumps(vars(x)) for x in (ONE, other, stale)]
    log.write_text("\n".join([*lines, lines[2][:40]]))
    assert read_log(log, "run") == {"clip": ONE, "other": other}


def test_one_digest_for_any_order():
    other = replace(ONE, clip="other", cycles=5)
    assert total_digest([ONE, other]) == total_digest([other, replace(ONE, run="another")])
    assert total_digest([ONE, other]) != total_digest([ONE, replace(other, tensors={"a": "1", "b": "3"})])


def test_goes_on(tmp_path, capsys, monkeypatch):
    """The second run finds one clip done, and the line of the other cut short."""
    log = tmp_path / "log"
    arguments = ["--clips", "2", "--workers", "1", "--log", str(log)]
    main(arguments)
    said = capsys.readouterr().out.splitlines()
    assert said[0].startswith("bit-exact: 2/2 clips, 15 layers each: quantised torch = ")
    log.write_text(log.read_text()[:-100])
    checked: list[int] = []
    check = Checker.check

    def count(checker: Checker, i: int) -> Outcome:
        checked.append(i)
        return check(checker, i)

    monkeypatch.setattr(Checker, "check", count)
    main(arguments)
    assert checked == [1] and capsys.readouterr().out.splitlines()[-1] == said[-1]
    main(arguments)
    assert checked == [1] and capsys.readouterr().out.splitlines()[-1] == said[-1]


def test_stale_outcomes():
    checkers = [Checker(Settings(preset="small")), Checker(Settings(preset="small", stall=0))]
    assert checkers[0].run != checkers[1].run
    assert checkers[0].run == Checker(Settings(preset="small")).run


def test_difference(tmp_path):
    """An integer model whose quantised network is another one's."""
    model, tensors = network.load(MODEL)
    tensors["head.bias"] = tensors["head.bias"] + 1
    path = tmp_path / "m.safetensors"
    network.save(path, model, tensors)
    shutil.copy(MODEL.with_name("svformer-nano_qat.safetensors"), tmp_path / "m_qat.safetensors")
    log = tmp_path / "log"
    with pytest.raises(SystemExit) as stop:
        main(["--model", str(path), "--clips", "1", "--first", "3", "--workers", "1", "--log", str(log)])
    text = str(stop.value)
    assert "quantised torch differs from the integer golden: clip 3: layer 'head'" in text
    assert f"replay: python -m sim.whole --preset small --model {path} --first 3 --clips 1" in text
    assert log.read_text() == ""


@pytest.mark.slow
def test_killed(tmp_path):
    """The pool ends with its parent, and what was done is not done again."""
    log = tmp_path / "log"
    command = [sys.executable, "-m", "sim.whole", "--clips", "6", "--log", str(log)]
    process = subprocess.Popen(command, start_new_session=True)
    end = time.monotonic() + 120
    while not (log.exists() and log.read_bytes().count(b"\n")) and process.poll() is None and time.monotonic() < end:
        time.sleep(0.1)
    os.kill(process.pid, signal.SIGKILL)
    process.wait()
    while group(process.pid) and time.monotonic() < end:
        time.sleep(0.1)
    assert not group(process.pid) and 1 <= len(read_log(log, Checker(Settings(preset="small")).run)) < 6


def group(leader):
    """Whether processes that ``leader`` started still run."""
    try:
        os.killpg(leader, 0)
    except ProcessLookupError:
        return False
    return True


def test_pool(tmp_path):
    """Several processes log what they find."""
    checker = Checker(Settings(preset="small"))
    found = list(outcomes(checker, range(2), tmp_path / "log", 2))
    assert len(found) == 2 and not any(x.difference for x in found)
    assert read_log(tmp_path / "log", checker.run) == {x.clip: x for x in found}


@pytest.mark.parametrize(("arguments", "message"), [
    (["--first", "1000000"], "none from 1000000 on"), (["--model", "none.safetensors"], "none.safetensors"),
    (["--data", "golden"], "none of the layouts"),
])
def test_mistakes(arguments, message):
    with pytest.raises(SystemExit, match=message):
        main(arguments)


def test_impossible_numbers(capsys):
    for arguments in (["--clips", "0"], ["--workers", "0"], ["--first", "-1"]):
        with pytest.raises(SystemExit):
            main(arguments)
    assert capsys.readouterr().err.count("at least 1") == 3
