"""Tests of the synthesised netlist."""
