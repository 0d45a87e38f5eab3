"""Videos of predicted motion, and videos next to each other."""
