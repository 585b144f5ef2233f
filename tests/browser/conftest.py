"""JupyterLab and Debian's Chromium, for the tests that click and type.

One server a session, with a new page, new kernels and a look at all logs for each test. Playwright
keeps an event loop running in this thread while it lives, in which no other test could run one: it
ends with each module.
"""

from __future__ import annotations

import shutil
from collections.abc import Iterator
from importlib.util import find_spec
from typing import TYPE_CHECKING

import pytest
from labs import Lab, serving
from pages import PICTURES, Bench

if TYPE_CHECKING:
    from playwright.sync_api import Browser

FLAGS = [
    "--no-sandbox",  # which root, the usual user of a container, cannot have
    "--disable-gpu",
    "--disable-quic",
    "--disable-background-networking",
    "--disable-component-update",
    "--disable-sync",
    "--no-first-run",
    "--host-resolver-rules=MAP * ~NOTFOUND, EXCLUDE 127.0.0.1",
]


@pytest.fixture(scope="session")
def program() -> str:
    """Where Chromium is; all tests skip where something that they need is missing."""
    for package, extra in (("jupyterlab", "lab"), ("playwright", "dev")):
        if find_spec(package) is None:
            pytest.skip(f"needs {package}: pip install 'labkit[{extra}]'")
    found = shutil.which("chromium")
    if found is None:
        pytest.skip("needs Debian's Chromium: apt-get install chromium")
    return found


@pytest.fixture(scope="session")
def lab(program: str, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Lab]:
    with serving(tmp_path_factory.mktemp("jupyter")) as lab:
        yield lab


@pytest.fixture(scope="module")
def chromium(program: str) -> Iterator[Browser]:
    from playwright import sync_api

    with sync_api.sync_playwright() as playwright:
        browser = playwright.chromium.launch(executable_path=program, args=FLAGS)
        yield browser
        browser.close()


@pytest.fixture
def bench(chromium: Browser, lab: Lab, request: pytest.FixtureRequest) -> Iterator[Bench]:
    bench = Bench(chromium, lab)
    yield bench
    bench.picture(f"end-of-{request.node.name}")
    assert bench.close() == []


def pytest_terminal_summary(terminalreporter: pytest.TerminalReporter) -> None:
    if PICTURES.is_dir():
        terminalreporter.write_line(f"screenshots: {PICTURES}")
