"""Formal contracts of streams, queue and arbiters: ``python -m sim.formal``."""
