"""CRC-32 of frames."""

from __future__ import annotations

import functools
import operator

from amaranth.hdl import Cat, Module
from amaranth.lib import wiring
from amaranth.lib.wiring import In, Out

from golden.spec.link import CRC_POLYNOMIAL

BITS = 32


def _step(state: int) -> int:
    """The register after eight more bits, all 0."""
    for _ in range(8):
        state = state >> 1 ^ (CRC_POLYNOMIAL if state & 1 else 0)
    return state


def table() -> list[int]:
    """What each byte becomes of an empty register: all of the CRC for who takes bytes one by one."""
    return [_step(byte) for byte in range(1 << 8)]


class Crc32(wiring.Component):
    """zlib's CRC-32, a byte a cycle.

    The step of eight bits is linear, so each bit of the next state is the parity of some of the 32 bits that the state and the
    byte make together: what `_step` does to single bits says of which.

    Ports
    -----
    clear : Signal(), in
        Begin anew; a byte in the same cycle is lost.
    en : Signal(), in
        Take ``byte``.
    byte : Signal(8), in
    state : Signal(32), out
        Not yet inverted.
    """

    def __init__(self) -> None:
        super().__init__({"clear": In(1), "en": In(1), "byte": In(8), "state": Out(BITS, init=(1 << BITS) - 1)})

    def elaborate(self, platform: object) -> Module:
        m = Module()
        mixed = self.state ^ self.byte
        sources = [_step(1 << i) for i in range(BITS)]
        following = Cat(functools.reduce(operator.xor, (mixed[i] for i in range(BITS) if sources[i] >> bit & 1))
                        for bit in range(BITS))
        with m.If(self.en):
            m.d.sync += self.state.eq(following)
        with m.If(self.clear):
            m.d.sync += self.state.eq((1 << BITS) - 1)
        return m

    @staticmethod
    def model(data: bytes) -> int:
        """Twin: the state after these bytes."""
        state = (1 << BITS) - 1
        for byte in data:
            state = _step(state ^ byte)
        return state
