"""A small dataset with all that there is, of ours and as published, of which tests change copies; and a browser."""

import shutil
from collections.abc import Callable, Iterator

import pytest

from tests.dataset_fixture import write_dataset, write_published_dataset
from tests.tools.browser import FLAGS, Server


@pytest.fixture(scope="session")
def whole(tmp_path_factory):
    return write_dataset(tmp_path_factory.mktemp("whole"), compression="blosc-zstd")


@pytest.fixture(scope="session")
def published(tmp_path_factory):
    return write_published_dataset(tmp_path_factory.mktemp("published"))


@pytest.fixture
def serve() -> Iterator[Callable[..., Server]]:
    servers: list[Server] = []

    def start(*arguments: object) -> Server:
        servers.append(Server(*arguments))
        return servers[-1]

    yield start
    for server in servers:
        server.process.kill()
        server.process.communicate()


@pytest.fixture(scope="module")
def chromium():  # type: ignore[no-untyped-def]
    """A browser, or a skip that says what is missing."""
    program = next(filter(None, map(shutil.which, ("chromium", "chromium-browser", "google-chrome"))), None)
    if program is None:
        pytest.skip("needs Chromium on PATH (Debian: apt install chromium)")
    playwright = pytest.importorskip("playwright.sync_api", reason="needs playwright (requirements-dev.txt)")
    with playwright.sync_playwright() as driver:
        # Playwright's own flags would turn the GPU off, and with it software WebGL.
        browser = driver.chromium.launch(
            executable_path=program, args=FLAGS, ignore_default_args=["--disable-gpu", "--headless"]
        )
        yield browser
        browser.close()
