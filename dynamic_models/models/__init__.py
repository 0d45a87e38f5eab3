"""The models, one file each, with their common interface, rollout, checkpoints and registry."""
