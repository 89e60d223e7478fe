"""Descriptors of compiled programs, of every kind of layer: the twins of the RTL make what the functional machine makes."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest

from golden.integer.graph import sdsa
from golden.spec.config import BASE, MICRO, SMALL, Config
from golden.spec.encoding import Encoding
from golden.spec.model import FRAME, INPUT, JOINT, MASK, POSITION, SDHA, SOFT, SSA, Layer
from golden.spec.registers import REGISTERS
from hw.hamming import Hamming
from hw.linear import Linear
from sw.compiler import compile_model
from sw.device.golden import GoldenDevice
from sw.driver import Driver
from sw.tests.test_compiler import clips
from sw.tests.test_contract import ROOM, conv, made

ENCODING = Encoding(height=6, width=4, timesteps=4, frames=1, patch=1)
LARGEST = 20_000  #: words that a descriptor of these tests reads at most, each in Python


class Twins(GoldenDevice):
    """The functional machine, which asks the twins, too."""

    def __init__(self, config: Config) -> None:
        super().__init__(config)
        self.seen: set[str] = set()

    def _linear(self, d: dict[str, int]) -> None:
        c = self.config
        loops = ("out_h", "out_w", "groups", "steps", "kernel_h", "kernel_w", "words", "planes", "slices")
        assert np.prod([d[x] for x in loops]) < LARGEST, "a test that takes too long"
        banks, params, u = _numbers(self._banks, 1), _numbers(self._params[None], 32)[0], _numbers(self._u[None], 16)[0]
        writes = Linear.model(c, d, banks, _numbers(self._weights, c.w_bits), params, u)
        for bank, addr, beat, bits in writes.spikes:
            mask = ((1 << c.neuron_lanes) - 1) << beat * c.neuron_lanes
            banks[bank][addr] = banks[bank][addr] & ~mask | bits << beat * c.neuron_lanes
        for addr, data in writes.u:
            u[addr] = data
        saturations = REGISTERS["SATURATIONS"].address
        before = self.read_register(saturations)
        super()._linear(d)
        assert banks == _numbers(self._banks, 1) and u == _numbers(self._u[None], 16)[0], d
        assert writes.saturations == self.read_register(saturations) - before, d
        self.seen |= {name for name, value in d.items() if value} | ({"nothing read"} if not d["in_h"] else set())

    def _hamming(self, d: dict[str, int]) -> None:
        c = self.config
        rows, words = Hamming.model(c, d, _numbers(self._banks, 1), _numbers(self._params[None], 32)[0])
        super()._hamming(d)
        weights, params = _numbers(self._weights, c.w_bits), self._params.tobytes()
        size = c.axi_bytes
        assert all(weights[bank][row] == data for bank, row, data in rows), d
        assert all(params[at * size:(at + 1) * size] == data.to_bytes(size, "little") for at, data in words), d
        self.seen |= {name for name, value in d.items() if value}


def _numbers(values: np.ndarray, bits: int) -> list[list[int]]:
    """[memory, row, n] values of ``bits`` bits to the numbers that the rows are."""
    packed = np.packbits(values[..., None] >> np.arange(bits) & 1, bitorder="little", axis=None)
    rows = packed.reshape(*values.shape[:2], -1)
    return [[int.from_bytes(row.tobytes(), "little") for row in memory] for memory in rows]


@pytest.mark.parametrize("config", [MICRO, SMALL, BASE], ids=lambda c: c.name)
def test_twins(config: Config) -> None:
    """Groups, 8 bits channel by channel, several inputs, a larger picture, gates, every scope, and weights in parts."""
    leak = 11 if config.any_neuron else 16

    def attend(name: str, op: str, scope: str, leak: int = 8) -> Layer:
        return Layer(name=name, op=op, scope=scope, inputs=("q.s", "k.s", "v.s"), channels=16, heads=2, spike_out=f"{name}.s",
                     theta=64, leak=leak)

    source = made(
        conv("a", INPUT, 24, kernel=3, stride=2, padding=1), conv("b", "a.s", 24, kernel=3, padding=1, groups=24, weight_bits=8),
        conv("c", ("a.s", "b.s"), 16, kernel=2, stride=2, upsample=2, groups=2), *(conv(x, "c.s", 16, groups=2) for x in "qkv"),
        attend("x", SDHA, JOINT), attend("y", SSA, FRAME), attend("z", SDHA, POSITION, leak=0), conv("h", "x.s", 2),
        conv("w", "x.s", 128, groups=2),
        *sdsa("g", "x.s", "y.s", "z.s", "g.s", (3, 2, 16), 4),
        Layer(name="m", op=MASK, inputs=("g.s", "h.s"), channels=16, heads=2, spike_out="m.s"),
        conv("p", ("m.s", "b.s"), 40, kernel=3, padding=1, weight_bits=8, u_out="p.u", levels=5, step=32),
        conv("r", "p.s", 40, kernel=3, padding=1, residual="p.u", reset=SOFT, leak=leak), encoding=ENCODING,
    )
    sizes = {"spike_words": 2048, "u_beats": 2048, "weight_rows": 256, "param_beats": 64}
    machine = Twins(replace(config, **ROOM | sizes | {"levels_max": config.levels_max, "any_neuron": config.any_neuron}))
    driver = Driver(machine)
    driver.load(compile_model(source, machine.config))
    driver.run(clips(ENCODING)[0])
    wanted = {"lanewise", "shared_taps", "dst_row_skip", "dot", "mask_low", "padding", "partial", "nothing read"}
    assert wanted <= machine.seen, wanted - machine.seen
