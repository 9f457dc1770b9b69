"""Handing over a run's student: exported, served, talked to, deployed, registered."""
