"""Every reader on damaged files: it reads them or refuses them in one line, in bounded time and memory.

200 inputs are tried. ``NGFF_FUZZ_INPUTS=3000 python -m pytest tests/fuzz`` tries as many, NGFF_FUZZ_SEED=n others; a
failure names its seed, which then belongs into ``KEPT``.
"""

import os
import resource
import shutil
import signal
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from random import Random
from types import FrameType

import pytest
from hypothesis import Phase, example, given, seed, settings
from hypothesis import strategies as st

from gaussians.stage.errors import InputError
from tests.fuzz.corpus import CORPORA, Corpus
from tests.fuzz.mutations import mutate_file

INPUTS = int(os.environ.get("NGFF_FUZZ_INPUTS", "200")) // len(CORPORA)
SEED = int(os.environ.get("NGFF_FUZZ_SEED", "0"))
SECONDS = 20
KILOBYTES = 10**6

KEPT: dict[str, tuple[int, ...]] = {
    "splats": (369111,),
    "config": (1_037_561_448_417,),
    "checkpoint": (1442,),
}
"""Seeds of inputs that a reader once could not cope with."""


@pytest.fixture(scope="module", params=CORPORA)
def valid(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> tuple[str, Path]:
    """The name of a corpus, and a folder with its valid files, which are read without an error."""
    folder = tmp_path_factory.mktemp("valid")
    CORPORA[request.param].write(folder)
    CORPORA[request.param].read(folder)
    return request.param, folder


def test_damaged_files_are_read_or_refused(valid: tuple[str, Path], tmp_path: Path) -> None:
    name, folder = valid

    def try_seed(number: int) -> None:
        damaged = tmp_path / "damaged"
        shutil.copytree(folder, damaged)
        try:
            _try(CORPORA[name], damaged, Random(number))
        finally:
            shutil.rmtree(damaged)

    check: Callable[[], None] = given(number=st.integers(0, 2**63))(try_seed)
    for kept in KEPT.get(name, ()):
        check = example(number=kept)(check)
    phases = (Phase.explicit, Phase.generate)
    seed(SEED)(settings(max_examples=INPUTS, phases=phases, database=None, print_blob=False)(check))()


def _try(corpus: Corpus, folder: Path, random: Random) -> None:
    files = sorted({path for pattern in corpus.targets for path in folder.glob(pattern) if path.is_file()})
    for _ in range(random.choice((1, 1, 1, 2))):
        mutate_file(random.choice(files), random)
    before, start = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss, time.monotonic()
    with suppress(InputError), _no_longer_than(SECONDS):
        corpus.read(folder)
    assert time.monotonic() - start < SECONDS
    assert resource.getrusage(resource.RUSAGE_SELF).ru_maxrss - before < KILOBYTES


@contextmanager
def _no_longer_than(seconds: int) -> Iterator[None]:
    def too_long(number: int, frame: FrameType | None) -> None:
        raise TimeoutError(f"more than {seconds} s")

    former = signal.signal(signal.SIGALRM, too_long)
    signal.alarm(seconds)
    try:
        yield
    finally:
        signal.alarm(0)
        signal.signal(signal.SIGALRM, former)
