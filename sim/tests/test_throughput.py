"""`sim.throughput` with a small case."""

from __future__ import annotations

import json

import pytest

from golden.integer.network import save
from golden.integer.random_model import random_model
from golden.spec.config import MICRO
from golden.spec.model import Encoding
from sim import throughput
from sim.throughput import Rival

TINY = Encoding(height=16, width=16, timesteps=4, frames=2, patch=4)


def test_a_page(tmp_path, monkeypatch):
    """Devices of this process; the host's own time of a second network, too."""
    monkeypatch.setattr(throughput, "RIVALS", (Rival(MICRO, 12.5, "`micro`, {:g} MHz"),))
    model = tmp_path / "m.safetensors"
    save(model, *random_model(1, TINY, local=8, wide=16))
    page, where = tmp_path / "page.md", ["--large", str(model), "--build", str(tmp_path)]
    throughput.main(["--clips", "2", "--devices", "null", "golden", "--page", str(page), *where])
    report = json.loads((tmp_path / "throughput.json").read_text())
    assert set(report["devices"]) == {"null", "golden"} and report["clips"] == 2
    assert report["devices"]["golden"]["runtime[ms]"] > report["devices"]["null"]["runtime[ms]"] > 0
    assert [x["network"] for x in report["own"]] == ["svformer-nano", "random-nano"]
    for own in report["own"]:
        assert 0 < own["pack[ms]"] < own["host[ms]"]
        assert own["overhead[%]"] == pytest.approx(100 * own["host[ms]"] / own["machine[ms]"])
    text = " ".join(page.read_text().split())
    assert report["command"] in text and report["cpu"] in text and "speed of their simulation" in text
    assert "| `random-nano` | `micro`, 12.5 MHz |" in text and "random numbers for the others" in text
    assert text.count("| throughput[images/s] |") == 1 and "`golden:`" in text


def test_what_cannot_be_measured(tmp_path):
    with pytest.raises(SystemExit, match="error: no model file"):
        throughput.main(["--model", str(tmp_path / "nothing"), "--build", str(tmp_path)])
