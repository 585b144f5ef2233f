"""What `make mutants` changes, and that what is said to live has a reason."""

import ast
from collections import Counter

from machines import checks
from mutants import ROOT, TABLES, mutants

CHANGED = checks("mutants.toml", "changed")


def test_operators_numbers_conditions_slices_returns_and_statements_are_changed() -> None:
    tree = ast.parse(CHANGED["source"])
    found = [name for name, _, _ in mutants(tree, None, Counter())]

    assert sorted(name.replace(": list[int]", "") for name in found) == sorted(CHANGED["into"])
    assert ast.dump(tree) == ast.dump(ast.parse(CHANGED["source"]))


def test_what_is_named_is_there_and_what_lives_has_a_reason() -> None:
    tests = {name for names in TABLES["tests"].values() for name in names.split()}
    assert all((ROOT / f"tests/test_{name}.py").is_file() for name in tests)
    for module, living in TABLES["lives"].items():
        assert (ROOT / "labkit" / module).is_file()
        assert all(living.values())
