"""Runners that compare models on one protocol."""
