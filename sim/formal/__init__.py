"""Formal contracts of streams and queue: ``python -m sim.formal``."""
