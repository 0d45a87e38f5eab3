"""What a person takes along: Gaussians, videos of a camera path, a page that plays without a server."""
