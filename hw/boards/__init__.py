"""Boards: pins, clock and memory around the accelerator and its link."""
