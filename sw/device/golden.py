"""``golden:PRESET``: the whole machine as a functional model on the operations of the integer golden model.

Registers, memory, descriptors, banks and images are as in docs/architecture.md and decoded from their bits; cycles are 0.
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
from golden.spec.registers import REGISTERS, ErrorCode
from sw import packing
from sw.device.base import Device
from sw.model_file import ModelFile
from sw.packing import Array, Bytes

Fields = dict[str, int]

MEMORY_BYTES = 1 << 26


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
        self.memory_bytes = memory_bytes
        self._memory = np.zeros(memory_bytes, np.uint8)
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
        self._adds = self._results = 0

    def read_memory(self, address: int, size: int) -> bytes:
        """Read ``size`` bytes of memory."""
        self.check_range(address, size)
        return self._memory[address : address + size].tobytes()

    def write_memory(self, address: int, data: bytes) -> None:
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
                self._execute(fields)
                record = np.zeros(registers.STATISTICS_BYTES // 4, "<u4")
                names = list(registers.STATISTICS)
                for name, value in (("layer", fields["layer"]), ("adds", self._adds), ("results", self._results)):
                    record[names.index(name)] = value & 0xFFFFFFFF
                self._write(3, index * registers.STATISTICS_BYTES, record.view(np.uint8))
                index += 1
                yield
            self._set("STATUS", registers.DONE)
        except _Stop as stop:
            self._set("ERROR", int(stop.args[0]) | index << 16)
            self._set("STATUS", registers.FAILED)

    def _execute(self, d: Fields) -> None:
        self._adds = self._results = 0
        if d["opcode"] == Opcode.LINEAR:
            self._load_images(d)
            self._linear(d)
        elif d["opcode"] == Opcode.HAMMING:
            self._load_images(d)
            self._hamming(d)
        elif d["opcode"] in (Opcode.LOAD, Opcode.STORE):
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

    def _within(self, index: Array, depth: int) -> Array:
        """``index``, if all of it lies within an on-chip memory; no compiler makes a descriptor where it does not."""
        if index.size and (index.min() < 0 or index.max() >= depth):
            raise _Stop(ErrorCode.DESCRIPTOR)
        return index

    def _load_images(self, d: Fields) -> None:
        c = self.config
        if d["weight_rows"]:
            data = self._read(0, d["weight_addr"], d["weight_rows"] * c.row_bits // 8)
            bank, row = self._bank_rows(d, np.arange(d["weight_rows"]))
            self._weights[bank, row] = packing.unpack_rows(data, c.lanes)
        if d["param_beats"]:
            data = self._read(0, d["param_addr"], d["param_beats"] * c.param_beat_bits // 8)
            beats = self._within(d["param_base"] + np.arange(d["param_beats"]), c.param_beats)
            self._params[beats] = data.view("<u4").reshape(-1, c.neuron_lanes)

    def _bank_rows(self, d: Fields, n: Array) -> tuple[Array, Array]:
        """Bank and row of image rows ``n``."""
        return n % self.config.issue, self._within(d["weight_base"] + n // self.config.issue, self.config.weight_rows)

    def _transfer(self, d: Fields) -> None:
        """LOAD and STORE."""
        c = self.config
        n = np.arange(d["count"])
        if d["space"]:
            memory: Array = self._u
            index: tuple[Array, ...] = (self._within(d["base"] + n, c.u_beats),)
            size = d["count"] * c.u_beat_bits // 8
        else:
            step = max(d["step_stride"], 1)
            memory = self._banks
            address = self._within(d["base"] + n // (step * c.cores) * step + n % step, c.spike_words)
            index = (n // step % c.cores, address)
            size = d["count"] * c.word // 8
        if d["opcode"] == Opcode.STORE:
            values = memory[index]
            data = values.astype("<i2").reshape(-1).view(np.uint8) if d["space"] else packing.pack_bits(values)
            self._write(d["segment"], d["offset"], data)
        else:
            data = self._read(d["segment"], d["offset"], size)
            memory[index] = (data.view("<i2") if d["space"] else packing.unpack_bits(data)).reshape(d["count"], -1)

    def _linear(self, d: Fields) -> None:
        c = self.config
        groups, slices = d["groups"], d["slices"]
        kernel = (d["kernel_h"], d["kernel_w"])
        stored = (1, 1) if d["shared_taps"] else kernel
        per_slice = stored[0] * stored[1] * d["words"]
        count = groups * per_slice * (1 if d["lanewise"] else slices * c.word)
        if d["slice_words"] != per_slice or not count or not d["stride"] or not d["planes"] or not d["in_h"] * d["in_w"]:
            raise _Stop(ErrorCode.DESCRIPTOR)
        rows = self._weights[self._bank_rows(d, np.arange(count))]
        if d["lanewise"]:
            low = d["first_group"] * c.lanes
            words = -(-(low + groups * c.lanes) // c.word)
            x = self._gather(d, words)[..., low : low + groups * c.lanes]
            w = packing.join_lanewise_rows(rows, groups, stored)
        else:
            x = self._gather(d, d["words"])
            x[..., : d["mask_low"]] = 0
            x[..., (d["words"] - 1) * c.word + d["mask_high"] + 1 :] = 0
            w = np.broadcast_to(packing.join_broadcast_rows(rows, groups, slices, stored),
                                (groups * c.lanes, x.shape[3], *kernel))
        if min(x.shape[1] + 2 * d["padding"] - kernel[0], x.shape[2] + 2 * d["padding"] - kernel[1]) < 0:
            raise _Stop(ErrorCode.DESCRIPTOR)
        acc = ops.conv(x, w, d["stride"], d["padding"])
        if acc.shape[1:3] != (d["out_h"], d["out_w"]):
            raise _Stop(ErrorCode.DESCRIPTOR)
        self._adds = ops.synaptic_operations(x, kernel, d["stride"], d["padding"], 1 if d["lanewise"] else groups * slices)
        self._results = acc.size // c.lanes
        self._neuron(d, acc)

    def _gather(self, d: Fields, words: int) -> Bytes:
        """Input [T, in_h, in_w, words * word] out of the banks, planes put together."""
        y, x, k, p, w = np.ix_(
            np.arange(d["in_h"]) + d["padding"], np.arange(d["in_w"]) + d["padding"], np.arange(d["steps"]),
            np.arange(d["planes"]), np.arange(words),
        )
        address = d["origin"] + y * d["y_stride"] + x * d["x_stride"] + k * d["step_stride"] + p * d["plane_stride"] + w
        bits = self._banks[:, self._within(address, self.config.spike_words)]  # [core, y, x, k, p, w, bit]
        weights = (1 << np.arange(d["planes"])).astype(np.uint8)
        values = np.einsum("cyxkpwb,p->kcyxwb", bits, weights)
        return values.reshape(d["steps"] * self.config.cores, d["in_h"], d["in_w"], words * self.config.word)

    def _neuron(self, d: Fields, acc: NDArray[np.int32]) -> None:
        c = self.config
        beats = d["groups"] * c.beats
        entries = self._params[self._within(d["param_base"] + np.arange(beats), c.param_beats)]
        bias, shift = packing.unpack_parameters(np.ascontiguousarray(entries).reshape(-1).view(np.uint8))
        t, h, w, channels = acc.shape
        every_step = np.broadcast_to(bias, (t, 1, 1, channels)).copy()
        if d["integrate"]:
            every_step[1:] = 0  # a sum over time gets its bias once
        y: Array = ops.affine(acc, every_step, shift)
        first = d["first_group"] * c.beats
        if d["integrate"]:
            logits = y.sum(axis=(0, 1, 2)).astype("<i4")
            index = self._within(d["u_dst"] + 2 * first + np.arange(2 * beats), c.u_beats)
            self._u[index] = logits.view("<i2").reshape(2 * beats, -1)
            return
        place = (np.arange(h * w)[:, None, None] * d["u_pos_stride"] + np.arange(t)[:, None] * d["u_step"]
                 + first + np.arange(beats))  # [position, t, beat]
        x = y
        if d["residual"] or d["u_write"]:
            u: Array = np.zeros(y.shape, np.int16)
            if d["residual"]:
                stored = self._u[self._within(d["u_src"] + place, c.u_beats)]
                u = stored.reshape(h, w, t, channels).transpose(2, 0, 1, 3)
            x, saturated = ops.residual(u, y, c.u_bits)
            self._set("SATURATIONS", self._get("SATURATIONS") + saturated)
        if d["u_write"]:
            values = x.transpose(1, 2, 0, 3).reshape(*place.shape, c.neuron_lanes)
            self._u[self._within(d["u_dst"] + place, c.u_beats)] = values
        if d["fire"]:
            spikes = ops.lif(x, d["theta"]).transpose(1, 2, 0, 3).reshape(h * w, t, channels)
            channel = d["first_group"] * c.lanes + np.arange(channels)
            position, step = np.arange(h * w)[:, None, None], np.arange(t)[:, None]
            address = d["spike_dst"] + position * d["dst_pos_stride"] + step // c.cores * d["dst_words"] + channel // c.word
            self._banks[step % c.cores, self._within(address, c.spike_words), channel % c.word] = spikes

    def _hamming(self, d: Fields) -> None:
        c = self.config
        width, low = d["width"], d["mask_low"]
        if not width or width % c.lanes or low + width > d["words"] * c.word or width != d["groups"] * c.lanes:
            raise _Stop(ErrorCode.DESCRIPTOR)
        tokens = np.arange(d["bank_tokens"])[:, None] * d["step_stride"] + np.arange(d["words"])
        k, v = (self._banks[:, self._within(d[x] + tokens, c.spike_words)].reshape(-1, 1, 1, d["words"] * c.word)
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
        self._weights[self._bank_rows(d, n)] = rows[n]
        beats = self._within(d["param_base"] + np.arange(width // c.neuron_lanes), c.param_beats)
        entries = self._params[beats].reshape(-1)
        changed = entries + bias.reshape(-1).astype(np.uint32) & np.uint32(0xFFFFFF)
        self._params[beats] = (entries & np.uint32(0xFF000000) | changed).reshape(-1, c.neuron_lanes)
