"""A Verilated board whose serial line is a pseudo-terminal."""
