import importlib
import os
import signal
import sys
from collections.abc import Callable
from pathlib import Path

import pytest
import torch
from hypothesis import HealthCheck, settings

ROOT = Path(__file__).resolve().parent.parent

# A shell's background jobs inherit that Ctrl-C is ignored; commands that tests start must not.
signal.signal(signal.SIGINT, signal.default_int_handler)

# A busy machine is no failure.
settings.register_profile("patient", deadline=None, suppress_health_check=[HealthCheck.too_slow])
settings.load_profile("patient")


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    if torch.cuda.is_available():
        return
    for item in items:
        if item.get_closest_marker("gpu"):
            item.add_marker(pytest.mark.skip(reason="needs a CUDA device"))


@pytest.fixture(scope="session")
def real_data() -> Path:
    """The directory of real test data; tests that ask for it skip where it is absent."""
    path = Path(os.environ.get("NGFF_REAL_DATA", ROOT.parent / "shared" / "data"))
    if not path.is_dir():
        pytest.skip(f"real test data: NGFF_REAL_DATA names no directory ({path})")
    return path


@pytest.fixture
def command(monkeypatch: pytest.MonkeyPatch) -> Callable[..., None]:
    """Runs a command in this process: ``command("dataset.render", "--resolution", 64)``."""

    def run(module: str, *arguments: object) -> None:
        monkeypatch.setattr(sys, "argv", [module, *map(str, arguments)])
        importlib.import_module(module).main()

    return run
