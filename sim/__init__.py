"""Everything that simulates: cocotb benches, formal contracts, the Verilated device."""
