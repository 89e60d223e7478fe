"""Tests of the hardware blocks in Amaranth's own simulator."""
