"""What the evaluation is made of: contenders, metrics, plausibility, reports, videos."""
