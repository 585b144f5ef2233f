"""What every other test here rests on: that a page in which something goes wrong is noticed."""

from __future__ import annotations

import pytest
from labs import until
from pages import BAD, Bench

pytestmark = pytest.mark.browser


def test_errors_and_requests_to_elsewhere_are_noticed(bench: Bench) -> None:
    page = bench.page
    page.evaluate("console.error('logged')")
    page.evaluate("setTimeout(() => { throw new Error('thrown'); })")
    refused = page.evaluate("fetch('http://elsewhere.invalid/').catch(error => `${error}`)")

    def noticed() -> bool:
        page.evaluate("1")  # events arrive during a call
        return all(word in str(bench.wrong) for word in ("logged", "thrown", "elsewhere.invalid"))

    until(noticed, "not all of it was noticed")
    assert "Failed to fetch" in refused
    bench.wrong.clear()


def test_errors_in_the_log_are_noticed() -> None:
    info, warning = "[I 2026-11-21 17:11:51.032 ServerApp] Adapting", "[W 1 ServerApp] not trusted"
    assert not BAD.search(f"{info}\n{warning}\n")
    for line in (
        "[E 1 ServerApp] Uncaught exception GET /lab",
        "Traceback (most recent call last):",
    ):
        assert BAD.search(f"{info}\n{line}\n{warning}")
