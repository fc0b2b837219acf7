"""Texts about items and users: what the language model reads, within token budgets."""
