"""Lattice ECP5: how a block finds out that it may use a primitive."""

from __future__ import annotations


def is_ecp5(platform: object) -> bool:
    """Whether a component is elaborated for an ECP5: for a board, or for a device of `hw.flow`."""
    return str(getattr(platform, "device", "")).upper().startswith("LFE5U")
