"""What the training methods have in common that TRL's trainers carry out: arguments, checkpoints, curves, saving."""
