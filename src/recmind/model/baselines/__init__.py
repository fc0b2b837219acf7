"""Baselines under the same trainer, data and evaluation, one file each."""
