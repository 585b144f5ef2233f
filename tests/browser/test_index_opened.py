"""What `labkit lab` opens: the index, as it is to be read, whose links lead to the notebooks."""

from __future__ import annotations

import pytest
from labs import NOTEBOOKS, Lab
from pages import Bench

pytestmark = pytest.mark.browser


def test_the_index_is_rendered_and_its_links_open_notebooks(bench: Bench, lab: Lab) -> None:
    page = bench.page
    page.goto(f"{lab.url}?token={lab.token}")
    index = page.locator(".jp-MarkdownViewer")
    for path in sorted(NOTEBOOKS.glob("**/*.ipynb")):
        name = path.relative_to(NOTEBOOKS).as_posix()
        index.locator(f"a[href*='/files/{name}']").wait_for()
    # Nothing asks whether to fetch news, or says that something is newer.
    assert page.locator(".Toastify__toast").count() == 0
    bench.picture("index-light")

    index.locator("a[href*='/files/00_start_here.ipynb']").click()
    page.wait_for_selector(".jp-Notebook .jp-CodeCell")
    bench.idle()
    bench.theme("dark")
    bench.picture("start")
    bench.theme("light")
