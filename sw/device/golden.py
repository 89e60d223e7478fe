"""``golden:PRESET``: the whole machine as a functional model on the operations of the integer golden model.

Registers, memory, descriptors, banks and images are as in docs/architecture.md and decoded from their bits; cycles are 0
(`sw.cycles` predicts them). Descriptors run one after the other; where they need not, it is checked that they could.
On-chip memories start with random content, so that nothing can depend on bits that no descriptor wrote.
"""

from __future__ import annotations

import time
from collections.abc import Iterator

import numpy as np
from numpy.typing import NDArray

from golden.integer import network, ops
from golden.spec import descriptor, registers
from golden.spec.config import Config
from golden.spec.descriptor import DescriptorError, Opcode
from golden.spec.model import HARD, SOFT
from golden.spec.registers import REGISTERS, ErrorCode
from sw import packing
from sw.device.base import Device
from sw.device.hazards import PARAMETERS, RESIDUAL, SPIKES, UNITS, WEIGHTS, Hazards
from sw.model_file import ModelFile
from sw.packing import Array, Bytes

Fields = dict[str, int]

MEMORY_BYTES = 1 << 26
CHUNK = 1 << 24  #: bits of input that are laid out at a time


def reference(source: ModelFile, clip: Array) -> dict[str, Array]:
    """Every tensor by the integer golden model itself, with no compiler in between."""
    return network.run(source.model, source.tensors, clip)


class _Stop(Exception):
    """The run ends with an error code."""


class GoldenDevice(Device):
    """Functional model of one accelerator with its memory.

    Parameters
    ----------
    config : Config
        Sizes of the machine.
    memory_bytes : int
        Size of the memory; beyond it every access gets an error response.
    """

    def __init__(self, config: Config, memory_bytes: int = MEMORY_BYTES) -> None:
        self.config = config
        self.uri = f"golden:{config.name}"
        self.memory_bytes = min(memory_bytes, 1 << config.address_bits)
        self._memory = np.zeros(self.memory_bytes, np.uint8)
        self._fault = ("none", range(0))
        rng = np.random.default_rng(0)
        self._banks = rng.integers(0, 2, (config.cores, config.spike_words, config.word), np.uint8)
        self._u = rng.integers(-(1 << 15), 1 << 15, (config.u_beats, config.neuron_lanes), np.int16)
        self._weights = rng.integers(0, 16, (config.issue, config.weight_rows, config.lanes), np.uint8)
        self._params = rng.integers(0, 1 << 29, (config.param_beats, config.neuron_lanes), np.uint32)
        self._registers = {r.address: 0 for r in REGISTERS.values()}
        self._set("ID", registers.ID_VALUE)
        self._set("VERSION", registers.VERSION)
        for i in range(4):
            self._set(f"DIGEST{i}", int(config.digest[8 * i : 8 * i + 8], 16))
        self._work: Iterator[None] | None = None
        self._adds = self._results = self._cycles = self._wait = self._elapsed = 0
        self._hazards = Hazards(config)

    def read_memory(self, address: int, size: int) -> bytes:
        """Read ``size`` bytes of memory."""
        self.check_range(address, size)
        return self._memory[address : address + size].tobytes()

    def write_memory(self, address: int, data: bytes | memoryview) -> None:
        """Write bytes to memory."""
        self.check_range(address, len(data))
        self._memory[address : address + len(data)] = np.frombuffer(data, np.uint8)

    def read_register(self, address: int) -> int:
        """Read a 32-bit register; write-only and unknown ones read 0."""
        return self._registers.get(address, 0)

    def write_register(self, address: int, value: int) -> None:
        """Write a 32-bit register; read-only and unknown ones ignore it."""
        if address == REGISTERS["CONTROL"].address:
            if value & registers.ABORT:
                self._work = None
                self._set("STATUS", self._get("STATUS") & ~registers.BUSY)
            elif value & registers.START and self._work is None:
                self._start()
                self._work = self._run()
        elif any(r.address == address and r.access == "rw" for r in REGISTERS.values()):
            self._registers[address] = value & 0xFFFFFFFF

    def wait_interrupt(self, timeout: float) -> bool:
        """Execute descriptors until the interrupt line is high or ``timeout`` seconds have passed; the line's state."""
        end = time.monotonic() + timeout
        while not self._interrupt() and self._work is not None:
            if next(self._work, self) is self:
                self._work = None
            if time.monotonic() >= end:
                break
        return self._interrupt()

    def close(self) -> None:
        """Give the device back."""
        self._work = None

    def fault(self, kind: str, low: int = 0, high: int = 0) -> None:
        """Let the memory misbehave from now on.

        Parameters
        ----------
        kind : str
            ``none``; ``read`` or ``write``: error responses from ``low`` to ``high``; ``silent``: it never answers.
        low, high : int
            Addresses, ``high`` excluded.
        """
        self._fault = (kind, range(low, high))
        reads = 1 << 2 * len(registers.HANDSHAKES)
        self._set("HANDSHAKES", 1 | reads if kind == "silent" else 0)  # the address of a read is not taken

    def _interrupt(self) -> bool:
        return bool(self._get("IRQ_ENABLE") & 1 and self._get("STATUS") & (registers.DONE | registers.FAILED))

    def _get(self, name: str) -> int:
        return self._registers[REGISTERS[name].address]

    def _set(self, name: str, value: int) -> None:
        self._registers[REGISTERS[name].address] = value & 0xFFFFFFFF

    def _start(self) -> None:
        for name in ("ERROR", "LAYER", "CYCLES_LO", "CYCLES_HI", "READ_BEATS", "WRITE_BEATS", "SATURATIONS"):
            self._set(name, 0)
        self._set("STATUS", registers.BUSY)
        self._hazards = Hazards(self.config)

    def _run(self) -> Iterator[None]:
        """Execute the program, one descriptor an iteration."""
        index = 0
        try:
            while True:
                while self._fault[0] == "silent" and not self._get("WATCHDOG"):
                    yield
                self._set("LAYER", index)
                address = self._get("PROGRAM") + index * descriptor.BYTES
                words = self._read(0, address, descriptor.BYTES).view("<u4")
                try:
                    fields = descriptor.decode([int(x) for x in words])
                    descriptor.check_limits(fields, self.config)
                except DescriptorError as error:
                    raise _Stop(ErrorCode.DESCRIPTOR) from error
                if fields["opcode"] == Opcode.END:
                    break
                self._hazards.begin(index, fields)
                self._load_images(fields)
                self._hazards.loaded(fields)
                self._execute(fields)
                self._hazards.end()
                self._load_late(fields)
                self._set("CYCLES_LO", self._elapsed)
                if not self.config.lean:
                    self._record(index, fields)
                index += 1
                yield
            self._set("STATUS", registers.DONE)
        except _Stop as stop:
            self._set("ERROR", int(stop.args[0]) | index << 16)
            self._set("STATUS", registers.FAILED)

    def _record(self, index: int, d: Fields) -> None:
        record = np.zeros(registers.STATISTICS_BYTES // 4, "<u4")
        names = list(registers.STATISTICS)
        for name, value in (("layer", d["layer"]), ("adds", self._adds), ("results", self._results), ("cycles", self._cycles),
                            ("wait", self._wait)):
            record[names.index(name)] = value & 0xFFFFFFFF
        self._write(3, index * registers.STATISTICS_BYTES, record.view(np.uint8))

    def _execute(self, d: Fields) -> None:
        self._adds = self._results = 0
        if d["opcode"] == Opcode.LINEAR:
            self._linear(d)
        elif d["opcode"] == Opcode.HAMMING:
            self._hamming(d)
        else:
            self._transfer(d)

    def _access(self, segment: int, offset: int, size: int, code: ErrorCode) -> int:
        """Address of an access of the machine, if the memory answers it."""
        address = self._get(f"SEGMENT{segment}") + offset
        kind, faulty = self._fault
        if kind == "silent":
            raise _Stop(ErrorCode.WATCHDOG)
        hit = kind == code.name.lower() and address < faulty.stop and faulty.start < address + size
        if hit or address + size > self.memory_bytes:
            raise _Stop(code)
        counter = "READ_BEATS" if code == ErrorCode.READ else "WRITE_BEATS"
        self._set(counter, self._get(counter) + size // self.config.axi_bytes)
        return address

    def _read(self, segment: int, offset: int, size: int) -> Bytes:
        address = self._access(segment, offset, size, ErrorCode.READ)
        return self._memory[address : address + size].copy()

    def _write(self, segment: int, offset: int, data: Bytes) -> None:
        address = self._access(segment, offset, data.size, ErrorCode.WRITE)
        self._memory[address : address + data.size] = data

    def _touch(self, memory: str, index: Array, writes: bool) -> Array:
        """``index``, if all of it lies within an on-chip memory; no compiler makes a descriptor where it does not."""
        if index.size and (index.min() < 0 or index.max() >= self._hazards.depth[memory]):
            raise _Stop(ErrorCode.DESCRIPTOR)
        self._hazards.touch(memory, index, writes)
        return index

    def _load_images(self, d: Fields) -> None:
        c = self.config
        if d["weight_rows"]:
            data = self._read(0, d["weight_addr"], d["weight_rows"] * c.row_bits // 8)
            self._weights[self._bank_rows(d, np.arange(d["weight_rows"]), True)] = packing.unpack_rows(data, c.lanes)
        if d["param_beats"]:
            data = self._read(0, d["param_addr"], d["param_beats"] * c.param_beat_bits // 8)
            beats = self._touch(PARAMETERS, d["param_base"] + np.arange(d["param_beats"]), True)
            self._params[beats] = data.view("<u4").reshape(-1, c.neuron_lanes)

    def _load_late(self, d: Fields) -> None:
        """Weights that come while a descriptor runs, for later ones."""
        if UNITS[Opcode(d["opcode"])] != "mover" and d["count"]:
            self._hazards.late()
            self._load_images({"weight_addr": d["offset"], "weight_rows": d["count"], "weight_base": d["base"], "lanewise": 0,
                               "param_beats": 0})
            self._hazards.late_end()

    def _bank_rows(self, d: Fields, n: Array, writes: bool) -> tuple[Array, Array]:
        """Banks and rows of image rows ``n``, which are read or written, [n]; of lanewise ones, in every bank, [bank, n]."""
        c = self.config
        apart = 1 if d["lanewise"] else c.issue
        banks = np.arange(c.issue)[:, None] if d["lanewise"] else n % c.issue
        return banks, self._touch(WEIGHTS, d["weight_base"] + n // apart, writes)

    def _transfer(self, d: Fields) -> None:
        """LOAD and STORE."""
        c = self.config
        n, writes = np.arange(d["count"]), d["opcode"] == Opcode.LOAD
        if d["space"]:
            memory: Array = self._u
            index: tuple[Array, ...] = (self._touch(RESIDUAL, d["base"] + n, writes),)
            size = d["count"] * c.u_beat_bits // 8
        else:
            step = max(d["step_stride"], 1)
            memory = self._banks
            address = self._touch(SPIKES, d["base"] + n // (step * c.cores) * step + n % step, writes)
            index = (n // step % c.cores, address)
            size = d["count"] * c.word // 8
        if writes:
            data = self._read(d["segment"], d["offset"], size)
            memory[index] = (data.view("<i2") if d["space"] else packing.unpack_bits(data)).reshape(d["count"], -1)
        else:
            values = memory[index]
            data = values.astype("<i2").reshape(-1).view(np.uint8) if d["space"] else packing.pack_bits(values)
            self._write(d["segment"], d["offset"], data)

    def _linear(self, d: Fields) -> None:
        c = self.config
        if d["slice_words"] != d["words"] * (1 if d["shared_taps"] else d["kernel_h"] * d["kernel_w"]):
            raise _Stop(ErrorCode.DESCRIPTOR)
        acc = np.zeros((d["out_h"] * d["out_w"], d["steps"] * c.cores, d["groups"] * c.lanes), np.int32)
        self._results = acc.size // c.lanes
        if d["in_h"] * d["in_w"]:  # else no tap is inside, and no weight is read
            rows_per_word = 1 if d["lanewise"] else c.word
            used = np.arange(d["groups"] * d["slices"] * d["slice_words"] * rows_per_word)
            rows = self._weights[self._bank_rows(d, used, False)]
            if d["lanewise"]:
                rows = rows[0]
            words = range(d["words"])
            if d["lanewise"]:
                words = range(d["first_group"] * c.lanes // c.word, -(-(d["first_group"] + d["groups"]) * c.lanes // c.word))
            chunk = max(1, CHUNK // (d["kernel_h"] * d["kernel_w"] * d["planes"] * d["steps"] * c.cores * len(words) * c.word))
            for first in range(0, len(acc), chunk):
                x = self._gather(d, np.arange(first, min(first + chunk, len(acc))), words)
                acc[first : first + chunk] = (self._lanewise if d["lanewise"] else self._broadcast)(d, x, rows)
        self._neuron(d, acc)

    def _lanewise(self, d: Fields, x: Bytes, rows: Bytes) -> Array:
        """Accumulators [place, t, channel] where each channel of x [place, t, tap, channel] has weights of its own."""
        low, channels = d["first_group"] * self.config.lanes % self.config.word, d["groups"] * self.config.lanes
        x = x[..., low : low + channels]
        self._adds += int(ops.bit_count(x).sum(dtype=np.int64)) * d["slices"]
        w = packing.join_lanewise_rows(rows, d["groups"], (1, d["slice_words"]), d["slices"])[:, 0, 0]
        acc = np.zeros((*x.shape[:2], channels), np.int32)
        for tap in range(x.shape[2]):
            acc += x[:, :, tap] * w[:, 0 if d["shared_taps"] else tap]
        return acc

    def _broadcast(self, d: Fields, x: Bytes, rows: Bytes) -> Array:
        """Accumulators [place, t, channel] where every output channel sees all channels of x [place, t, tap, channel]."""
        word = self.config.word
        x[..., : d["mask_low"]] = 0
        x[..., (d["words"] - 1) * word + d["mask_high"] + 1 :] = 0
        self._adds += int(ops.bit_count(x).sum(dtype=np.int64)) * d["groups"] * d["slices"]
        seen: Array = x.sum(axis=2, keepdims=True, dtype=np.int32) if d["shared_taps"] else x
        taps = d["slice_words"] // d["words"]
        rows = packing.rotate(rows, taps, d["words"] * word, self.config.issue, back=True)
        w = packing.join_broadcast_rows(rows, d["groups"], d["slices"], (1, taps))  # [O, I, 1, taps]
        matrix = w[:, :, 0].transpose(0, 2, 1).reshape(len(w), -1, 1, 1)
        return ops.conv(seen.reshape(-1, 1, 1, matrix.shape[1]), matrix).reshape(*x.shape[:2], len(w))

    def _gather(self, d: Fields, places: Array, words: range) -> Bytes:
        """What output places read, planes put together, [place, t, tap, bit of words]; 0 where a tap is outside the input."""
        c = self.config
        oy, ox = (places // d["out_w"])[:, None], (places % d["out_w"])[:, None]
        ky, kx = np.arange(d["kernel_h"]).repeat(d["kernel_w"]), np.tile(np.arange(d["kernel_w"]), d["kernel_h"])
        iy, ix = oy * d["stride"] - d["padding_y"] + ky, ox * d["stride"] - d["padding"] + kx
        inside = (iy >= 0) & (iy < d["in_h"]) & (ix >= 0) & (ix < d["in_w"])
        start = d["origin"] + oy * d["oy_stride"] + ox * d["ox_stride"] + ky * d["y_stride"] + kx * d["x_stride"]
        k, p, w = np.ix_(np.arange(d["steps"]), np.arange(d["planes"]), np.array(words))
        within = k * d["step_stride"] + p * d["plane_stride"] + w
        if not inside.any():
            return np.zeros((len(places), d["steps"] * c.cores, len(ky), len(words) * c.word), np.uint8)
        address = np.where(inside, start, start[inside][0])[..., None, None, None] + within  # where outside, any that is read
        bits = self._banks[:, self._touch(SPIKES, address, False)]  # [core, place, tap, k, plane, word, bit]
        weights = (1 << np.arange(d["planes"])).astype(np.uint8)
        values = np.einsum("caxkpwb,p->akcxwb", bits, weights) * inside[:, None, None, :, None, None].astype(np.uint8)
        return values.reshape(len(places), d["steps"] * c.cores, len(ky), len(words) * c.word)

    def _neuron(self, d: Fields, acc: NDArray[np.int32]) -> None:
        """From accumulators [place, t, channel] to residual values, spikes and logits."""
        c = self.config
        beats = d["groups"] * c.beats
        entries = self._params[self._touch(PARAMETERS, d["param_base"] + np.arange(beats), False)]
        bias, shift = packing.unpack_parameters(np.ascontiguousarray(entries).reshape(-1).view(np.uint8))
        places, steps, _ = acc.shape
        first = d["first_group"] * c.beats
        if d["integrate"]:
            index = self._touch(RESIDUAL, d["u_dst"] + 2 * first + np.arange(2 * beats), True)
            self._u[index] = packing.split_logits(acc.sum(axis=(0, 1), dtype=np.int32) + bias, c.neuron_lanes)
            return
        place, step = np.arange(places)[:, None, None], np.arange(steps)[:, None]
        writes = d["bank_mask"] >> np.arange(steps) % c.cores & 1 == 1  # [t]
        awake = np.arange(steps) < steps - d["idle"]  # [t]: time steps that there are
        u_offset = place * d["u_pos_stride"] + step * d["u_step"] + first + np.arange(beats)  # [place, t, beat]
        u: Array = np.zeros(acc.shape, np.int16)
        if d["residual"] and d["partial"]:
            raise _Stop(ErrorCode.DESCRIPTOR)
        if d["residual"] or d["partial"]:
            u = self._u[self._touch(RESIDUAL, d["u_src"] + u_offset, False)].reshape(acc.shape)
        x: Array = ops.affine(acc, u if d["partial"] else bias, shift)
        if d["residual"] or d["u_write"]:
            for some in (writes & ~awake, writes & awake):  # the latter's saturations count
                before = u[:, some] if d["residual"] else np.zeros((), np.int16)
                x[:, some], saturated = ops.residual(before, x[:, some], c.u_bits)
            self._set("SATURATIONS", self._get("SATURATIONS") + saturated)
        if d["u_write"]:
            values = x.astype(np.int16).reshape(*u_offset.shape, c.neuron_lanes)
            self._u[self._touch(RESIDUAL, d["u_dst"] + u_offset[:, writes], True)] = values[:, writes]
        if d["fire"]:
            self._fire(d, x, writes, awake)

    def _fire(self, d: Fields, x: Array, writes: Array, awake: Array) -> None:
        """Neurons on x [place, t, channel]; only the time steps of ``writes`` [t] count, and their spikes are written: where not
        ``awake`` [t] zeros.
        """
        c = self.config
        places, _, channels = x.shape
        if not d["levels"] or not d["out_planes"] or d["levels"] >> d["out_planes"]:
            raise _Stop(ErrorCode.DESCRIPTOR)
        step = 1 << d["step_shift"] if d["levels"] > 1 else 0  # of one level: theta
        spikes = ops.lif(x[:, writes].swapaxes(0, 1), d["theta"], d["leak"], SOFT if d["soft"] else HARD, d["levels"], step)
        spikes[~awake[writes]] = 0
        channel = d["first_group"] * c.lanes + np.arange(channels)
        place, t = np.arange(places), np.flatnonzero(writes)[:, None, None]
        start = place * d["dst_pos_stride"] + place // d["out_w"] * d["dst_row_skip"]
        address = d["spike_dst"] + start[:, None] + t // c.cores * d["dst_words"] + channel // c.word  # [t, place, channel]
        for plane in range(d["out_planes"]):
            at = self._touch(SPIKES, address + plane * d["dst_plane_stride"], True)
            self._banks[t % c.cores, at, channel % c.word] = spikes >> plane & 1

    def _hamming(self, d: Fields) -> None:
        c = self.config
        width, low = d["width"], d["mask_low"]
        if not width or width % c.lanes or low + width > d["words"] * c.word or width != d["groups"] * c.lanes:
            raise _Stop(ErrorCode.DESCRIPTOR)
        tokens = np.arange(d["bank_tokens"])[:, None] * d["step_stride"] + np.arange(d["words"])
        counted = self._banks[[core for core in range(c.cores) if d["bank_mask"] >> core & 1]]
        k, v = (counted[:, self._touch(SPIKES, d[x] + tokens, False)].reshape(-1, 1, 1, d["words"] * c.word)
                [..., low : low + width] for x in ("k_src", "v_src"))
        head = d["head_mask"] & -d["head_mask"] or width
        blocks, bias = ops.hamming_weights(k, v, width // head)
        if d["dot"]:
            blocks = (blocks + 2 * v.reshape(-1, width // head, head).sum(axis=0, dtype=np.int32)[:, None]) // 4
            bias = np.zeros_like(bias)
        w = np.zeros((width, d["words"] * c.word, 1, 1), np.int32)
        for i, block in enumerate(blocks):
            at = i * head
            w[at : at + head, low + at : low + at + head, 0, 0] = block.T
        rows = packing.broadcast_rows(w, c.lanes, c.word, d["slices"])
        channel = np.arange(len(rows)) % (d["words"] * c.word)
        n = np.flatnonzero((channel >= low) & (channel < low + width))
        self._weights[self._bank_rows(d, n, True)] = rows[n]
        beats = self._touch(PARAMETERS, d["param_base"] + np.arange(width // c.neuron_lanes), True)
        entries = self._params[beats].reshape(-1)
        changed = entries + bias.reshape(-1).astype(np.uint32) & np.uint32(0xFFFFFF)
        self._params[beats] = (entries & np.uint32(0xFF000000) | changed).reshape(-1, c.neuron_lanes)
