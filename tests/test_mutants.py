"""What `make mutants` changes, and that what is said to live has a reason."""

from __future__ import annotations

import ast
from collections import Counter

from mutants import ROOT, TABLES, mutants

SOURCE = """
@cached(maxsize=9)
def first(items: list[int], most=1):
    \"\"\"Return.\"\"\"
    assert most > 0
    if items and len(items) <= most:
        return items[1:]
    self.seen = min(items)
    raise Missing("none")
"""
CHANGES = """
module: items, most=1 -> items, most=2
first: items and len(items) <= most -> items or len(items) <= most
first: items and len(items) <= most -> items and len(items) < most
first: items and len(items) <= most -> items and len(items) > most
first: return items[1:] -> return None
first: items[1:] -> items[:]
first: 1: -> 2:
first: self.seen = min(items) -> pass
first: min(items) -> max(items)
first: raise Missing('none') -> pass
"""


def test_operators_numbers_conditions_slices_returns_and_statements_are_changed() -> None:
    tree = ast.parse(SOURCE)
    found = [name for name, _, _ in mutants(tree, None, Counter())]

    assert sorted(name.replace(": list[int]", "") for name in found) == sorted(
        CHANGES.split("\n")[1:-1]
    )
    assert ast.dump(tree) == ast.dump(ast.parse(SOURCE))


def test_what_lives_is_of_a_module_that_is_there_and_has_a_reason() -> None:
    for module, living in TABLES["lives"].items():
        assert (ROOT / "labkit" / module).is_file()
        assert all(living.values())
