"""What is said to move is what the program moves."""

from dataclasses import replace

from typer.testing import CliRunner

from golden.spec.config import SMALL
from golden.spec.descriptor import Opcode
from sw.__main__ import app
from sw.compiler import compile_model, plan_model
from sw.model_file import read_model
from sw.tests.test_compiler import descriptors
from sw.traffic import traffic

NANO = "golden/weights/svformer-nano.safetensors"


def test_bytes():
    """Of each direction as many as the descriptors say, and of a tensor that is moved once its own."""
    source, config = read_model(NANO), replace(SMALL, name="little", spike_words=1024, u_beats=512)
    rows = traffic(plan_model(source, config)[0], config)
    bundle = compile_model(source, config)
    for opcode in (Opcode.LOAD, Opcode.STORE):
        sizes = [d["count"] * (config.u_beat_bits if d["space"] else config.word) // 8
                 for d in descriptors(bundle, "run") if d["opcode"] == opcode]
        assert sum(x.bytes for x in rows if x.opcode == opcode) == sum(sizes) > 0
    assert all(x.bytes == x.once >= x.packed for x in rows if x.opcode == Opcode.STORE)


def test_command():
    result = CliRunner().invoke(app, ["moves", NANO, "--preset", "small"])
    assert result.exit_code == 0 and "input" in result.stdout
