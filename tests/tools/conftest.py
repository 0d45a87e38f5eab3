"""A small dataset with all that there is, of ours and as published; tests change copies."""

import pytest

from tests.dataset_fixture import write_dataset, write_published_dataset


@pytest.fixture(scope="session")
def whole(tmp_path_factory):
    return write_dataset(tmp_path_factory.mktemp("whole"), compression="blosc-zstd")


@pytest.fixture(scope="session")
def published(tmp_path_factory):
    return write_published_dataset(tmp_path_factory.mktemp("published"))
