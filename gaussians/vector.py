"""Name the type of three numbers along x, y and z, as settings and files hold them."""

Vector = tuple[float, float, float]
