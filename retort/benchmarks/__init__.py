"""Benchmarks: their items, their published rules, and scores of recorded outputs."""
