"""Tests of the formal contracts."""
