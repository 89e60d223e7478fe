"""The input in bands: the first layer finds the rows that it needs, and makes the same."""

from dataclasses import replace

import pytest

from golden.spec.config import BASE, MICRO, SMALL
from golden.spec.descriptor import Opcode
from golden.spec.encoding import Encoding
from golden.spec.model import INPUT
from sw import bands
from sw.compiler import compile_model
from sw.cycles import predict
from sw.tests.test_compiler import check_equal, clips
from sw.tests.test_contract import ROOM, conv, made

ENCODING = Encoding(height=12, width=8, timesteps=4, frames=2, patch=1)


def opcodes(bundle, name="run"):
    return [Opcode(d["opcode"]) for d in bundle.descriptors(name)]


@pytest.mark.parametrize("config", [MICRO, SMALL, BASE], ids=lambda c: c.name)
@pytest.mark.parametrize("first", [
    {}, {"kernel": 3, "padding": 1}, {"kernel": 3, "stride": 2, "padding": 1}, {"kernel": 5, "padding": 2, "u_out": "a.u"},
    {"kernel": 2, "stride": 2}, {"kernel": 7, "padding": 3, "stride": 3},
], ids=str)
def test_same_result(config, first, monkeypatch):
    monkeypatch.setattr(bands, "BEATS", 8)
    source = made(conv("a", INPUT, 20, **first), conv("b", "a.s", 8), encoding=ENCODING)
    bundle = check_equal(source, replace(config, **ROOM), clips(ENCODING))
    for name in ("run", "trace"):
        found = opcodes(bundle, name)
        count = found.count(Opcode.LOAD)
        assert count > 2 and found[:4] == [Opcode.LOAD, Opcode.LOAD, Opcode.LINEAR, Opcode.LOAD]
        assert found[2 * count - 2 : 2 * count] == [Opcode.LINEAR] * 2


def test_most_of_the_load_is_hidden(monkeypatch):
    source = made(conv("a", INPUT, 20, kernel=3, padding=1), conv("b", "a.s", 8), encoding=ENCODING)
    cycles = []
    for beats in (1 << 20, 64):
        monkeypatch.setattr(bands, "BEATS", beats)
        result = predict(compile_model(source, SMALL), SMALL, clips(ENCODING)[0])
        cycles.append((result.cycles, result.layers["load"].cycles))
    whole, parts = cycles
    assert whole[0] - parts[0] > whole[1] // 2


def test_a_small_input_stays_whole(bundle):
    assert opcodes(bundle)[:3] == [Opcode.LOAD, Opcode.LINEAR, Opcode.LINEAR]
