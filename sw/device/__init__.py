"""Devices: one transport interface, and everything behind it that can run a program."""
