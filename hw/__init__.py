"""The machine, in Amaranth: one component per file."""
