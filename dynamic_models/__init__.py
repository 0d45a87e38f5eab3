"""Neural force fields and baselines: data, models, integration, training, evaluation."""
