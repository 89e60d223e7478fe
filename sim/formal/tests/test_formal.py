"""The contracts hold for two blocks, and fail for blocks that break them."""

from __future__ import annotations

from pathlib import Path

import pytest
from amaranth.hdl import Module, Signal
from amaranth.lib import stream, wiring
from amaranth.lib.wiring import In, Out

from sim.formal.contracts import StreamContract
from sim.formal.proofs import PROOFS, Proof, prove

FOLDER = Path("build/formal")  # the tools see no absolute paths of the system's temporary folder


class Waits(wiring.Component):
    """Breaks a rule: ``valid`` waits for ``ready``."""

    def __init__(self) -> None:
        super().__init__({"i": In(stream.Signature(2)), "o": Out(stream.Signature(2))})

    def elaborate(self, platform: object) -> Module:
        m = Module()
        m.d.comb += [
            self.o.payload.eq(self.i.payload), self.o.valid.eq(self.i.valid & self.o.ready), self.i.ready.eq(self.o.ready),
        ]
        return m


class Withdraws(wiring.Component):
    """Breaks a rule: what is on offer does not stay."""

    def __init__(self) -> None:
        super().__init__({"i": In(stream.Signature(2)), "o": Out(stream.Signature(2))})

    def elaborate(self, platform: object) -> Module:
        m = Module()
        turn = Signal()
        m.d.sync += turn.eq(~turn)
        m.d.comb += [
            self.o.payload.eq(self.i.payload), self.o.valid.eq(self.i.valid & turn), self.i.ready.eq(self.o.ready & turn),
        ]
        return m


@pytest.mark.parametrize("name", ["stream-narrow", "queue"])
def test_holds(name: str) -> None:
    assert prove(PROOFS[name], FOLDER / f"test-{name}") == ""


@pytest.mark.parametrize("broken", [Waits, Withdraws])
def test_fails(broken: type[wiring.Component]) -> None:
    proof = Proof(lambda: StreamContract(broken), depth=5)
    assert "FAILED" in prove(proof, FOLDER / f"test-{broken.__name__}")
    log = (FOLDER / f"test-{broken.__name__}" / "log").read_text()
    assert "Assert failed" in log, "it failed for another reason"
