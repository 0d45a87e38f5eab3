"""What the viewer shows: sources read frame by frame, layers that a person changes, and nodes in browsers."""
