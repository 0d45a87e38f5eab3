"""Measure the simulator: substeps, whole clips, contact against mechanics, and the balls that do the work."""
