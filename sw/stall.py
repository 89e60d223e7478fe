"""What a machine that does not get on is waiting for, out of its registers."""

from __future__ import annotations

from functools import cache

from golden.spec.registers import AT_WORK, HANDSHAKES, REGISTERS
from sw.bundle import Program
from sw.device.base import Device

WAITING = {
    "AR": "memory does not take the address of a read (ARVALID without ARREADY)",
    "R": "the machine does not take the data of a read (RVALID without RREADY)",
    "AW": "memory does not take the address of a write (AWVALID without AWREADY)",
    "W": "memory does not take the data of a write (WVALID without WREADY)",
    "B": "the machine does not take the answer to a write (BVALID without BREADY)",
    "record": "no statistics record is taken",
}  #: what a valid without its ready means; a descriptor may wait for a unit


def registers(device: Device, first: str, last: str) -> dict[str, int]:
    """Registers from the one to the other, by name, read at once."""
    names = _names(first, last)
    return dict(zip(names, device.read_registers(REGISTERS[first].address, len(names)), strict=True))


@cache
def _names(first: str, last: str) -> list[str]:
    """Of registers from the one to the other."""
    begin, end = REGISTERS[first].address, REGISTERS[last].address
    return [name for name, x in REGISTERS.items() if begin <= x.address <= end]


def counters(device: Device) -> dict[str, int]:
    """What a machine has counted since the last start: cycles, beats of memory, saturations; descriptor, status, error,
    handshakes.
    """
    found = {name.lower(): value for name, value in registers(device, "STATUS", "HANDSHAKES").items()}
    return {"cycles": found.pop("cycles_lo") | found.pop("cycles_hi") << 32, **found}


def layer_of(program: Program, index: int) -> str:
    """Name of the layer of a descriptor."""
    return program.steps[index].layer if index < len(program.steps) else "unknown"


def explain(program: Program, before: dict[str, int], after: dict[str, int]) -> str:
    """Where a machine stands and what it waits for.

    Parameters
    ----------
    program : Program
        Which it runs.
    before, after : dict
        Of `counters`, some time apart; a handshake is stuck if it is so in both.
    """
    bits = before["handshakes"], after["handshakes"]
    states = [{name: bits[i] >> at & 3 for at, name in zip(range(0, 32, 2), HANDSHAKES, strict=False)} for i in (0, 1)]
    working = [name for i, name in enumerate(AT_WORK, 2 * len(HANDSHAKES)) if after["handshakes"] >> i & 1]

    def stuck(name: str, valid: int, ready: int) -> bool:
        return all(state[name] == valid + 2 * ready for state in states)

    causes = [text for name, text in WAITING.items() if stuck(name, 1, 0)]
    if not causes and "reads" in working and stuck("R", 0, 1):
        causes.append("memory gives no data of a read (RREADY without RVALID)")
    if not causes and "writes" in working and stuck("B", 0, 1):
        causes.append("memory does not answer a write (BREADY without BVALID)")
    if not causes and not {*working} & {"LINEAR", "HAMMING", "mover"} and stuck("descriptor", 0, 1):
        causes.append("the loader gives no descriptor")
    goes_on = [f"{key.replace('_', ' ')} go on" for key in ("read_beats", "write_beats") if after[key] != before[key]]
    index = after["layer"]
    opcode = program.steps[index].opcode if index < len(program.steps) else "unknown"
    return (f"it was in layer '{layer_of(program, index)}' (descriptor {index}, {opcode}): "
            f"{'; '.join(causes or goes_on or ['no handshake is stuck'])}; at work: {', '.join(working) or 'nothing'}; "
            f"{after['read_beats']} beats of memory read, {after['write_beats']} written, {after['cycles']:,} cycles since the "
            f"start, status {after['status']:#x}, handshakes {after['handshakes']:#x}")
