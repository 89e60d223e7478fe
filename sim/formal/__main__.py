"""Prove the contracts: ``python -m sim.formal [NAME ...]``, in ``build/formal``; exit code 1 where one does not hold."""

from __future__ import annotations

import sys
import time
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

from sim.formal.proofs import PROOFS, prove


def main() -> None:
    """Prove what the command line names, or everything."""
    unknown = set(sys.argv[1:]) - set(PROOFS)
    if unknown:
        sys.exit(f"error: no proof {', '.join(sorted(unknown))}; there are {', '.join(PROOFS)}")
    names = sys.argv[1:] or list(PROOFS)
    failed = 0

    def run(name: str) -> tuple[str, str, float]:
        begin = time.monotonic()
        return name, prove(PROOFS[name], Path("build/formal", name)), time.monotonic() - begin

    with ThreadPoolExecutor(2) as pool:
        for name, result, seconds in pool.map(run, names):
            print(f"{name:24} {'holds' if not result else result}  ({seconds:.0f} s)", flush=True)
            failed += bool(result)
    print(f"{len(names) - failed} passed, {failed} failed")
    sys.exit(1 if failed else 0)


if __name__ == "__main__":
    main()
