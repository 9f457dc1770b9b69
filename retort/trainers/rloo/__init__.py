"""RLOO: REINFORCE with a leave-one-out baseline against any reward."""
