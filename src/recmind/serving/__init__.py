"""From a run to recommendations."""
