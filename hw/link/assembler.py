"""From the text of a program to what `Processor` holds."""

from __future__ import annotations

from collections.abc import Mapping

from hw.link.processor import CALL, DATA_BYTES, RETURN, Op, jump

#: Jumps by name: operation and number of the condition; those of outside are named by who assembles, behind ``j`` or ``jn``.
_JUMPS = {"jmp": (Op.JIF, 0), "jz": (Op.JIF, 1), "jnz": (Op.JUN, 1), "jc": (Op.JIF, 2), "jnc": (Op.JUN, 2)}
VARIABLES = 256  #: bytes of data, from address 0, in which variables and constants are placed


def assemble(text: str, names: Mapping[str, int], conditions: Mapping[str, int], data: bytearray) -> list[int]:
    """The words of a program; its constants are put into ``data``.

    A line is ``label:``, an operation with its operand, or nothing; what follows a ``;`` says why. An operand is a label, a name
    of ``names`` (an address, or a port), which may have ``+n`` behind it, or ``,x`` for X in place of the lowest bits; ``#`` and
    a name or number for a constant; or else a variable, which is there from its first use on.

    Parameters
    ----------
    text : str
        The program.
    names : mapping of str to int
        Addresses, ports and constants.
    conditions : mapping of str to int
        Number of each condition, in jumps ``jNAME`` and ``jnNAME``.
    data : bytearray
        The first `VARIABLES` bytes are for variables and constants.

    Raises
    ------
    KeyError
        If there is no such operation or label.
    """
    jumps = _JUMPS | {f"j{name}": (Op.JIF, n) for name, n in conditions.items()}
    jumps |= {f"jn{name}": (Op.JUN, n) for name, n in conditions.items()}
    labels: dict[str, int] = {}
    lines: list[list[str]] = []
    for line in text.splitlines():
        words = line.partition(";")[0].split()
        if words and words[0].endswith(":"):
            labels[words.pop(0)[:-1]] = len(lines)
        if words:
            lines.append(words)
    placed: dict[str, int] = {}

    def address(operand: str) -> int:
        name, _, index = operand.partition(",")
        base, _, offset = name.partition("+")
        if base in names and not operand.startswith("#"):
            return names[base] + int(offset or 0) | (0x800 if index else 0)
        if operand not in placed:
            placed[operand] = len(placed)
            assert len(placed) <= VARIABLES and len(data) == DATA_BYTES
            if operand.startswith("#"):
                value = operand[1:]
                data[placed[operand]] = (names[value] if value in names else int(value, 0)) & 0xFF
        return placed[operand]

    program = []
    for name, *operands in lines:
        if name in jumps:
            op, condition = jumps[name]
            program.append(jump(op, condition, labels[operands[0]]))
        elif name == "call":
            program.append(CALL | labels[operands[0]])
        else:
            program.append(RETURN if name == "ret" else Op[name.upper()] << 12 | address(operands[0]))
    return program
