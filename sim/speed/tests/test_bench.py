"""One clip of the shipped network on `small`: all that `make bench` measures; and the sweeps' networks."""

import json
from dataclasses import replace
from itertools import pairwise
from pathlib import Path

import numpy as np
import pytest

from golden.integer import network
from golden.spec.config import BASE, SMALL
from golden.spec.descriptor import BYTES
from golden.spec.model import INPUT
from golden.spec.registers import SLOT_STATES, STATISTICS
from sim.device.build import build
from sim.speed import sweeps, timeline
from sim.speed.__main__ import hardware, main
from sim.speed.cpu import cpu_name
from sim.speed.measure import Run, WatchedDevice, WrongResultError, dense_macs, run_clip, traffic
from sw.compiler import compile_model
from sw.cycles import Memory, predict
from sw.driver import Driver


def test_one_clip(tmp_path):
    main(["--preset", "small", "--clips", "1", "--out", str(tmp_path), "--page", str(tmp_path / "results.md")])
    report = json.loads((tmp_path / "bench.json").read_text())
    computing = [x for x in report["layers"] if x["macs"]]
    assert len(computing) == 15
    for x in computing:
        assert abs(x["predicted"] - x["cycles"]) <= 0.02 * x["predicted"] + x["slots"]["weights"], x["name"]
        assert x["slots"]["busy"] and sum(x["slots"].values()) <= report["slots"] * x["cycles"] and 0 < x["utilisation"] < 1
    clip = report["clip"]
    assert clip["predicted"] == pytest.approx(clip["cycles"], rel=0.01)
    events = json.loads((tmp_path / "trace.json").read_text())["traceEvents"]
    spans = [x for x in events if x["ph"] == "X" and x["pid"] == timeline.MACHINE]
    assert {x["name"] for x in computing} <= {x["name"] for x in spans}
    start = report["host"][0] * 1e6
    assert max(x["ts"] + x["dur"] - start for x in spans) * report["mhz"] == pytest.approx(clip["cycles"], rel=0.01)
    assert min(x.get("ts", 0) for x in events) == 0
    memory = [x for x in events if x["name"].startswith("memory")]
    moved = sum((b["ts"] - a["ts"]) * sum(a["args"].values()) for a, b in pairwise(memory)) * report["mhz"]
    assert moved == pytest.approx(clip["bytes"] + BYTES, abs=200)  # END, and what moved since the last sample
    assert "svformer-nano" in (tmp_path / "results.md").read_text()
    assert (tmp_path / "roofline.png").read_bytes().startswith(b"\x89PNG")


def test_wrong_result(tiny, bundle, clip):
    """A model that the bundle was not compiled from."""
    other = sweeps.ModelFile(tiny.model, {**tiny.tensors, "head.bias": tiny.tensors["head.bias"] + 1})
    with WatchedDevice(build(SMALL, Path("build/small")), "sim:small") as device:
        driver = Driver(device)
        driver.load(bundle)
        run_clip(device, driver, bundle, SMALL, tiny, clip, Memory())
        with pytest.raises(WrongResultError, match="make verify"):
            run_clip(device, driver, bundle, SMALL, other, clip, Memory())


def test_events(bundle, tiny, clip):
    result = predict(bundle, SMALL, clip)
    words, names = result.words.copy(), list(STATISTICS)
    words[:, names.index("busy")] = 4 * words[:, names.index("cycles")]
    result = replace(result, words=words)
    run = Run(result, result, [(0, 0, 0), (100, 50, 10), (300, 50, 20)], (0.5, 0.25))
    events = list(timeline.events(run, bundle, 10.0, 4, 8))
    host = [x for x in events if x["ph"] == "X" and x["pid"] == timeline.HOST]
    assert [x["dur"] for x in host] == [0.5e6, result.cycles / 10, 0.25e6] and host[0]["ts"] == 0
    assert all(x["args"]["busy"] == 4 for x in events if x["name"] == "slots" and sum(x["args"].values()))
    memory = [x for x in events if x["name"].startswith("memory")]
    assert [(x["ts"], x["args"]["read"], x["args"]["written"]) for x in memory[:2]] == [(0.5e6, 4, 0.8), (0.5e6 + 10, 0, 0.4)]
    assert set(SLOT_STATES) == set(next(x for x in events if x["name"] == "slots")["args"])


def test_traffic(tiny, bundle):
    moved = traffic(bundle, SMALL)
    assert moved["load"] == 4 * 4 * 4 * 8 * SMALL.word // 8 + 192  # the input, a descriptor, a record
    assert set(moved) == {x.name for x in tiny.model.layers} | {"load", "store"}
    assert all(x >= 192 for x in moved.values())


def test_dense_macs(tiny):
    macs, shapes = dense_macs(tiny.model), tiny.model.shapes()
    layers = {x.name: x for x in tiny.model.layers}
    assert shapes[INPUT] == (4, 4, 4, 32) and layers["stem"].kernel == 1
    assert macs["stem"] == 4 * 4 * 4 * 32 * layers["stem"].channels
    sdha = next(x for x in tiny.model.layers if x.op == "sdha")
    t, h, w, c = shapes[sdha.spike_out]
    assert macs[sdha.name] == 2 * t * h * w * c * (c // sdha.heads)
    assert macs["head"] == int(np.prod(shapes[layers["head"].inputs[0]])) * 8


def test_no_hardware_of_another_configuration(tmp_path):
    assert hardware(SMALL, tmp_path) is None
    folder = tmp_path / "small" / "pnr" / "lfe5u-85f"
    folder.mkdir(parents=True)
    report = {"config": SMALL.digest, "device": "LFE5U-85F", "synthesis": {"luts": 7, "memories": 3}}
    (folder / "report.json").write_text(json.dumps(report))
    found = hardware(SMALL, tmp_path)
    assert found and (found.luts, found.mhz) == (7, None)
    (folder / "report.json").write_text(json.dumps(report | {"route": {"mhz": 51.5}}))
    assert (found := hardware(SMALL, tmp_path)) and found.mhz == 51.5
    (folder / "report.json").write_text(json.dumps(report | {"config": BASE.digest}))
    assert hardware(SMALL, tmp_path) is None


def test_sweeps_are_what_they_say():
    source = sweeps.convolution(places=4, timesteps=4)
    clip = sweeps.spikes(source, 0.2)
    known = network.run(source.model, source.tensors, clip)
    assert np.array_equal(known["pick.s"], clip[..., : sweeps.CHANNELS])
    layers = predict(compile_model(source, BASE), BASE, sweeps.spikes(source, 1.0)).layers
    inside = (3 * 4 - 2) ** 2  # taps of 4x4 places that are not in the padding
    assert layers["conv"].sops == inside * 4 * sweeps.CHANNELS**2
    short, long = (sweeps.attention(t) for t in (4, 8))
    assert all(np.array_equal(short.tensors[x], long.tensors[x]) for x in short.tensors)


def test_cpu_name(tmp_path):
    (tmp_path / "cpuinfo").write_text("processor : 0\nmodel name\t: A CPU\n")
    assert cpu_name(tmp_path / "cpuinfo") == "A CPU"
    assert cpu_name(tmp_path / "none") == "unknown CPU"
