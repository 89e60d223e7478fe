"""The AXI4-Lite register map as data: hardware, driver and docs/registers.md are made from it."""

from __future__ import annotations

from dataclasses import dataclass
from enum import IntEnum

from golden.spec.config import Config

ID_VALUE = 0x4D444E54  #: "TNDM", little-endian
VERSION = 6  #: of register map and descriptor layout together


@dataclass(frozen=True)
class Register:
    """One 32-bit register. ``access``: ``ro`` read-only, ``rw`` read-write, ``wo`` write-only (reads 0)."""

    name: str
    address: int
    access: str
    doc: str


_MAP = (
    ("ID", "ro", "the constant 0x4D444E54, 'TNDM'"),
    ("VERSION", "ro", "version of register map and descriptor layout"),
    ("DIGEST0", "ro", "config digest, hex digits 0..7 (as one number)"),
    ("DIGEST1", "ro", "config digest, hex digits 8..15"),
    ("DIGEST2", "ro", "config digest, hex digits 16..23"),
    ("DIGEST3", "ro", "config digest, hex digits 24..31"),
    ("IRQ_ENABLE", "rw", "bit 0: the interrupt line is (done or error)"),
    ("WATCHDOG", "rw", "cycles without progress after which the run ends in error 4; 0 switches it off; 20 bits where `lean`"),
    ("PROGRAM", "rw", "offset of the first descriptor in segment 0, multiple of 128"),
    ("SEGMENT0", "rw", "memory address of segment 0: program, weights, parameters; of all segments a multiple of 4096"),
    ("SEGMENT1", "rw", "memory address of segment 1: the input clip"),
    ("SEGMENT2", "rw", "memory address of segment 2: results"),
    ("SEGMENT3", "rw", "memory address of segment 3: one 64-byte statistics record per executed descriptor, none where `lean`"),
    ("CONTROL", "wo", "bit 0: start the program (ignored while busy); bit 1: abort and reset everything but these registers"),
    ("STATUS", "ro", "bit 0: busy; bit 1: done since the last start; bit 2: error since the last start"),
    ("ERROR", "ro", "bits 7:0 error code, bits 31:16 layer (descriptor index) where it happened"),
    ("LAYER", "ro", "index of the descriptor that was started last, or, when that is done, of the next one"),
    ("CYCLES_LO", "ro", "cycles since the last start, bits 31:0"),
    ("CYCLES_HI", "ro", "cycles since the last start, bits 63:32; this register, the beats and HANDSHAKES are 0 where `lean`"),
    ("READ_BEATS", "ro", "beats read over the AXI4 master since the last start"),
    ("WRITE_BEATS", "ro", "beats written over the AXI4 master since the last start"),
    ("SATURATIONS", "ro", "residual values that saturated since the last start; 16 bits where `lean`"),
    ("HANDSHAKES", "ro", "who waits for whom in the last cycle in which a program ran, see below"),
)
#: What a run needs is written, and what it tells is read, in one request each: CONTROL lies behind all that it starts with, and
#: what is read behind it.
REGISTERS = {name: Register(name, 4 * i, access, doc) for i, (name, access, doc) in enumerate(_MAP)}
ADDRESS_BITS = 8  #: of the AXI4-Lite address
PROGRAM_ALIGN = 128  #: programs start at multiples of this many bytes

START, ABORT = 1, 2  #: bits of CONTROL
BUSY, DONE, FAILED = 1, 2, 4  #: bits of STATUS
SEGMENT_ALIGN = 4096  #: segments start at multiples of this many bytes


def kept(name: str, config: Config) -> range:
    """Bits of a writable register that a machine keeps; the others read 0."""
    if name == "IRQ_ENABLE":
        return range(1)
    if name == "WATCHDOG":
        return range(20 if config.lean else 32)
    return range((PROGRAM_ALIGN if name == "PROGRAM" else SEGMENT_ALIGN).bit_length() - 1, config.address_bits)


#: Bits of HANDSHAKES, from bit 0: of each of these the valid, then the ready.
HANDSHAKES = {
    "AR": "addresses of reads, to memory",
    "R": "data of reads, from memory",
    "AW": "addresses of writes, to memory",
    "W": "data of writes, to memory",
    "B": "answers to writes, from memory",
    "descriptor": "descriptors, from the loader to the sequencer",
    "record": "statistics records, from the sequencer to the recorder",
}
#: Bits of HANDSHAKES behind those: what is at work.
AT_WORK = {
    "reads": "reads of memory are on their way",
    "writes": "writes of memory are on their way",
    "LINEAR": "the unit of this name has begun a descriptor, and not ended it",
    "HAMMING": "the same",
    "mover": "the same, of LOAD and STORE",
}


class ErrorCode(IntEnum):
    """Codes of the ERROR register."""

    NONE = 0
    DESCRIPTOR = 1  #: wrong magic, unknown opcode or wrong checksum
    READ = 2  #: the memory answered a read with an error response
    WRITE = 3  #: the memory answered a write with an error response
    WATCHDOG = 4  #: no progress for WATCHDOG cycles


ERROR_TEXT = {
    ErrorCode.NONE: "no error",
    ErrorCode.DESCRIPTOR: "illegal descriptor (wrong magic, unknown opcode or wrong checksum): the program in memory is damaged",
    ErrorCode.READ: "the memory answered a read with an error response",
    ErrorCode.WRITE: "the memory answered a write with an error response",
    ErrorCode.WATCHDOG: "no progress within the watchdog limit: the memory stopped answering",
}

#: Words of one statistics record (64 bytes, 32-bit words, the rest zero), in order.
STATISTICS = {
    "layer": "index of the descriptor",
    "cycles": "cycles from its start to its end",
    "adds": "weight rows added by all cores and issue slots (broadcast), or lanes added (lanewise)",
    "results": "results (one position, lane group and time step) that the neuron unit took",
    "busy": "slot cycles in which an issue slot added a row; this and the five that follow make cores * issue * cycles of LINEAR",
    "neuron": "slot cycles in which the slot's sums waited for the neuron unit",
    "imbalance": "slot cycles in which the slots that share its accumulators were not done with the pass",
    "weights": "slot cycles in which its weight bank was being written",
    "queue": "slot cycles in which its queue was empty while the walker walked",
    "drain": "slot cycles in which its queue was empty and the walker done, or not begun",
    "wait": "cycles from the end of the descriptor before (or its start, where it is `beside`) to the start of this one",
}
STATISTICS_BYTES = 64
SLOT_STATES = ("busy", "neuron", "imbalance", "weights", "queue", "drain")  #: what an issue slot does in a cycle
