import subprocess
import sys

import gaussians


def test_every_public_name_is_there():
    assert {"Gaussians", "Cameras", "rasterize", "read_ply", "TrajectoryReader", "VideoWriter"} <= set(
        gaussians.__all__
    )
    for name in gaussians.__all__:
        assert getattr(gaussians, name).__name__ == name


def test_importing_the_package_loads_nothing_heavy():
    program = (
        "import sys, gaussians; print(gaussians.__version__, *({'torch', 'numpy', 'pydantic'} & set(sys.modules)))"
    )
    result = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, check=True)
    assert result.stdout.split() == [gaussians.__version__]
