"""Tests of the link, in Amaranth's simulator."""
