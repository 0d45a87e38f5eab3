"""The benchmarks, one module for each part."""
