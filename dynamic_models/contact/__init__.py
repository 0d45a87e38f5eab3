"""Find which points of different objects, or of an object and a wall, touch."""
