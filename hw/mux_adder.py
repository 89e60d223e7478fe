"""An adder that chooses one of its operands between two, at no cost where a carry cell has inputs to spare."""

from __future__ import annotations

from amaranth.hdl import Instance, Module, Mux, Signal, signed
from amaranth.lib import wiring
from amaranth.lib.wiring import In, Out

from hw.ecp5 import is_ecp5


class MuxAdder(wiring.Component):
    """``(a if use_a else c) + b``; combinational.

    On ECP5 the choice fits into the carry cell CCU2C: its 4-input table propagates a carry where the chosen bit is not b's,
    and else, both being alike, generates b. That is what the cell takes from the same table for a = b = c = 0 and
    ``use_a`` = 0, too.

    Parameters
    ----------
    bits, a_bits, b_bits, c_bits : int
        Widths of the result, which wraps, and of the operands.
    invert : bool
        Take ``~a`` for ``a``.

    Ports
    -----
    a, b, c : Signal(signed(...)), in
    use_a : Signal(), in
    sum : Signal(signed(bits)), out
    """

    TABLE = 0x663C  #: propagates, by use_a, c, b, a from the highest index bit down; the lowest four: generates
    INVERTED = 0x993C  #: the same for ``~a``

    def __init__(self, bits: int, a_bits: int, b_bits: int, c_bits: int, invert: bool = False) -> None:
        self.bits, self.invert = bits, invert
        super().__init__({
            "a": In(signed(a_bits)), "b": In(signed(b_bits)), "c": In(signed(c_bits)), "use_a": In(1), "sum": Out(signed(bits)),
        })

    def elaborate(self, platform: object) -> Module:
        m = Module()
        if not is_ecp5(platform):
            operand = ~self.a if self.invert else self.a
            m.d.comb += self.sum.eq(Mux(self.use_a, operand, self.c) + self.b)
            return m
        cells = -(-self.bits // 2)
        table = self.INVERTED if self.invert else self.TABLE
        a, b, c = (Signal(signed(2 * cells), name=f"{name}_") for name in "abc")
        result, carry = Signal(2 * cells), Signal(cells + 1)
        m.d.comb += [a.eq(self.a), b.eq(self.b), c.eq(self.c), self.sum.eq(result)]
        for cell in range(cells):
            connections = {"i_CIN": carry[cell], "o_COUT": carry[cell + 1]}
            for half in range(2):
                bit = 2 * cell + half
                connections |= {f"i_A{half}": a[bit], f"i_B{half}": b[bit], f"i_C{half}": c[bit], f"i_D{half}": self.use_a,
                                f"o_S{half}": result[bit]}
            m.submodules[f"cell{cell}"] = Instance(
                "CCU2C", p_INIT0=table, p_INIT1=table, p_INJECT1_0="NO", p_INJECT1_1="NO", **connections)
        return m
