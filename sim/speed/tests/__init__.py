"""Tests of the bench: its pure parts, and one small run."""
