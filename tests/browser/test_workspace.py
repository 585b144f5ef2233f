"""`labkit lab`, as a learner meets it: the index, rendered, and what its links open."""

from __future__ import annotations

import subprocess
import sys
from collections.abc import Iterator
from typing import TYPE_CHECKING

import pytest
from labs import Lab, answering, end, environment, free_port
from pages import PICTURES, Bench

from labkit import places
from labkit.workspaces import read_all

if TYPE_CHECKING:
    from playwright.sync_api import Browser

pytestmark = [pytest.mark.browser, pytest.mark.timeout(180)]
INDEX = ".jp-MarkdownViewer .jp-RenderedMarkdown"
FIRST = "Start here: measure a client"


@pytest.fixture(scope="module")
def learners(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Lab]:
    """What `labkit lab` starts, with nothing of this user's in it, nor of the other tests'."""
    pytest.importorskip("jupyterlab", reason="needs JupyterLab: pip install 'labkit[lab]'")
    folder = tmp_path_factory.mktemp("learner")
    words = ["lab", str(folder / "workspace"), "--no-browser", "--port", str(free_port())]
    with (folder / "jupyter.log").open("wb") as log:
        process = subprocess.Popen(
            [sys.executable, "-m", "labkit", *words],
            cwd=folder,
            env=environment(folder),
            stdin=subprocess.DEVNULL,
            stdout=log,
            stderr=log,
        )
    try:
        yield answering(process, folder)
    finally:
        end(process)


@pytest.fixture
def bench(chromium: Browser, learners: Lab) -> Iterator[Bench]:
    """A page where the printed address leads: to the index."""
    bench = Bench(chromium, learners)
    address = f"{learners.url}lab/tree/index.md?token={learners.token}"
    assert address in learners.log()
    bench.page.goto(address)
    bench.page.locator(INDEX).get_by_role("link", name=FIRST).wait_for()
    try:
        yield bench
    finally:
        wrong = bench.close()
    assert wrong == []


def test_the_index_opens_rendered_and_its_links_open_notebooks(bench: Bench, learners: Lab) -> None:
    rows = bench.page.locator(f"{INDEX} tbody tr")
    assert rows.count() == len(read_all(places.notebooks()))
    for theme in ("dark", "light"):
        bench.theme(theme)
        bench.page.screenshot(path=PICTURES / f"index-{theme}.png", animations="disabled")
    # The question about news comes with the first page, and by now it would be there.
    assert bench.page.locator(".jp-Dialog, .Toastify__toast").count() == 0

    for place, path in enumerate(["00_start_here.ipynb", "exercises/00_start_here.ipynb"]):
        bench.page.locator(".lm-TabBar-tabLabel").get_by_text("index.md", exact=True).click()
        rows.first.get_by_role("link").nth(place).click()
        bench.page.locator(".jp-Notebook:visible .jp-CodeCell").first.wait_for()
        bench.page.wait_for_url(f"**/lab/tree/{path}*")

    bench.idle()
    shown = {entry["name"] for entry in learners.ask("contents")["content"]}
    assert {"index.md", "exercises", "00_start_here.ipynb"} <= shown
