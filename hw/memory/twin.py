"""What any memory behind AXI4 answers: the twin of all of them."""

from __future__ import annotations

from collections.abc import Iterable, MutableMapping, Sequence

from hw.axi import DECODE_ERROR, OKAY

#: A burst: its first byte's address, and the beats that it writes, or how many it reads.
Burst = tuple[int, Sequence[int] | int]


def answers(bits: int, memory_bytes: int, bursts: Iterable[Burst],
            words: MutableMapping[int, int]) -> list[list[tuple[int, int]]]:
    """What each burst is answered, where they come one after the other.

    Parameters
    ----------
    bits : int
        Width of a beat.
    memory_bytes : int
        Bursts that begin behind it write nothing, read nothing of meaning, and get an error response.
    bursts : iterable of Burst
        In order.
    words : dict
        Beats of memory by their number; is written.

    Returns
    -------
    list of list of (data, response)
        Of a read one for each beat, data 0 with an error; of a write one, data 0.
    """
    found = []
    for address, beats in bursts:
        first, response = address // (bits // 8), OKAY if address < memory_bytes else DECODE_ERROR
        if isinstance(beats, int):
            found.append([(0 if response else words.get(first + i, 0), response) for i in range(beats)])
            continue
        if response == OKAY:
            words.update((first + i, word) for i, word in enumerate(beats))
        found.append([(0, response)])
    return found
