"""Train models: settings, the loop, gradients, what is saved, and pictures of how it goes."""
