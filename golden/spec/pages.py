"""The reference pages made from the specification: ``python -m golden.spec.pages`` writes them, a test compares them."""

from __future__ import annotations

from pathlib import Path

from golden.spec import link as protocol
from golden.spec.config import PRESETS
from golden.spec.descriptor import BYTES, FIELDS, Opcode
from golden.spec.registers import AT_WORK, ERROR_TEXT, HANDSHAKES, REGISTERS, STATISTICS, STATISTICS_BYTES

MADE = "Made by `make docs` from `golden/spec`; do not edit.\n"


def _table(head: tuple[str, ...], rows: list[tuple[object, ...]]) -> str:
    lines = ["| " + " | ".join(head) + " |", "|" + "---|" * len(head)]
    return "\n".join(lines + ["| " + " | ".join(str(x) for x in row) + " |" for row in rows]) + "\n"


def registers() -> str:
    """docs/registers.md: register map, error codes, statistics record."""
    return "\n".join([
        "# Registers", MADE,
        _table(("address", "name", "access", "meaning"),
               [(f"0x{r.address:02x}", f"`{r.name}`", r.access, r.doc) for r in REGISTERS.values()]),
        "## Error codes\n", _table(("code", "name", "meaning"), [(int(c), c.name, t) for c, t in ERROR_TEXT.items()]),
        "## Handshakes\n",
        _table(("bits", "name", "meaning"), [
            *((f"{2 * i + 1}:{2 * i}", f"{name}: ready, valid", text) for i, (name, text) in enumerate(HANDSHAKES.items())),
            *((2 * len(HANDSHAKES) + i, name, text) for i, (name, text) in enumerate(AT_WORK.items())),
        ]),
        f"## Statistics record ({STATISTICS_BYTES} bytes of 32-bit words)\n",
        _table(("word", "name", "meaning"), [(i, f"`{n}`", t) for i, (n, t) in enumerate(STATISTICS.items())]),
    ])


def descriptor() -> str:
    """docs/descriptor.md: opcodes and fields."""
    return "\n".join([
        "# Layer descriptor", MADE, f"{BYTES} bytes, 32-bit little-endian words; fields marked ± are two's complement.\n",
        _table(("opcode", "value"), [(o.name, int(o)) for o in Opcode]),
        _table(("word", "bits", "field", "meaning"),
               [(f.word, f"{f.lsb + f.bits - 1}:{f.lsb}", f"`{f.name}`{' ±' if f.signed else ''}", f.doc)
                for f in FIELDS.values()]),
    ])


def presets() -> str:
    """docs/presets.md: the sizes of every preset."""
    names = [f for f in next(iter(PRESETS.values())).__dataclass_fields__ if f != "name"]
    rows: list[tuple[object, ...]] = [(f"`{n}`", *(getattr(c, n) for c in PRESETS.values())) for n in names]
    rows.append(("synaptic operations per cycle", *(c.peak_sop for c in PRESETS.values())))
    return "\n".join(["# Presets", MADE, _table(("size", *PRESETS), rows)])


def link() -> str:
    """docs/link.md: frames, requests, answers, status codes."""

    def body(fields: tuple[protocol.Field, ...]) -> str:
        return ", ".join(f"`{f.name}` ({f'0 to {f.size}' if f.kind == 'data' else f.size})" for f in fields) or "nothing"

    return "\n".join([
        "# The link", MADE,
        f"Version {protocol.VERSION}. How a host talks to a board over any stream of bytes. The host asks; the board gives each "
        "request one answer.\n",
        "## Frames\n",
        "A frame is encoded by COBS and ends with a byte 0, so a 0 is always an end, whatever came before. Empty frames are "
        "ignored. Numbers are little-endian.\n",
        _table(("bytes", "field", "meaning"), [
            (protocol.KIND_BYTES, "`kind`", f"the request; 0x{protocol.ANSWER:02x} is added in its answer"),
            (protocol.SEQUENCE_BYTES, "`sequence`", "number of the request, the same in its answer"),
            (f"0 to {protocol.FRAME_BYTES - protocol.HEADER_BYTES - protocol.CRC_BYTES}", "body",
             "the fields of the request; in an answer one byte of status, and behind it, where that is 0, the answer's fields"),
            (protocol.CRC_BYTES, "CRC-32", f"of all before it (0x{protocol.CRC_POLYNOMIAL:08x}, lowest bit first, as zlib's)"),
        ]),
        "## Requests\n",
        "Sizes in bytes.\n",
        _table(("kind", "name", "body", "answer", "meaning"), [
            (f"0x{int(k):02x}", k.name, body(r.fields), body(r.answer), r.doc) for k, r in protocol.REQUESTS.items()]),
        "## Identity\n",
        _table(("bytes", "field", "meaning"), [(f.size, f"`{f.name}`", f.doc) for f in protocol.IDENTITY]),
        "## Status\n", _table(("code", "name", "meaning"), [(int(c), c.name, t) for c, t in protocol.STATUS_TEXT.items()]),
        "## Order, repetition, damage\n", *(f"- {rule}" for rule in protocol.RULES), "",
    ])


PAGES = {"registers.md": registers, "descriptor.md": descriptor, "presets.md": presets, "link.md": link}


def write(folder: Path) -> None:
    """Write every page into ``folder``."""
    for name, make in PAGES.items():
        (folder / name).write_text(make(), encoding="utf-8")


if __name__ == "__main__":
    write(Path(__file__).parents[2] / "docs")
