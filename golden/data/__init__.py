"""Data sets made from what the dependencies bring along."""
