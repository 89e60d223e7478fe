"""A processor of a hundred cells, for what may take its time."""

from __future__ import annotations

from collections.abc import Sequence
from enum import IntEnum
from typing import Protocol

from amaranth.hdl import Array, Cat, Module, Mux, Signal
from amaranth.lib import wiring
from amaranth.lib.memory import Memory
from amaranth.lib.wiring import In, Out

PROGRAM_WORDS, DATA_BYTES = 1024, 2048
OUTSIDE = 3  #: conditions of a jump from this one on come from outside; those before: always, A is 0, carry


class Op(IntEnum):
    """Upper four bits of an instruction, chosen such that its bits steer the adder."""

    ADD = 0  #: A = A + M
    SUB = 1  #: A = A - M; the carry says that nothing was borrowed
    ADC = 2  #: A = A + M + carry
    SBC = 3  #: A = A - M - 1 + carry
    LD = 4  #: A = M
    LDN = 5  #: A = ~M
    AND = 6
    XOR = 7
    JIF = 8  #: go on at the target where the condition holds; 10, too: this bit is the target's highest
    JUN = 9  #: where it does not, 11, too; where that is never, go back to behind the last call
    IN = 12  #: A = the port
    OUT = 13  #: tell the port, which finds A at ``value``
    ST = 14  #: M = A
    LDX = 15  #: X = M; with the bit of X: call, go on at the address and remember where it comes from, one place only


RETURN, CALL = Op.JUN << 12, Op.LDX << 12 | 1 << 11


def jump(op: Op, condition: int, target: int) -> int:
    """The word of a jump."""
    return op << 12 | (target >> 9) << 13 | condition << 9 | (target & 0x1FF)


class Outside(Protocol):
    """What the twin sees behind its ports."""

    def condition(self, number: int) -> bool:
        """The level of an input of ``conditions``."""

    def read(self, port: int) -> int:
        """A byte from a port."""

    def write(self, port: int, value: int) -> None:
        """A byte to a port."""


class Processor(wiring.Component):
    """One accumulator A of 8 bits, a carry, an index X; two cycles an instruction. Program and data lie in block RAM.

    An instruction is 16 bits: the operation, then, of jumps, 3 bits of condition and 9 of the target; else a bit that says that
    X takes the place of the lowest 8 bits of the address, and 11 bits of address, M, or of port. Constants lie in data.

    The first instruction is carried out once more after a reset, before anything else: it must do no harm.

    Parameters
    ----------
    program : sequence of int
    data : bytes
        What data holds at first.

    Ports
    -----
    conditions : Signal(5), in
    port : Signal(4), out
    value : Signal(8), out
        A.
    given : Signal(8), in
        What ``port`` says, with ``reads``.
    reads, writes : Signal(), out
    """

    def __init__(self, program: Sequence[int], data: bytes) -> None:
        assert len(program) <= PROGRAM_WORDS, f"a program of {len(program)} words, not {PROGRAM_WORDS}"
        assert len(data) <= DATA_BYTES
        self.program, self.data = program, data
        super().__init__({
            "conditions": In(8 - OUTSIDE), "port": Out(4), "value": Out(8), "given": In(8), "reads": Out(1), "writes": Out(1),
        })

    def elaborate(self, platform: object) -> Module:
        m = Module()
        m.submodules.program = program = Memory(shape=16, depth=PROGRAM_WORDS, init=self.program)
        m.submodules.data = data = Memory(shape=8, depth=DATA_BYTES, init=self.data)
        fetch, read, write = program.read_port(), data.read_port(), data.write_port()
        word, op = fetch.data, fetch.data[12:]
        a, x, carry = self.value, Signal(8), Signal()
        execute = Signal(init=1)  # the second cycle of an instruction, in which the next one is read
        here, back, following = (Signal(range(PROGRAM_WORDS), name=x) for x in ("here", "back", "following"))
        address = Cat(Mux(word[11], x, word[:8]), word[8:11])
        m.d.sync += execute.eq(~execute)
        m.d.comb += [
            fetch.addr.eq(here), fetch.en.eq(execute), read.addr.eq(address), read.en.eq(~execute), write.addr.eq(address),
            write.data.eq(a), write.en.eq(execute & (op == Op.ST)), self.port.eq(word[:4]),
            self.reads.eq(execute & (op == Op.IN)), self.writes.eq(execute & (op == Op.OUT)),
        ]

        # The first cycle: where to go on.
        jumps, calls = op[2:] == Op.JIF >> 2, (op == Op.LDX) & word[11]
        condition, unless = word[9:12], op[0]
        holds = Array([1, a == 0, carry, *self.conditions])[condition]
        m.d.comb += following.eq(here + 1)
        with m.If(~execute):
            m.d.sync += here.eq(following)
            with m.If(calls | (jumps & (holds ^ unless))):
                m.d.sync += here.eq(Cat(word[:9], Mux(jumps, op[1], word[9])))
            with m.If(jumps & unless & (condition == 0)):
                m.d.sync += here.eq(back)
            with m.If(calls):
                m.d.sync += back.eq(following)

        # The second: the sum, or its second operand alone.
        memory, operand, total = Signal(8), Signal(8), Signal(9)
        m.d.comb += memory.eq(Mux(op[3], self.given, read.data))
        with m.Switch(Cat(op[0], op[1] & op[2])):
            with m.Case(0b00):
                m.d.comb += operand.eq(memory)
            with m.Case(0b01):
                m.d.comb += operand.eq(~memory)
            with m.Case(0b10):
                m.d.comb += operand.eq(memory & a)
            with m.Case(0b11):
                m.d.comb += operand.eq(memory ^ a)
        m.d.comb += total.eq(a + operand + Mux(op[1], carry, op[0]))
        with m.If(execute & (~op[3] | (op == Op.IN))):
            m.d.sync += a.eq(Mux(op[2], operand, total))
        with m.If(execute & (op <= Op.SBC)):
            m.d.sync += carry.eq(total[8])
        with m.If(execute & (op == Op.LDX) & ~word[11]):
            m.d.sync += x.eq(read.data)
        return m

    @staticmethod
    def model(program: Sequence[int], data: bytes, outside: Outside) -> None:
        """Twin: runs until ``outside`` raises an exception."""
        memory = bytearray(data.ljust(DATA_BYTES, b"\0"))
        a = x = carry = here = back = 0
        while True:
            word = program[here]
            op, at = word >> 12, (word & 0x700) | (x if word >> 11 & 1 else word & 0xFF)
            here += 1
            if word == RETURN:
                here = back
            elif op & 12 == Op.JIF:
                number = word >> 9 & 7
                holds = (True, a == 0, bool(carry))[number] if number < OUTSIDE else outside.condition(number - OUTSIDE)
                here = word & 0x1FF | (op & 2) << 8 if holds != op & 1 else here
            elif word & CALL == CALL:
                here, back = word & 0x3FF, here
            elif op == Op.IN:
                a = outside.read(word & 15)
            elif op == Op.OUT:
                outside.write(word & 15, a)
            elif op == Op.ST:
                memory[at] = a
            elif op == Op.LDX:
                x = memory[at]
            elif op >= Op.LD:
                a = (memory[at], memory[at] ^ 0xFF, a & memory[at], a ^ memory[at])[op - Op.LD]
            else:
                total = a + (memory[at] ^ (0xFF if op & 1 else 0)) + (carry if op & 2 else op & 1)
                a, carry = total & 0xFF, total >> 8
