"""The synthesised netlist in place of the RTL."""
