"""The meaning: what every bit must be."""
