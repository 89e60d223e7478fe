"""The machine's configuration: every size once, every derived width once, and named presets."""

from __future__ import annotations

import hashlib
import json
from dataclasses import asdict, dataclass, replace


class ConfigError(ValueError):
    """A configuration that cannot be built; the message shows the numbers."""


def clog2(n: int) -> int:
    """Bits needed to count ``n`` different values (0 for ``n`` = 1)."""
    return (n - 1).bit_length()


@dataclass(frozen=True, kw_only=True)
class Config:
    """Sizes of one accelerator. All memories are on chip; everything else lies behind the AXI4 master.

    Parameters
    ----------
    name : str
        Preset name.
    cores : int
        Time-parallel cores; core i owns time steps t with t mod cores == i.
    lanes : int
        Output channels accumulated at once by a core.
    issue : int
        Weight rows added per core and cycle; bit b of a spike word goes to issue slot b mod issue.
    word : int
        Channels per spike word.
    neuron_lanes : int
        Channels per cycle of the neuron unit (one *beat*); also the granularity of a spike write.
    ham_tokens : int
        Tokens per block of the Hamming engine; it ANDs ``lanes * ham_tokens`` bits per cycle.
    axi_bits : int
        Data width of the AXI4 master.
    spike_words : int
        Depth of each core's spike bank, in words.
    u_beats : int
        Depth of the residual memory, in beats of ``neuron_lanes`` values.
    weight_rows : int
        Depth of each weight bank, in rows of ``lanes`` weights.
    param_beats : int
        Depth of the parameter memory, in beats of ``neuron_lanes`` (bias, shift) pairs.
    queue_depth : int
        Entries of each issue slot's queue.
    head_max : int
        Largest head width of the Hamming engine.
    sharing : int
        Issue slots that add into the same accumulators and wait for each other at the end of each pass.
    sum_bits : int
        Width of the sum that such slots make of one pass, or of a part of it.
    taps : int
        Memories that a core's spike bank is made of: address a lies in memory a mod taps. Lanewise layers read as many taps at
        once; memory i feeds issue slot i.
    w_bits, acc_bits, u_bits, x_bits, count_bits : int
        Widths of a weight slice, an accumulator (and bias, logit), a residual value, what neurons see (and y, membrane,
        threshold), a Hamming count.
    levels_max : int
        Largest spike: 1, 3, 7 or 15.
    any_neuron : bool
        Neurons of every kind; else membranes keep 0, 8 or 16 sixteenths, and a spike of several levels resets them to 0.
    address_bits : int
        Width of a byte address of memory; there is none behind it.
    lean : bool
        A machine of one core that does one thing at a time: a descriptor is read, run and forgotten, one beat is on the bus, one
        in the neuron unit, the Hamming engine makes ``neuron_lanes`` lanes at once, and there are no statistics but CYCLES_LO
        and SATURATIONS, of 16 bits.
    """

    name: str
    cores: int
    lanes: int
    issue: int
    word: int
    neuron_lanes: int
    ham_tokens: int
    axi_bits: int
    spike_words: int
    u_beats: int
    weight_rows: int
    param_beats: int
    queue_depth: int
    head_max: int
    sharing: int
    sum_bits: int
    taps: int
    w_bits: int = 4
    acc_bits: int = 24
    u_bits: int = 16
    x_bits: int = 18
    count_bits: int = 14
    levels_max: int = 1
    any_neuron: bool = False
    address_bits: int = 32
    lean: bool = False

    def __post_init__(self) -> None:
        def check(ok: bool, text: str) -> None:
            if not ok:
                raise ConfigError(f"config '{self.name}': {text}")

        for field, low, high in (
            ("cores", 1, 16), ("lanes", 2, 128), ("issue", 1, 16), ("word", 8, 128), ("neuron_lanes", 1, 128),
            ("ham_tokens", 1, 64), ("sharing", 1, 16), ("sum_bits", 8, 24), ("taps", 1, 4),
            ("axi_bits", 16, 256), ("address_bits", 16, 32), ("queue_depth", 8, 512), ("head_max", 8, 128),
            ("u_bits", 8, 16), ("acc_bits", 16, 24), ("w_bits", 4, 4), ("count_bits", 4, 14), ("levels_max", 1, 15),
            ("spike_words", 64, 1 << 20), ("u_beats", 64, 1 << 20), ("weight_rows", 64, 1 << 16), ("param_beats", 16, 1 << 12),
        ):
            value = getattr(self, field)
            check(low <= value <= high, f"{field} = {value} is outside {low}..{high}")
        for field in ("cores", "lanes", "issue", "word", "neuron_lanes", "ham_tokens", "axi_bits", "head_max", "queue_depth",
                      "sharing", "taps"):
            value = getattr(self, field)
            check(value & (value - 1) == 0, f"{field} = {value} is not a power of two")
        check(not self.lean or self.cores == 1, f"cores = {self.cores} of a lean machine")
        check(not self.lean or (self.levels_max == 1 and not self.any_neuron), "several levels or odd leaks of a lean machine")
        check(not self.lean or self.axi_bits == 16, f"axi_bits = {self.axi_bits} of a lean machine, not 16")
        check(self.lean or self.axi_bits >= 32, f"axi_bits = {self.axi_bits} < 32, which only a lean machine has")
        check(self.u_bits <= self.x_bits <= self.acc_bits,
              f"x_bits = {self.x_bits} is outside u_bits..acc_bits = {self.u_bits}..{self.acc_bits}")
        check(self.levels_max & (self.levels_max + 1) == 0, f"levels_max = {self.levels_max} is no power of two less 1")
        check(self.word >= self.lanes, f"word = {self.word} < lanes = {self.lanes}")
        check(self.issue <= self.word, f"issue = {self.issue} > word = {self.word}")
        check(self.sharing <= self.issue, f"sharing = {self.sharing} > issue = {self.issue}")
        check(self.taps <= self.issue, f"taps = {self.taps} > issue = {self.issue}")
        check(self.spike_words % self.taps == 0, f"spike_words = {self.spike_words} is not a multiple of taps = {self.taps}")
        check(self.most_sum < 1 << self.sum_bits - 1, f"sum_bits = {self.sum_bits} do not hold a word's sum, {self.most_sum}")
        check(self.lanes >= self.neuron_lanes, f"lanes = {self.lanes} < neuron_lanes = {self.neuron_lanes}")
        check(self.head_max >= self.lanes, f"head_max = {self.head_max} < lanes = {self.lanes}")
        check(self.ham_tokens >= self.cores, f"ham_tokens = {self.ham_tokens} < cores = {self.cores}")
        for what, bits in (("a spike word", self.word), ("a weight row", self.row_bits), ("a residual beat", self.u_beat_bits),
                           ("a parameter beat", self.param_beat_bits)):
            check(bits % self.axi_bits == 0, f"{what} of {bits} bits is not a multiple of axi_bits = {self.axi_bits}")
        check(self.weight_rows % self.rows_per_word == 0,
              f"weight_rows = {self.weight_rows} is not a multiple of word / issue = {self.rows_per_word}")

    @property
    def row_bits(self) -> int:
        """Bits of one weight row: one weight slice per lane."""
        return self.lanes * self.w_bits

    @property
    def rows_per_word(self) -> int:
        """Rows of one weight bank that one spike word addresses."""
        return self.word // self.issue

    @property
    def far(self) -> bool:
        """Whether units lie so far from each other that what goes between them passes registers: of more than two cores."""
        return self.cores > 2

    @property
    def most_sum(self) -> int:
        """Largest sum that the slots of a group can make of one word."""
        return 15 * self.rows_per_word * self.sharing

    @property
    def beats(self) -> int:
        """Beats in which the neuron unit takes one result of ``lanes`` channels."""
        return self.lanes // self.neuron_lanes

    @property
    def ham_lanes(self) -> int:
        """Lanes that the Hamming engine makes at once."""
        return self.neuron_lanes if self.lean else self.lanes

    @property
    def u_beat_bits(self) -> int:
        """Bits of one residual beat; a value always occupies 16 bits of memory, sign-extended."""
        return self.neuron_lanes * 16

    @property
    def param_beat_bits(self) -> int:
        """Bits of one parameter beat: 32 bits a channel."""
        return self.neuron_lanes * 32

    @property
    def param_parts(self) -> int:
        """Words of the bus in a parameter beat."""
        return self.param_beat_bits // self.axi_bits

    @property
    def peak_sop(self) -> int:
        """Synaptic operations per cycle at full speed."""
        return self.cores * self.lanes * self.issue

    @property
    def axi_bytes(self) -> int:
        """Bytes of one AXI beat."""
        return self.axi_bits // 8

    @property
    def digest(self) -> str:
        """128-bit digest of every size, as 32 hex digits: what a program is compiled for."""
        return hashlib.sha256(json.dumps(asdict(self), sort_keys=True).encode()).hexdigest()[:32]


MICRO = Config(
    name="micro", cores=1, lanes=8, issue=1, word=32, neuron_lanes=2, ham_tokens=2, axi_bits=32,
    spike_words=16384, u_beats=16384, weight_rows=2048, param_beats=512, queue_depth=8, head_max=32,
    sharing=1, sum_bits=12, taps=1, acc_bits=20, x_bits=20, count_bits=12, levels_max=7, any_neuron=True,
)
#: For an iCE40UP5K, 16 bits wide as its memories are (docs/decisions/010-micro-on-ice40.md).
PICO = Config(
    name="pico", cores=1, lanes=4, issue=1, word=16, neuron_lanes=1, ham_tokens=1, axi_bits=16,
    spike_words=2048, u_beats=1024, weight_rows=1024, param_beats=64, queue_depth=8, head_max=16,
    sharing=1, sum_bits=12, taps=1, acc_bits=18, x_bits=17, count_bits=10, address_bits=17, lean=True,
)
SMALL = Config(
    name="small", cores=2, lanes=16, issue=2, word=32, neuron_lanes=8, ham_tokens=8, axi_bits=32,
    spike_words=6144, u_beats=4096, weight_rows=2048, param_beats=128, queue_depth=16, head_max=64,
    sharing=2, sum_bits=12, taps=1, acc_bits=20, x_bits=20, count_bits=12, levels_max=15, any_neuron=True,
)
#: What an LFE5U-85F routes, sized for the memory of a ULX3S (docs/decisions/006-area-and-clock.md).
MEDIUM = Config(
    name="medium", cores=4, lanes=32, issue=2, word=32, neuron_lanes=16, ham_tokens=8, axi_bits=32,
    spike_words=4096, u_beats=2048, weight_rows=1024, param_beats=64, queue_depth=16, head_max=128,
    sharing=2, sum_bits=12, taps=1, acc_bits=22, x_bits=20, count_bits=12, levels_max=15, any_neuron=True,
)
BASE = Config(
    name="base", cores=4, lanes=64, issue=4, word=64, neuron_lanes=64, ham_tokens=16, axi_bits=64,
    spike_words=4096, u_beats=2048, weight_rows=1024, param_beats=16, queue_depth=16, head_max=128,
    sharing=2, sum_bits=12, taps=4, acc_bits=22, x_bits=20, count_bits=12, levels_max=15,
)
#: The array of ``base`` with what an LFE5U-85F has room for besides (docs/decisions/006-area-and-clock.md).
BASE_85F = replace(
    BASE, name="base-85f", neuron_lanes=16, spike_words=2048, u_beats=1024, param_beats=32, ham_tokens=8, sharing=4, taps=2,
)
#: ``small`` with half the lanes and neurons, and what else a GW2AR-18 has room for (docs/boards.md).
SMALL_GW2AR = replace(
    SMALL, name="small-gw2ar", lanes=8, neuron_lanes=4, ham_tokens=4, any_neuron=False, spike_words=1024, u_beats=2048,
)
PRESETS = {c.name: c for c in (PICO, MICRO, SMALL, SMALL_GW2AR, MEDIUM, BASE, BASE_85F)}


def preset(name: str) -> Config:
    """The preset of that name.

    Raises
    ------
    ConfigError
        If there is none; the message lists the names.
    """
    if name not in PRESETS:
        raise ConfigError(f"no preset '{name}'; there are: {', '.join(PRESETS)}")
    return PRESETS[name]
