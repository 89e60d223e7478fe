"""Benches of the hardware blocks: ``test_*.py`` are pytest files, ``*_bench.py`` run inside the simulator."""
