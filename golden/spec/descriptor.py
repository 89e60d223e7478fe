"""The layer descriptor as data: 32 words of 32 bits, little-endian, one pass of the machine each.

See docs/architecture.md for the loops that the fields of a LINEAR descriptor drive.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from enum import IntEnum

from golden.spec.config import Config

WORDS = 32
BYTES = 4 * WORDS
MAGIC = 0x7A4D


class Opcode(IntEnum):
    """What a descriptor asks for."""

    END = 0  #: the program is over
    LINEAR = 1  #: accumulate and fire: conv, linear, depthwise, attention application, head
    HAMMING = 2  #: make weights and biases out of K and V spikes
    LOAD = 3  #: memory to scratchpad
    STORE = 4  #: scratchpad to memory


@dataclass(frozen=True)
class Field:
    """``bits`` bits of a descriptor word from bit ``lsb`` up; two's complement where ``signed``."""

    name: str
    word: int
    lsb: int
    bits: int
    doc: str
    signed: bool = False

    @property
    def low(self) -> int:
        """Smallest value."""
        return -(1 << (self.bits - 1)) if self.signed else 0

    @property
    def high(self) -> int:
        """Largest value."""
        return (1 << (self.bits - self.signed)) - 1


_FIELDS = (
    Field("opcode", 0, 0, 4, "what to do, see Opcode"),
    Field("magic", 0, 16, 16, "the constant 0x7A4D"),
    Field("layer", 1, 0, 16, "index of this descriptor, for error reports"),
    Field("prefetch", 1, 16, 1, "weights and parameters may load while the descriptor before still runs"),
    Field("lanewise", 1, 17, 1, "LINEAR: a word's bits gate the lanes of one row per tap (depthwise)"),
    Field("shared_taps", 1, 18, 1, "LINEAR: every tap uses the weights of tap 0 (head)"),
    Field("residual", 1, 19, 1, "neuron: add y to U at u_src, saturating"),
    Field("u_write", 1, 20, 1, "neuron: write the sum (or y) to U at u_dst"),
    Field("fire", 1, 21, 1, "neuron: LIF of the sum (or y) to spikes at spike_dst"),
    Field("integrate", 1, 22, 1, "neuron: sum y over all time steps; write the sums as 32-bit numbers to U at u_dst"),
    Field("dot", 1, 23, 1, "HAMMING: dot-product attention (weights A, no bias) instead of Hamming (weights 2M)"),
    Field("soft", 1, 24, 1, "neuron: after s spikes v = h - s * 2**step_shift (of one level: h - theta), not 0"),
    Field("partial", 1, 25, 1, "neuron: U at u_src is added to the accumulator before the shift, in place of the bias"),
    Field("beside", 1, 26, 1, "the next descriptor need not wait for the end of this one, only for its own unit"),
    Field("after_hamming", 1, 27, 1, "starts when no HAMMING runs"),
    Field("after_move", 1, 28, 1, "starts when no LOAD or STORE runs"),
    Field("padding_y", 9, 24, 4, "zero padding in y; that in x is ``padding``"),
    Field("pass_words", 11, 24, 8, "fetches within a pass after which cores hand their sums over, beside its end; 0: 256"),
    Field("leak", 12, 24, 5, "neuron: the membrane keeps leak / 16 of itself"),
    Field("out_planes", 13, 24, 4, "neuron: bit planes of the output spike tensor"),
    Field("levels", 14, 24, 4, "neuron: largest spike value"),
    Field("step_shift", 15, 24, 5, "neuron: log2 of the distance of thresholds"),
    Field("bank_mask", 26, 16, 16, "time steps of cores that take part (bit i: core i): HAMMING reads, LINEAR writes no others"),
    Field("weight_addr", 2, 0, 32, "offset of the weight image in segment 0, multiple of 64"),
    Field("weight_rows", 3, 0, 20, "rows of the weight image; row n goes to bank n mod issue, lanewise to every bank"),
    Field("weight_base", 4, 0, 16, "bank row of the first image row, a multiple of word/issue; LINEAR reads it, HAMMING writes"),
    Field("param_base", 4, 16, 16, "parameter beat of the first channel; LINEAR reads, HAMMING subtracts column sums from here"),
    Field("param_addr", 5, 0, 32, "offset of the parameter image in segment 0, multiple of 64"),
    Field("param_beats", 6, 0, 16, "beats of the parameter image, 0 for none"),
    Field("dst_row_skip", 6, 16, 16, "bank words of the output spike tensor left out after each row of outputs"),
    Field("out_h", 7, 0, 12, "output height"),
    Field("out_w", 7, 16, 12, "output width"),
    Field("in_h", 8, 0, 12, "input height"),
    Field("in_w", 8, 16, 12, "input width"),
    Field("kernel_h", 9, 0, 8, "taps in y"),
    Field("kernel_w", 9, 8, 8, "taps in x"),
    Field("stride", 9, 16, 4, "stride in y and x"),
    Field("padding", 9, 20, 4, "zero padding in x"),
    Field("groups", 10, 0, 8, "lane groups of this pass"),
    Field("steps", 10, 8, 8, "time steps per core: T / cores, rounded up"),
    Field("words", 10, 16, 8, "input words per plane that are read"),
    Field("planes", 10, 24, 4, "bit planes of the input"),
    Field("slices", 10, 28, 4, "weight slices (of 4 bits); the top one is signed"),
    Field("origin", 11, 0, 24, "bank address of the first word at y = x = -padding, step 0, plane 0", signed=True),
    Field("x_stride", 12, 0, 24, "bank words from one input x to the next"),
    Field("y_stride", 13, 0, 24, "bank words from one input y to the next"),
    Field("ox_stride", 14, 0, 24, "bank words from one output x to the next: stride * x_stride"),
    Field("oy_stride", 15, 0, 24, "bank words from one output y to the next: stride * y_stride"),
    Field("step_stride", 16, 0, 16, "bank words of one time step of the input (planes * words of the tensor)"),
    Field("plane_stride", 16, 16, 8, "bank words from one plane to the next (words of the tensor)"),
    Field("slice_words", 3, 20, 12, "taps * words: input words (rows where lanewise) of one slice of one group"),
    Field("mask_low", 17, 0, 8, "bits below this one of the first word read are ignored"),
    Field("mask_high", 17, 8, 8, "bits above this one of the last word read are ignored"),
    Field("first_group", 17, 16, 8, "lane group of the output tensor (and the input's, where lanewise) that group 0 is"),
    Field("idle", 17, 24, 4, "LINEAR: the last so many cores have no time step in the last round: 0 spikes, no saturations"),
    Field("spike_dst", 18, 0, 24, "bank address of the output spike tensor"),
    Field("dst_plane_stride", 18, 24, 8, "bank words from one plane of the output spike tensor to the next (its words)"),
    Field("dst_words", 19, 0, 16, "bank words of one time step of the output spike tensor (planes * words)"),
    Field("dst_pos_stride", 19, 16, 16, "bank words of one position of it: steps * dst_words"),
    Field("u_src", 20, 0, 24, "beat of the residual tensor to add"),
    Field("u_dst", 21, 0, 24, "beat of the residual tensor (or logits) to write"),
    Field("u_step", 22, 0, 16, "beats of one time step of the residual tensor"),
    Field("u_pos_stride", 22, 16, 16, "beats of one position of it: steps * cores * u_step"),
    Field("theta", 23, 0, 24, "firing threshold, fires at h >= theta", signed=True),
    Field("k_src", 24, 0, 24, "HAMMING: bank address of the first K word of the heads"),
    Field("v_src", 25, 0, 24, "HAMMING: bank address of the first V word of the heads"),
    Field("width", 26, 0, 8, "HAMMING: channels of the heads made together, multiple of lanes, at most head_max"),
    Field("head_mask", 26, 8, 8, "HAMMING: row i, lane j belong to the same head where (i xor j) & head_mask is 0"),
    Field("bank_tokens", 27, 0, 24, "HAMMING: tokens per bank: positions * steps"),
    Field("offset", 28, 0, 32, "LOAD, STORE: offset in the segment, whole beats of the bus; else of the rows in segment 0"),
    Field("count", 29, 0, 24, "LOAD, STORE: words (of all banks together) or beats; else weight rows for later ones"),
    Field("segment", 29, 24, 2, "LOAD, STORE: segment register to use"),
    Field("space", 29, 26, 1, "LOAD, STORE: 0 spike banks, 1 residual memory"),
    Field("base", 30, 0, 24, "LOAD, STORE: first address or beat; step_stride words go to each bank in turn; else bank row"),
    Field("checksum", 31, 0, 32, "makes the sum of all 32 words 0 modulo 2**32"),
)
FIELDS = {f.name: f for f in _FIELDS}


class DescriptorError(ValueError):
    """A descriptor that cannot be written or is damaged; the message shows field and numbers."""


def encode(opcode: Opcode, values: Mapping[str, int]) -> list[int]:
    """The 32 words of a descriptor; fields not in ``values`` are 0, magic and checksum are filled in.

    Raises
    ------
    DescriptorError
        If a field is unknown or its value does not fit.
    """
    words = [0] * WORDS
    for name, value in {**values, "opcode": int(opcode), "magic": MAGIC}.items():
        if name not in FIELDS:
            raise DescriptorError(f"descriptor has no field '{name}'")
        f = FIELDS[name]
        if not f.low <= value <= f.high:
            raise DescriptorError(f"descriptor field {name} = {value} is outside {f.low}..{f.high}")
        words[f.word] |= (value & ((1 << f.bits) - 1)) << f.lsb
    words[FIELDS["checksum"].word] = -sum(words) & 0xFFFFFFFF
    return words


def decode(words: Sequence[int]) -> dict[str, int]:
    """All fields of a descriptor by name.

    Raises
    ------
    DescriptorError
        If magic, checksum or opcode are wrong, as the machine would find (error code 1).
    """
    if len(words) != WORDS:
        raise DescriptorError(f"a descriptor has {WORDS} words, not {len(words)}")
    if sum(words) & 0xFFFFFFFF:
        raise DescriptorError(f"descriptor checksum is off by {sum(words) & 0xFFFFFFFF:#x}")
    values = {}
    for f in _FIELDS:
        value = words[f.word] >> f.lsb & ((1 << f.bits) - 1)
        values[f.name] = value - (1 << f.bits) if f.signed and value >> (f.bits - 1) else value
    if values["magic"] != MAGIC:
        raise DescriptorError(f"descriptor magic is {values['magic']:#x}, not {MAGIC:#x}")
    if values["opcode"] not in list(Opcode):
        raise DescriptorError(f"descriptor opcode {values['opcode']} is unknown")
    return values


#: Smallest and largest legal value of the fields that steer loops, by opcode; a field not listed may have any value.
#: With these, and what `check_limits` adds for HAMMING, every loop of the machine ends, whatever the other fields say.
LIMITS: dict[Opcode, dict[str, tuple[int, int]]] = {
    Opcode.END: {},
    Opcode.LINEAR: {
        **dict.fromkeys(("out_h", "out_w"), (1, 4095)),
        **dict.fromkeys(("kernel_h", "kernel_w", "groups", "steps", "words"), (1, 255)),
        "planes": (1, 8), "slices": (1, 4), "count": (0, (1 << 20) - 1),
    },
    Opcode.HAMMING: {"width": (1, 128), "bank_tokens": (1, (1 << 24) - 1), "slices": (1, 4), "count": (0, (1 << 20) - 1)},
    Opcode.LOAD: {"count": (1, 1 << 20), "step_stride": (1, 65535)},
    Opcode.STORE: {"count": (1, 1 << 20), "step_stride": (1, 65535)},
}

#: Narrower ones of a lean machine, which loads nothing for later descriptors. It does not look at limits: the compiler does.
LEAN_LIMITS = {
    **LIMITS,
    Opcode.LINEAR: {
        **LIMITS[Opcode.LINEAR], **dict.fromkeys(("out_h", "out_w"), (1, 255)), **dict.fromkeys(("in_h", "in_w"), (0, 255)),
        **dict.fromkeys(("kernel_h", "kernel_w"), (1, 15)), **dict.fromkeys(("groups", "steps"), (1, 31)), "words": (1, 127),
        "bank_mask": (1, 1), "count": (0, 0),
    },
    Opcode.HAMMING: {**LIMITS[Opcode.HAMMING], "bank_mask": (1, 1), "count": (0, 0)},
}


def limits(config: Config) -> dict[Opcode, dict[str, tuple[int, int]]]:
    """`LIMITS` of a machine."""
    return LEAN_LIMITS if config.lean else LIMITS


def field_bits(name: str, config: Config) -> int:
    """Bits of a LINEAR descriptor's field that a machine looks at."""
    return limits(config)[Opcode.LINEAR].get(name, (0, FIELDS[name].high))[1].bit_length()


def check_limits(values: Mapping[str, int], config: Config) -> None:
    """Refuse a descriptor that the machine refuses with error code 1, or a lean one, which trusts the compiler, does not do.

    Raises
    ------
    DescriptorError
        If a field is outside `LIMITS`, or the channels of a HAMMING descriptor are no whole lane groups, more than
        ``head_max``, or neither within one word nor whole words.
    """
    opcode = Opcode(values["opcode"])
    for name, (low, high) in limits(config)[opcode].items():
        if not low <= values[name] <= high:
            raise DescriptorError(f"{opcode.name} descriptor: {name} = {values[name]} is outside {low}..{high}")
    if opcode == Opcode.HAMMING:
        width, low = values["width"], values["mask_low"]
        whole = not (width % config.lanes or low % config.lanes) and width <= config.head_max
        if not whole or ((low or width % config.word) and low + width > config.word):
            raise DescriptorError(
                f"HAMMING descriptor: {width} channels from bit {low} are not whole groups of {config.lanes}, more than "
                f"{config.head_max}, or neither within one word of {config.word} nor whole words")


def taps_at_once(values: Mapping[str, int], config: Config) -> int:
    """Taps that LINEAR reads in one cycle: all memories of a bank, if taps that follow each other lie in different ones, else 1.

    They do where ``x_stride`` is odd and the next row goes on where the one before ends: ``y_stride`` is ``kernel_w * x_stride``
    modulo ``config.taps``.
    """
    taps, width, x = config.taps, values["kernel_w"], values["x_stride"]
    rows = values["kernel_h"] == 1 or (width >= taps - 1 and (values["y_stride"] - width * x) % taps == 0)
    return taps if values["lanewise"] and not values["shared_taps"] and width < 16 and x % 2 and rows else 1


def _check_layout() -> None:
    taken = [0] * WORDS
    for f in _FIELDS:
        mask = ((1 << f.bits) - 1) << f.lsb
        assert f.lsb + f.bits <= 32 and not taken[f.word] & mask, f"descriptor field {f.name} overlaps"
        taken[f.word] |= mask


_check_layout()
