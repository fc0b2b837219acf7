"""Prompt templates: one TOML file per domain."""
