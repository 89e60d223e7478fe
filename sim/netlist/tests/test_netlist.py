"""The synthesised netlist through the real driver."""

from __future__ import annotations

import random
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from amaranth.hdl import Module, Signal
from amaranth.lib import wiring
from amaranth.lib.memory import Memory
from amaranth.lib.wiring import In, Out

from golden.integer.random_model import random_clip, random_model
from golden.spec.config import MICRO
from golden.spec.model import Encoding
from golden.spec.registers import ADDRESS_BITS
from hw.axi import Axi, AxiLite
from hw.flow.devices import DEVICES
from sim.lib.runner import seed
from sim.netlist.build import build
from sw.compiler import compile_model
from sw.device.sim import SimDevice
from sw.driver import Driver
from sw.model_file import ModelFile
from sw.verify import compare, expect

TINY = Encoding(height=16, width=16, timesteps=4, frames=2, patch=4)
#: The least of the presets, with memories for a tiny network.
CONFIG = replace(MICRO, name="netlist", spike_words=2048, u_beats=2048, weight_rows=1024, param_beats=64)


class Store(wiring.Component):
    """The accelerator's ports, and behind its registers block RAM: each keeps what is written to it."""

    def __init__(self, _: object) -> None:
        super().__init__({"axil": In(AxiLite(ADDRESS_BITS)), "axi": Out(Axi(CONFIG.axi_bits)), "irq": Out(1)})

    def elaborate(self, platform: object) -> Module:
        m = Module()
        axil = self.axil
        m.submodules.memory = memory = Memory(shape=32, depth=1 << ADDRESS_BITS - 2, init=[], attrs={"ram_style": "block"})
        write, read = memory.write_port(granularity=8), memory.read_port()
        takes, asks = Signal(), Signal()
        m.d.comb += [
            takes.eq(axil.awvalid & axil.wvalid & ~axil.bvalid), axil.awready.eq(takes), axil.wready.eq(takes),
            write.addr.eq(axil.awaddr >> 2), write.data.eq(axil.wdata), write.en.eq(axil.wstrb & takes.replicate(4)),
            asks.eq(axil.arvalid & ~axil.rvalid), axil.arready.eq(asks), read.addr.eq(axil.araddr >> 2), read.en.eq(asks),
            axil.rdata.eq(read.data),
        ]
        m.d.sync += [axil.bvalid.eq(takes | (axil.bvalid & ~axil.bready)), axil.rvalid.eq(asks | (axil.rvalid & ~axil.rready))]
        return m


@pytest.mark.parametrize(("name", "cell"), [
    ("lfe5u-25f", "TANDEM_DP16KD"), pytest.param("ice40up5k", "SB_RAM40_4K", marks=pytest.mark.slow),
])
def test_block_ram_keeps_what_it_is_given(name: str, cell: str, pytestconfig: pytest.Config,
                                          monkeypatch: pytest.MonkeyPatch) -> None:
    """Synthesis, models, Verilator and C interface, on something small."""
    monkeypatch.setattr("sim.netlist.build.Accelerator", Store)
    library = build(CONFIG, DEVICES[name], pytestconfig.rootpath / "build" / "test-netlist" / f"store-{name}")
    assert cell in (library.parent / "netlist.v").read_text()
    rng = random.Random(seed())
    with SimDevice(library, f"netlist:{name}") as device:
        known: dict[int, int] = {}
        for _ in range(500):
            address = 4 * rng.randrange(1 << ADDRESS_BITS - 2)
            if address in known and rng.random() < 0.5:
                assert device.read_register(address) == known[address]
            else:
                known[address] = rng.getrandbits(32)
                device.write_register(address, known[address])
        assert {address: device.read_register(address) for address in known} == known


def test_a_chip_without_models(tmp_path: Path) -> None:
    with pytest.raises(ValueError, match="no models of the cells of XC7"):
        build(CONFIG, DEVICES["xc7"], tmp_path)


@pytest.mark.slow
@pytest.mark.parametrize("name", ["lfe5u-25f", "ice40up5k"])
def test_every_layer_is_exact(name: str, pytestconfig: pytest.Config) -> None:
    """A small random network, on a memory that stalls."""
    library = build(CONFIG, DEVICES[name], pytestconfig.rootpath / "build" / "test-netlist" / name)
    source = ModelFile(*random_model(1, TINY, local=16, wide=32))
    bundle = compile_model(source, CONFIG)
    clip = random_clip(TINY, np.random.default_rng(9))
    with SimDevice(library, f"netlist:{name}", stall=200) as device:
        driver = Driver(device)
        driver.load(bundle)
        report = compare(bundle.manifest, driver.trace(clip).tensors, expect(bundle, source, clip))
    assert report.exact, report.text("pytest")
