"""Rewards: what tells a good response from another."""
