"""Adders: the carry cells of ECP5 do what the plain description says, for all inputs."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import pytest
from amaranth.hdl import Fragment, Module
from amaranth.lib import wiring
from amaranth.lib.wiring import In, Out

from hw.adder import Adder
from hw.flow.devices import DEVICES
from hw.mux_adder import MuxAdder
from hw.verilog import PASSES, to_rtlil

A_BITS, B_BITS, BITS = 6, 4, 7


class Twins(wiring.Component):
    """Both forms of an adder on the same inputs, within their contract."""

    def __init__(self, invert: bool) -> None:
        self.invert = invert
        super().__init__({"a": In(A_BITS), "b": In(B_BITS), "use_a": In(1), "use_b": In(1), "same": Out(1)})

    def elaborate(self, platform: object) -> Module:
        m = Module()
        sums = []
        for name, device in (("plain", None), ("cells", DEVICES["lfe5u-25f"])):
            adder = Adder(BITS, A_BITS, B_BITS, invert=self.invert)
            m.submodules[name] = Fragment.get(adder, device)
            m.d.comb += [
                adder.a.eq(self.a), adder.b.eq(self.b), adder.use_a.eq(self.use_a), adder.use_b.eq(self.use_b | ~self.use_a),
            ]
            sums.append(adder.sum)
        m.d.comb += self.same.eq(sums[0] == sums[1])
        return m


class MuxTwins(wiring.Component):
    """Both forms of an adder with a choice on the same inputs."""

    def __init__(self, invert: bool) -> None:
        self.invert = invert
        super().__init__({"a": In(A_BITS), "b": In(B_BITS), "c": In(A_BITS), "use_a": In(1), "same": Out(1)})

    def elaborate(self, platform: object) -> Module:
        m = Module()
        sums = []
        for name, device in (("plain", None), ("cells", DEVICES["lfe5u-25f"])):
            adder = MuxAdder(BITS, A_BITS, B_BITS, A_BITS, invert=self.invert)
            m.submodules[name] = Fragment.get(adder, device)
            m.d.comb += [getattr(adder, x).eq(getattr(self, x)) for x in ("a", "b", "c", "use_a")]
            sums.append(adder.sum)
        m.d.comb += self.same.eq(sums[0] == sums[1])
        return m


@pytest.mark.parametrize("twins", [kind(invert) for kind in (Twins, MuxTwins) for invert in (False, True)])
def test_carry_cells_equal_the_description(twins: wiring.Component, tmp_path: Path) -> None:
    text = to_rtlil(twins, "top")
    assert "CCU2C" in text
    (tmp_path / "top.il").write_text(text)
    passes = ["read_rtlil top.il", "read_verilog +/lattice/common_sim.vh +/lattice/ccu2c_sim.vh", "hierarchy -top top", "proc",
              "flatten", "sat -verify -prove same 1 top"]
    result = subprocess.run([sys.executable, "-c", PASSES, *passes], cwd=tmp_path, capture_output=True, text=True)
    assert result.returncode == 0, result.stdout[-2000:] + result.stderr
    assert "SUCCESS!" in result.stdout
