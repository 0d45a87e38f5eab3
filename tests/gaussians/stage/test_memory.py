"""What does not fit is refused before it is allocated."""

import subprocess
import sys

import pytest

from gaussians.stage.errors import InputError
from gaussians.stage.memory import check_memory, free_memory, in_words
from tests.conftest import ROOT


def test_what_does_not_fit_is_refused() -> None:
    check_memory(2**20, "--resolution 512")
    with pytest.raises(
        InputError, match=r"--resolution 99999: takes at least 1,000 TiB of memory, of which .* are free"
    ):
        check_memory(1000 * 2**40, "--resolution 99999")


def test_a_limit_of_addresses_counts() -> None:
    program = "import resource; from gaussians.stage.memory import free_memory; "
    program += "resource.setrlimit(resource.RLIMIT_AS, (2**30, 2**30)); print(free_memory())"
    done = subprocess.run([sys.executable, "-c", program], cwd=ROOT, capture_output=True, text=True, check=True)
    assert 0 < int(done.stdout) < 2**30
    assert free_memory() > 0


@pytest.mark.parametrize(
    ("size", "words"), [(12, "12 bytes"), (1536, "1.5 KiB"), (3 * 2**30, "3 GiB"), (2**50, "1,024 TiB")]
)
def test_sizes_are_readable(size: float, words: str) -> None:
    assert in_words(size) == words
