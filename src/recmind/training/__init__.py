"""Negative sampling, losses, phases, the trainer and its checkpoints."""
