"""Prompt files for chat models: what is asked about a user."""
