"""Benchmarks: `python -m bench.NAME` prints a table, and one JSON object with `--json`."""
