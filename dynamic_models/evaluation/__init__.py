"""Evaluate models: contenders, metrics, plausibility, reports, videos."""
