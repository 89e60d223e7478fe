"""Tests of the golden side."""
