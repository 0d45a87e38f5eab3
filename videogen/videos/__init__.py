"""Make videos of predicted motion, and put videos next to each other."""
