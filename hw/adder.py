"""An adder that can leave out an operand, at no cost where a carry cell has inputs to spare."""

from __future__ import annotations

from amaranth.hdl import Instance, Module, Mux, Signal, signed
from amaranth.lib import wiring
from amaranth.lib.wiring import In, Out

from hw.ecp5 import is_ecp5


class Adder(wiring.Component):
    """``a + b``, or one of them alone; combinational.

    On ECP5 the choice fits into the carry cell CCU2C: its 4-input table says where a carry propagates, and, with both
    choices 0, which therefore must not be asked for, where one is generated. That is one function of a and b for all three:

    ===========  =====  =====  ==========  ==========================================================
    result       use_a  use_b  propagates  generates
    ===========  =====  =====  ==========  ==========================================================
    ``a + b``      1      1    ``a ^ b``   ``a & b``
    ``b``          0      1    ``b``       ``a & b``: only looked at where b is 0, so never
    ``a``          1      0    ``a``       ``a & b``: only looked at where a is 0, so never
    ===========  =====  =====  ==========  ==========================================================

    Parameters
    ----------
    bits, a_bits, b_bits : int
        Widths of the result, which wraps, and of the operands.
    invert : bool
        Take ``~a`` for ``a``.

    Ports
    -----
    a, b : Signal(signed(...)), in
    use_a, use_b : Signal(), in
        At least one is 1, or else ``sum`` is anything.
    sum : Signal(signed(bits)), out
    """

    TABLE = 0x6CA8  #: propagates, by use_b, use_a, b, a from the highest index bit down; the lowest four: generates
    INVERTED = 0x9C54  #: the same for ``~a``

    def __init__(self, bits: int, a_bits: int, b_bits: int, invert: bool = False) -> None:
        self.bits, self.invert = bits, invert
        super().__init__({
            "a": In(signed(a_bits)), "b": In(signed(b_bits)), "use_a": In(1), "use_b": In(1), "sum": Out(signed(bits)),
        })

    def elaborate(self, platform: object) -> Module:
        m = Module()
        if not is_ecp5(platform):
            operand = ~self.a if self.invert else self.a
            m.d.comb += self.sum.eq(Mux(self.use_a, operand, 0) + Mux(self.use_b, self.b, 0))
            return m
        cells = -(-self.bits // 2)
        table = self.INVERTED if self.invert else self.TABLE
        a, b, result, carry = (Signal(signed(2 * cells), name="a_"), Signal(signed(2 * cells), name="b_"), Signal(2 * cells),
                               Signal(cells + 1))
        m.d.comb += [a.eq(self.a), b.eq(self.b), self.sum.eq(result)]
        for cell in range(cells):
            connections = {"i_CIN": carry[cell], "o_COUT": carry[cell + 1]}
            for half in range(2):
                bit = 2 * cell + half
                connections |= {f"i_A{half}": a[bit], f"i_B{half}": b[bit], f"i_C{half}": self.use_a, f"i_D{half}": self.use_b,
                                f"o_S{half}": result[bit]}
            m.submodules[f"cell{cell}"] = Instance(
                "CCU2C", p_INIT0=table, p_INIT1=table, p_INJECT1_0="NO", p_INJECT1_1="NO", **connections)
        return m
