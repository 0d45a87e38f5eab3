"""Models are there without their libraries, which are slow to import and may be missing: a checkpoint brings them."""

import subprocess
import sys
from pathlib import Path

ROOT = Path(__file__).resolve().parents[2]
SCRIPT = """
import sys
from externals.diffsplat import DiffSplat
from externals.feature_matching import choose_matcher
from externals.osediff import OSEDiff, Tagger
from externals.pi3_splat import Pi3Splat
from externals.sam2 import Sam2
from externals.super_resolution import SuperResolution
print([name for name in ("diffusers", "kornia", "ncnn", "transformers") if name in sys.modules])
"""


def test_importing_models_imports_no_library() -> None:
    found = subprocess.run([sys.executable, "-c", SCRIPT], cwd=ROOT, capture_output=True, text=True, check=False)
    assert found.stdout == "[]\n", found.stderr
