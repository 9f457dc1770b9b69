"""Best of n: a way to answer, with a reward that chooses among samples."""
