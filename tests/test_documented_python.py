"""The Python of README.md and docs/library.md runs as it stands there."""

import re
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

from dataset.layout import Layout

ROOT = Path(__file__).resolve().parent.parent
PAGES = ("README.md", "docs/library.md")
_BLOCK = re.compile(r"```python\n(.*?)```", re.DOTALL)
BLOCKS = {
    f"{page}:{number}": code
    for page in PAGES
    for number, code in enumerate(_BLOCK.findall((ROOT / page).read_text(encoding="utf-8")))
}


@pytest.fixture(scope="module")
def duck(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A small catalogue duck as a PLY file."""
    layout = Layout(tmp_path_factory.mktemp("dataset"))
    flags = ["--data_root", str(layout.root), "--objects", "duck", "--gaussians", "1500"]
    subprocess.run([sys.executable, "-m", "dataset.generate_objects", *flags], cwd=ROOT, check=True)
    return layout.object_ply("duck")


@pytest.mark.parametrize("block", BLOCKS)
def test_documented_python_runs(duck: Path, tmp_path: Path, block: str) -> None:
    shutil.copy(duck, tmp_path / "duck.ply")
    code = f"import sys; sys.path.insert(0, {str(ROOT)!r})\n{BLOCKS[block]}"
    found = subprocess.run([sys.executable, "-c", code], cwd=tmp_path, capture_output=True, text=True, check=False)
    assert found.returncode == 0, found.stderr


def test_readme_stays_short() -> None:
    code = BLOCKS["README.md:0"].strip().splitlines()
    assert len(code) <= 20
    assert sum(line.startswith(("import ", "from ")) for line in code) <= 4
