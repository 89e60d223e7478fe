"""The host's way in: frames over a serial line, to registers and memory (docs/link.md)."""
