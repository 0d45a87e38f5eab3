"""Complete what no picture shows: the undersides and insides of objects, and the ground below them."""
