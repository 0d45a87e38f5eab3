"""Serve the viewer to browsers: the server that lets only its own page in, the page, and its panel."""
