"""What the benchmarks share: the peers' own environment, data for both sides, and processes that take turns."""
