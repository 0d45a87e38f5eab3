"""Programs for people: benchmarks, checks, viewers."""
