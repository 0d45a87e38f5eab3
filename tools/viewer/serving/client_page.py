"""Give viser's page with three faults of it mended, none of which it has a setting for.

- It draws all splats as one geometry, whose corners have two coordinates. three.js takes the third for NaN, reports
  "Computed radius is NaN" and never culls the geometry, which is right: it stands for splats anywhere. With a third
  coordinate so large that the bounding sphere holds every scene, the report ends and nothing is culled.
- It sorts splats by depth in a worker that is a module made from a blob, which Chromium refuses to a page that was
  opened as a file: splats then stay unsorted. As a classic script the worker is allowed.
- It leaves out splats with a deviation of less than about half a pixel, so that fine objects vanish when one steps
  back. They are widened to that in any case; only what nobody sees, opacities of less than 1 %, is left out now.
"""

import json
from functools import cache
from pathlib import Path

import viser

# The page unpacks its program in the browser, so what is to be replaced in it is replaced there.
_UNPACKED = "const code=td.decode(heap.subarray(up+ss,up+sz));"
_REPLACEMENTS = {
    # The shader reads the corners' first two coordinates alone.
    "new Float32Array([-2,-2,2,-2,2,2,-2,2]),2": ("new Float32Array([-2,-2,1e18,2,-2,-1e18,2,2,1e18,-2,2,-1e18]),3"),
    # Opacity times the determinant of the covariance in pixels, to which the shader has added 0.3 on the diagonal.
    "weightedDeterminant < 0.25": "weightedDeterminant < 0.01 * 0.09",
    "{type:`module`,name:e?.name}": "{name:e?.name}",
    "import.meta.url": "self.location.href",  # the same in a worker, and known to classic scripts
}


def mended(page: str) -> str:
    """Return viser's page without its faults; what is not found in a page of another version stays as it is."""
    replacing = "".join(f".replaceAll({json.dumps(old)},{json.dumps(new)})" for old, new in _REPLACEMENTS.items())
    return page.replace(_UNPACKED, f"{_UNPACKED[:-1]}{replacing};", 1)


@cache
def client_page() -> bytes:
    """Return the page that the viewer serves."""
    file = Path(viser.__file__).parent / "client" / "build" / "index.html"
    return mended(file.read_text(encoding="utf-8")).encode()
