"""Recipes: settings as TOML files that ship with the package."""
