"""A Verilated board whose line is a pseudo-terminal, or a UDP socket."""
