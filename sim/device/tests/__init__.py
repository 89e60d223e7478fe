"""Tests of the Verilated accelerator through the host's driver."""
