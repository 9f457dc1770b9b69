"""What a cluster must have, looked at before a run waits for it."""
