"""What every other test here rests on: that a page in which something goes wrong is noticed."""

from __future__ import annotations

import pytest
from labs import until
from pages import BAD, Bench

pytestmark = pytest.mark.browser


def test_errors_and_requests_to_elsewhere_are_noticed(bench: Bench) -> None:
    page = bench.page
    page.evaluate("console.error('said')")
    page.evaluate("setTimeout(() => { throw new Error('thrown'); })")
    refused = page.evaluate("fetch('http://elsewhere.invalid/').catch(error => `${error}`)")

    def noticed() -> bool:
        page.evaluate("1")  # events arrive during a call
        return all(word in str(bench.wrong) for word in ("said", "thrown", "elsewhere.invalid"))

    until(noticed, "not all of it was noticed")
    assert "Failed to fetch" in refused
    bench.wrong.clear()


@pytest.mark.parametrize(
    ("line", "bad"),
    [
        ("[I 2026-11-21 17:11:51.032 ServerApp] Adapting from protocol version 5.3", False),
        ("[W 2026-11-21 17:12:00.808 ServerApp] Notebook a.ipynb is not trusted", False),
        ("[E 2026-11-21 17:12:00.808 ServerApp] Uncaught exception GET /lab", True),
        ("Traceback (most recent call last):", True),
    ],
)
def test_errors_in_the_log_are_noticed(line: str, bad: bool) -> None:
    assert bool(BAD.search(f"[I 1] before\n{line}\n[I 2] after")) == bad
