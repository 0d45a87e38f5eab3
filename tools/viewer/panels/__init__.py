"""The parts of the viewer's panel: time, what is shown, what is drawn over it, editing, and saving."""
