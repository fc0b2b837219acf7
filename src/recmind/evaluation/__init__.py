"""Exact full ranking, metrics, strata and intervals."""
