"""Fixtures of a tiny network."""

from sw.tests.conftest import bundle, clip, tiny

__all__ = ["bundle", "clip", "tiny"]
