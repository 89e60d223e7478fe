"""Commands about devices, streams and figures."""

import io
import json
import os
import sys

import numpy as np
import pytest
from rich.console import Console

from golden.integer.network import save
from golden.spec.config import SMALL
from golden.tests.test_data_video import noise, write
from sw import console
from sw.device.golden import GoldenDevice
from sw.driver import Driver
from sw.link.client import Counters, LinkClient
from sw.link.device import LinkDevice
from sw.live import HEIGHT, WIDTH, Figures, View, thumbnail
from sw.sources import Clip, Feed, files
from sw.tests.conftest import TINY
from sw.tests.test_command_line import sw
from sw.tests.test_throughput import KEYS
from sw.tests.twin_board import TwinBoard


@pytest.fixture(scope="module")
def folder(tiny, tmp_path_factory):
    """A model, its bundle for ``small``, and a folder of clips, one of them no good."""
    root = tmp_path_factory.mktemp("stream")
    save(root / "m.safetensors", tiny.model, tiny.tensors)
    assert sw("compile", root / "m.safetensors", "--out", root / "m.bundle").exit_code == 0
    (root / "clips").mkdir()
    for i in range(3):
        write(root / "clips" / f"{i}.mkv", noise(6 + 2 * i, 16, 16))
    return root


def golden(folder):
    """What the golden device makes of the clips: name, logits."""
    from sw import bundle as bundles

    driver = Driver(GoldenDevice(SMALL))
    driver.load(bundles.load(folder / "m.bundle"))
    return [(clip.name, driver.run(clip.tensor).logits.tolist()) for clip in files([folder / "clips"], TINY)]


def lines(result):
    return [json.loads(line) for line in result.stdout.splitlines()]


def test_stream(folder):
    arguments = ("stream", folder / "clips", "--device", "golden:small", "--model", folder / "m.safetensors", "--verify")
    result = sw(*arguments, "--json")
    *clips, end = lines(result)
    assert result.exit_code == 0 and [(x["clip"], x["logits"]) for x in clips] == golden(folder)
    assert all(x["exact"] and x["latency"] > 0 for x in clips)
    assert end["summary"]["clips"] == 3 and end["summary"]["different"] == 0 and "line" not in end["summary"]
    plain = sw(*arguments)
    assert plain.exit_code == 0 and plain.stdout.count(", exact") == 3 and "0 of 3 dropped (block)" in plain.stdout


def test_windows_and_limit(folder):
    arguments = ("stream", folder / "clips", "--device", "null:small", "--bundle", folder / "m.bundle", "--window", 4)
    *clips, _ = lines(sw(*arguments, "--json"))
    assert [x["clip"].rpartition(".mkv")[0][-1] + x["clip"].rpartition(" ")[2] for x in clips] == [
        "00", "02", "10", "12", "14", "20", "22", "24", "26"]
    assert len(lines(sw(*arguments, "--json", "--limit", 4))) == 5


@pytest.mark.parametrize(("arguments", "message"), [
    (("none",), "no video file 'none'"), (("clips/0.mkv", "--step", "3"), "--step needs a --window"),
    (("clips/0.mkv", "--window", "-1"), "a window of -1"), (("clips/0.mkv", "--policy", "keep"), "neither block nor drop"),
    (("clips/0.mkv", "/dev/video0"), "is a camera: stream it alone"), (("/dev/video99",), "camera '/dev/video99' cannot be used"),
    (("clips/0.mkv", "--model", "m.safetensors", "--bundle", "other.bundle"), "was compiled from model"),
])
def test_streams_that_cannot_be(folder, arguments, message, monkeypatch, tiny):
    monkeypatch.chdir(folder)
    save(folder / "o.safetensors", tiny.model, {**tiny.tensors, "head.bias": tiny.tensors["head.bias"] + 1})
    sw("compile", "o.safetensors", "--out", "other.bundle")
    bundle = () if "--bundle" in arguments else ("--bundle", "m.bundle")
    result = sw("stream", *arguments, "--device", "null:small", *bundle)
    assert result.exit_code == 2 and message in result.stderr, result.output


@pytest.mark.parametrize("command", ["verify", "bench"])
def test_clips_that_are_not_there(folder, command):
    result = sw(command, folder / "none.mkv", "--device", "null:small", "--model", folder / "m.safetensors")
    assert result.exit_code == 2 and "no video file" in result.stderr


def test_a_stream_that_differs(folder):
    result = sw("stream", folder / "clips", "--device", "null:small", "--bundle", folder / "m.bundle", "--verify")
    assert result.exit_code == 1 and result.stdout.count("DIFFERENT") == 3 and "different 3" in result.stdout


def test_a_stream_with_a_bad_file(folder, tmp_path):
    (tmp_path / "bad.mkv").write_bytes(b"junk")
    result = sw("stream", tmp_path, folder / "clips", "--device", "null:small", "--bundle", folder / "m.bundle", "--json")
    end = lines(result)[-1]["summary"]
    assert result.exit_code == 2 and "bad.mkv" in result.stderr and (end["clips"], end["bad_files"]) == (3, 1)


def test_a_stream_on_a_board_that_is_lost(folder, monkeypatch):
    """On a line that is bad, and then breaks for a while: the same answers, and the line's losses are told."""

    class Breaking(TwinBoard):
        sent = 0

        def send(self, data):
            if self.sent < 20_000 <= self.sent + len(data):
                self.device, self.gone = GoldenDevice(SMALL), True
                self.reset()
            self.sent += len(data)
            super().send(data)

        def reconnect(self):
            self.gone = False

    monkeypatch.setattr("sw.streaming.open_device",
                        lambda uri: LinkDevice(LinkClient(Breaking(noise=0.001), timeout=0.002), uri))
    result = sw("stream", folder / "clips", "--device", "serial:x", "--bundle", folder / "m.bundle", "--json")
    *clips, end = lines(result)
    assert result.exit_code == 0 and [(x["clip"], x["logits"]) for x in clips] == golden(folder)
    assert end["summary"]["line"]["repeated"] > 0


def test_the_live_view(folder, monkeypatch):
    screen = Console(file=io.StringIO(), force_terminal=True, width=120, height=40)
    monkeypatch.setattr("sw.streaming.output", screen)
    result = sw("stream", folder / "clips", "--device", "golden:small", "--model", folder / "m.safetensors")
    text = screen.file.getvalue()  # type: ignore[attr-defined]
    assert result.exit_code == 0
    assert "random-nano on golden:small" in text and "2.mkv" in text and "▀" in text and "0 of 3 dropped (block)" in text


def test_what_the_view_shows(folder, bundle, clip):
    driver = Driver(GoldenDevice(SMALL))
    driver.load(bundle)
    result, figures, screen = driver.run(clip), Figures(), Console(file=io.StringIO(), width=120)
    view = View("title", bundle.manifest.classes, Feed([]), figures, Counters(requests=9, repeated=4))
    screen.print(view)
    shown = Clip("name", noise(4, 16, 16), clip)
    figures.count(shown)
    view.last = shown, result
    screen.print(view)
    text = screen.file.getvalue()  # type: ignore[attr-defined]
    assert "waiting for the first clip" in text and result.label in text and f"{result.scores.max():.1%}" in text
    assert "1, " in text and "0 waiting" in text and "4 of 9 requests repeated" in text


@pytest.mark.parametrize("shape", [(16, 16), (3, 200), (64, 64, 3), (500, 20, 3), (1, 1)])
def test_thumbnails(shape):
    frame = noise(*shape)
    text = thumbnail(frame)
    rows = text.plain.splitlines()
    assert len(rows) <= HEIGHT // 2 and max(map(len, rows)) <= WIDTH and len({len(row) for row in rows}) == 1
    if shape == (16, 16):
        pixel = frame[0, 0], frame[1, 0]
        assert str(text.spans[0].style) == "rgb({0},{0},{0}) on rgb({1},{1},{1})".format(*pixel)


def test_bench(folder):
    model = ("--model", folder / "m.safetensors")
    result = sw("bench", folder / "clips", "--device", "null:small", "--device", "golden:micro", *model, "--clips", 4, "--json")
    found = json.loads(result.stdout)
    assert result.exit_code == 0 and list(found) == ["null:small", "golden:micro"]
    assert tuple(found["golden:micro"]) == KEYS and set(found["null:small"]) - set(KEYS) == {
        "host, a clip[ms]", "machine at 80 MHz, a clip[ms]", "host overhead[%]"}
    table = sw("bench", *model, "--clips", 2)
    assert table.exit_code == 0 and all(key in table.stdout for key in (*KEYS, "host overhead[%]"))


def test_verify(folder):
    arguments = ("verify", folder / "clips", "--device", "golden:small", "--model", folder / "m.safetensors")
    assert "3 of 3 clips bit-exact, 0 files no good" in sw(*arguments).stdout
    found = json.loads(sw(*arguments, "--limit", 2, "--json").stdout)
    assert found["exact"] == 2 and [x["bit_exact"] for x in found["clips"]] == [True, True]
    wrong = sw("verify", folder / "clips", "--device", "null:small", "--model", folder / "m.safetensors")
    assert wrong.exit_code == 1 and "0 of 3 clips bit-exact" in wrong.stdout and "replay: " in wrong.stdout


def test_devices(monkeypatch, tmp_path):
    monkeypatch.setenv("TANDEM_BUILD", str(tmp_path))
    found = {x["device"]: x["what"] for x in json.loads(sw("devices", "--json").stdout)}
    assert found["sim:small"] == "not built: make sim-device PRESET=small" and "golden:micro" in found and "null:base" in found
    assert "functional model" in sw("devices").stdout

    class Port:
        device, description = "/dev/nothing", "USB serial"

        def __lt__(self, other):
            return False

    monkeypatch.setattr("sw.boards.list_ports.comports", lambda: [Port()])
    found = {x["device"]: x["what"] for x in json.loads(sw("devices", "--json", "--ask").stdout)}
    assert found["serial:///dev/nothing"].startswith("no board: serial port")


def test_load(folder, monkeypatch):
    result = sw("load", folder / "m.bundle", "--device", "golden:small", "--json")
    assert result.exit_code == 0 and json.loads(result.stdout)["network"] == "random-nano"
    read = GoldenDevice.read_memory
    monkeypatch.setattr(GoldenDevice, "read_memory", lambda self, address, size: bytes([1]) + read(self, address, size)[1:])
    result = sw("load", folder / "m.bundle", "--device", "golden:small")
    assert result.exit_code == 3 and "byte 0 of the image is not what was written" in result.stderr


@pytest.fixture
def loader(tmp_path, monkeypatch):
    """A program that stands for openFPGALoader: notes its arguments and ends as it is told."""
    path = tmp_path / "bin" / "openFPGALoader"
    path.parent.mkdir()
    path.write_text(f"#!{sys.executable}\nimport os, sys, time\nprint(sys.argv[1:])\n"
                    "time.sleep(float(os.environ.get('LASTS', 0)))\nsys.exit(int(os.environ.get('ENDS', 0)))\n")
    path.chmod(0o755)
    monkeypatch.setenv("PATH", f"{path.parent}{os.pathsep}{os.environ['PATH']}")
    return path


def test_program(loader, tmp_path, monkeypatch):
    bits = tmp_path / "top.bit"
    bits.write_bytes(b"x")
    assert "until power is switched off" in sw("program", bits, "--board", "ulx3s-85f").stdout
    found = json.loads(sw("program", bits, "--board", "ulx3s-85f", "--flash", "--json").stdout)
    assert found["command"] == [str(loader), "-b", "ulx3s", "-f", str(bits)] and str(bits) in found["output"]
    monkeypatch.setenv("ENDS", "7")
    failed = sw("program", bits, "--board", "ulx3s-85f")
    assert failed.exit_code == 3 and "ended with 7" in failed.stderr
    monkeypatch.setenv("LASTS", "9")
    monkeypatch.setattr("sw.boards.PATIENCE", 0.5)
    stuck = sw("program", bits, "--board", "ulx3s-85f")
    assert stuck.exit_code == 3 and "has not ended within 0.5 s" in stuck.stderr
    monkeypatch.setenv("PATH", str(tmp_path))
    missing = sw("program", bits, "--board", "ulx3s-85f")
    assert missing.exit_code == 2 and "openFPGALoader is not installed: apt-get install" in missing.stderr


def test_every_command_has_help_and_says_how_it_ends():
    listed = sw("--help").stdout
    for command in ("devices", "info", "doctor", "load", "classify", "stream", "bench", "verify", "link-test", "program"):
        assert command in listed and "--json" in sw(command, "--help").stdout
    assert "Exit code 0" in " ".join(listed.split()) and console.app.info.epilog == console.EXIT_CODES


def test_random_clips_fit_their_network(folder):
    from sw.bench import _clips

    clips = _clips([], TINY, 3)
    assert len(clips) == 3 and all(x.shape == TINY.shape and x.dtype == np.uint8 for x in clips)
    assert len(_clips([folder / "clips"], TINY, 5)) == 5
