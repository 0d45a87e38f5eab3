"""Go from pictures of scenes to predicted videos of them."""
