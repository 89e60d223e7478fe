"""Figures that follow from a report, and the page that is made of it."""

import json
from dataclasses import replace

import pytest

from golden.spec.registers import SLOT_STATES
from sim.speed.page import page, table
from sim.speed.report import Attention, Density, Hardware, Report, Row, Sweeps, whole
from sim.speed.rivals import RIVALS


def row(name, **fields):
    values = {"cycles": 100.0, "predicted": 99.0, "wait": 1.0, "sops": 640.0, "results": 8.0, "bytes": 160, "macs": 3200}
    return Row(name=name, slots={**dict.fromkeys(SLOT_STATES, 0.0), "busy": 100.0, "neuron": 300.0}, **values | fields)


LAYERS = (row("load", sops=0.0, results=0.0, macs=0), row("a"), row("b", bytes=40, sops=32.0))


@pytest.fixture
def report():
    return Report(
        command="make bench", preset="small", config="c" * 32, network="net", model="m" * 64, data="test clips of x", clips=2,
        latency=20, bandwidth=2, peak=64, slots=4, axi_bytes=4, layers=LAYERS, clip=whole(LAYERS, 400.0, 399.0),
        host=(1e-3, 2e-3), hardware=None, torch={"PyTorch": 1e-3}, cpu="a CPU", simulated=1e5)


def test_whole():
    clip = whole(LAYERS, 400.0, 399.0)
    assert (clip.cycles, clip.predicted, clip.sops, clip.bytes, clip.macs) == (400, 399, 672, 360, 6400)
    assert clip.slots["neuron"] == 900 and clip.share("neuron") == 0.75 and clip.share("queue") == 0


def test_figures(report):
    assert report.utilisation(report.layers[1]) == 0.1
    assert report.attainable(report.layers[1]) == 16  # 4 operations a byte, 4 bytes a cycle
    assert report.attainable(replace(report.layers[1], bytes=1)) == 64  # the array is the limit
    assert report.clips_per_second == 80e6 / 400 and "not routed" in report.clock


def test_routed(report):
    chip = Hardware(device="LFE5U-25F", luts=16000, memories=10, mhz=50.0, source="report.json")
    routed = replace(report, hardware=chip)
    assert routed.clips_per_second == 50e6 / 400 and "routed on LFE5U-25F" in routed.clock
    assert "not routed" in replace(report, hardware=replace(chip, mhz=None)).clock
    text = page(routed)
    assert "125,000.0" in text and "not routed" not in text and "16.0 (4)" in text
    assert f"{672 * 125000 / 1e9 / 16:.3g}" in text  # GSOP/s per kLUT


def test_written(report, tmp_path):
    report.write(tmp_path / "new" / "bench.json")
    values = json.loads((tmp_path / "new" / "bench.json").read_text())
    assert values["layers"][1]["utilisation"] == 0.1 and values["clip"]["cycles"] == 400 and values["hardware"] is None


def test_page(report):
    text = page(report)
    assert "`make bench`" in text and "not synthesised" in text and "Skipping pays" not in text
    assert all(x.source in text for x in RIVALS)
    assert "| a | 640 | 100 | 99 | -1.0% | 10.0% | 160 | 4.0 | 25% |" in text
    assert "| a | 25.0% | 75.0% | 0.0% |" in text
    assert "| PyTorch | 1.00 | 200.0 |" in text  # a machine's clip takes 5 us
    assert all(len(line) <= 130 for line in text.splitlines() if not line.startswith("|"))


def test_page_of_sweeps(report):
    densities = (Density(density=0.1, predicted=150, measured=151), Density(density=1.0, predicted=1000, measured=None))
    lengths = tuple(Attention(places=8, timesteps=t, slices=3, predicted=100 * t + 50, measured=None) for t in (4, 8, 16))
    text = page(replace(report, sweeps=Sweeps(preset="base", densities=densities, attention=lengths)))
    assert "| 10% | 150 | 151 | 6.67 | 10.00 | 0.67 |" in text
    assert "50 + 100.0 T" in text and "0.0%." in text


def test_table():
    assert table(("x", "y"), [("a", 1)]) == "| x | y |\n|---|---:|\n| a | 1 |\n"
