"""RecMind: recommendations from interactions and texts."""

__version__ = "0.1.0"
