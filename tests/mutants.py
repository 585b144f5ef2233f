"""Change the pure modules in one place at a time, and see whether a test notices.

`make mutants MODULE='stats/*.py' SAMPLE=100` prints which changes no test noticed. A mutant is a
module with one change: an operator, a number, a condition, a slice, what is returned, a statement
that is left out. Annotations, decorators, assertions, texts and the options of a class stay.

The plan: a process that has imported pytest and what is heavy, but nothing of labkit, is forked for
each module. That fork collects the module's tests, runs each once to see which functions it calls,
and is forked for each mutant in turn. The fork of the fork gives the module's functions the changed
code and runs the tests that call the changed one, the quickest first, until one fails. So a mutant
costs no import, and mostly one test. What is changed outside of functions needs the import: it is
run in a fork of the first process, which finds the changed code there. No file is changed.

Results stay in results/mutants: what was noticed is run again when its module changes, what lived
when a test of it does, too. The tables, and what is known to live, are in data/mutants.toml.
"""

import ast
import gc
import itertools
import os
import random
import resource
import sys
import threading
import time
import tomllib
from collections import Counter
from collections.abc import Callable, Iterable, Iterator, Sequence
from functools import cache
from hashlib import blake2b
from importlib import import_module
from importlib.machinery import SourceFileLoader
from pathlib import Path
from types import CodeType, FunctionType
from typing import Any

import pytest
from _pytest.runner import runtestprotocol
from hypothesis import Phase, settings

ROOT = Path(__file__).parent.parent
TABLES = tomllib.loads((ROOT / "tests/data/mutants.toml").read_text())
SWAPS = TABLES["swaps"]
SKIPPED = ("annotation", "returns", "decorator_list", (ast.ClassDef, "keywords"))
LEFT_OUT = (ast.Raise, ast.AugAssign, ast.Break, ast.Continue, ast.Delete)
MAX_SHARE = 0.03
# CPU that the tests of one mutant may take; the slowest, beyond it, are not run.
MAX_S = 5
# A function's name and its first line, which is that of its first decorator.
Key = tuple[str, int]


def changes(node: ast.AST, field: str) -> Iterator[ast.AST]:  # noqa: PLR0912  # a case a kind
    """Yield what may stand in the place of a node."""

    def copy(**changed: Any) -> ast.AST:
        return type(node)(**{**dict(ast.iter_fields(node)), **changed})

    match node:
        case ast.Compare(ops=ops):
            for at, op in enumerate(ops):
                for other in SWAPS[type(op).__name__]:
                    yield copy(ops=[*ops[:at], getattr(ast, other)(), *ops[at + 1 :]])
        case ast.BinOp(op=op) | ast.BoolOp(op=op):
            yield copy(op=getattr(ast, SWAPS[type(op).__name__][0])())
        case ast.UnaryOp(ast.Not() | ast.USub(), operand):
            yield operand
        case ast.Constant(bool(value)):
            yield copy(value=not value)
        case ast.Constant(int(value) | float(value)):
            yield copy(value=value + 1)
        case ast.Slice():
            yield from (copy(**{end: None}) for end in ("lower", "upper") if getattr(node, end))
        case ast.Name(name, ast.Load()) if name in SWAPS:
            yield copy(id=SWAPS[name][0])
        case ast.Return(value) if value and not isinstance(value, ast.Constant):
            yield copy(value=ast.Constant(None))
        case ast.Expr(value) if not isinstance(value, ast.Constant):
            yield ast.Pass()
        case ast.Assign([ast.Attribute() | ast.Subscript()]):
            yield ast.Pass()
        case _ if isinstance(node, LEFT_OUT):
            yield ast.Pass()
        case ast.Name("TYPE_CHECKING"):
            pass
        case ast.Name() | ast.Call() | ast.Attribute() if field in ("test", "ifs"):
            yield ast.UnaryOp(ast.Not(), node)


# Its name, its line and its function.
Mutant = tuple[str, int, Key | None]


def mutants(parent: ast.AST, key: Key | None, seen: Counter[str]) -> Iterator[Mutant]:
    """Yield the mutants below a node; the tree is that of one until the next is asked for."""
    if isinstance(parent, ast.Assert) or vars(parent).get("arg") == "strict":
        return
    for field, value in ast.iter_fields(parent):
        fields = value if isinstance(value, list) else vars(parent)
        for at, node in [*enumerate(value)] if fields is value else [(field, value)]:
            skipped = field in SKIPPED or (type(parent), field) in SKIPPED
            if skipped or not isinstance(node, ast.AST):
                continue
            shown = parent if not isinstance(parent, ast.stmt | ast.mod) else None
            for other in changes(node, field):
                before = ast.unparse(shown or node)
                fields[at] = ast.fix_missing_locations(ast.copy_location(other, node))
                name = f"{before} -> {ast.unparse(shown or other)}".replace("\n", " ")
                name = f"{key[0] if key else 'module'}: {name}"
                seen[name] += 1
                line = getattr(node, "lineno", getattr(parent, "lineno", 0))
                yield name + f" ({seen[name]})" * (seen[name] > 1), line, key
                fields[at] = node
            called = None if isinstance(node, ast.arguments) else key  # defaults are no code of it
            if isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef):
                called = key_in(node)
            yield from mutants(node, called, seen)


def forked(work: Callable[[], object], cpu_s: int, patience_s: float = 0) -> bool:
    """Return whether the work is true in a fork, within so many seconds of CPU, and of time."""
    pid = os.fork()
    if pid == 0:
        try:
            resource.setrlimit(resource.RLIMIT_CPU, (cpu_s, cpu_s))
            if patience_s:  # for what waits and never comes; a thread, as pytest has the alarm
                threading.Timer(patience_s, os._exit, [2]).start()
            os._exit(not work())
        finally:
            os._exit(2)
    return os.waitpid(pid, 0)[1] == 0


def used_s() -> float:
    """Return the CPU of this process and of the children that it waited for."""
    return time.process_time() + sum(resource.getrusage(resource.RUSAGE_CHILDREN)[:2])


def run_pytest(files: Sequence[str], *plugins: object) -> bool:
    """Run tests in this process, in silence and in the same order each time."""
    for stream in (1, 2):
        os.dup2(os.open(os.devnull, os.O_WRONLY), stream)
    usual = "-x -q --tb=no -p no:randomly -p no:cacheprovider --timeout=60 --assert=plain"
    usual += " --hypothesis-profile=mutants"  # which is imported already, and so warned of
    usual += " -W ignore::pytest.PytestAssertRewriteWarning"
    marks = ["-m", "not slow and not service and not browser"]
    return not pytest.main([*usual.split(), *marks, *files], plugins=[*plugins])


def passes(items: Sequence[Any]) -> bool:
    """Run collected tests until one fails."""
    pairs = itertools.zip_longest(items, items[1:])
    return not any(
        report.failed
        for item, following in pairs
        for report in runtestprotocol(item, log=False, nextitem=following)
    )


def quickest(items: Sequence[Any], costs: Iterable[tuple[float, int]]) -> list[Any]:
    """Return the items at these places, the quickest first, that take `MAX_S` together."""
    listed = sorted(costs)
    whole = itertools.accumulate(seconds for seconds, _ in listed)
    return [items[at] for (_, at), s in zip(listed, whole, strict=True) if s < MAX_S]


def key_of(code: CodeType) -> Key:
    return code.co_name, code.co_firstlineno


def key_in(node: ast.FunctionDef | ast.AsyncFunctionDef) -> Key:
    return node.name, min(one.lineno for one in [node, *node.decorator_list])


class Module:
    """A module, its tests, and what is known of its mutants. Also the plugin that runs most."""

    def __init__(self, path: Path) -> None:
        self.path, self.source, self.todo = path, path.read_text(), set[str]()
        self.name = str(path.relative_to(ROOT / "labkit"))
        found = next(files for fits, files in TABLES["tests"].items() if path.match(fits))
        self.tests = [f"tests/test_{name}.py" for name in found.split()]
        self.results = ROOT / f"results/mutants/{self.name.replace('/', '.')}.txt"
        self.quick = self.results.with_suffix(".tests")
        texts = [self.source, *((ROOT / one).read_text() for one in self.tests)]
        self.states = [blake2b("".join(one).encode(), digest_size=8).hexdigest()
                       for one in (texts[:1], texts)]  # fmt: skip

    def note(self, name: str, lived: bool) -> None:
        with self.results.open("a") as file:
            print(int(lived), self.states[lived], name, file=file)

    def known(self) -> dict[str, int]:
        """Return whether a mutant lived, of those that need not be run again."""
        lines = self.results.read_text().splitlines() if self.results.exists() else []
        found = [line.split(" ", 2) for line in lines]
        return {
            name: int(lived) for lived, state, name in found if state == self.states[int(lived)]
        }

    def pytest_runtestloop(self, session: pytest.Session) -> bool:
        """Run each collected test once, then for each mutant those that call its function."""
        callers: dict[Key | None, list[tuple[float, int]]] = {}
        called, tree = set[Key](), ast.parse(self.source)
        import_module("labkit." + self.name.removesuffix(".py").replace("/", "."))
        functions = [one for one in gc.get_objects() if isinstance(one, FunctionType)]
        functions = [one for one in functions if one.__code__.co_filename == str(self.path)]

        def exchange(tree: ast.Module) -> None:
            """Give each function its code in this tree."""
            left = [compile(tree, self.path, "exec")]
            for code in left:
                left += [one for one in code.co_consts if isinstance(one, CodeType)]
                for function in functions:
                    if key_of(code) == key_of(function.__code__):
                        function.__code__ = code

        noting = ast.parse(self.source)  # each function says first that it is called
        for node in ast.walk(noting):
            if isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef):
                node.body[:0] = ast.parse(f"_called_({key_in(node)})").body
        for function in functions:
            function.__globals__["_called_"] = called.add
        exchange(noting)
        for at, item in enumerate(session.items):
            called.clear()
            began = used_s()
            if not passes([item]):
                self.note(f"no mutant at all -> {item.nodeid}", lived=True)
                continue
            for key in {None, *called}:
                callers.setdefault(key, []).append((used_s() - began, at))
        needed = {key: quickest(session.items, found) for key, found in callers.items()}
        self.quick.write_text("\n".join(item.nodeid for item in needed.get(None, [])))
        caches = [one for one in gc.get_objects() if isinstance(one, type(cache(len)))]
        gc.freeze()

        def unnoticed(key: Key) -> bool:
            for one in caches:  # what the tests before have left there is of no mutant
                one.cache_clear()
            exchange(tree)
            return passes(needed[key])

        for name, _, key in mutants(tree, None, Counter()):
            if name in self.todo and key in needed and key:
                self.note(name, forked(lambda key=key: unnoticed(key), 5 + 2 * MAX_S, 120))
        return True

    def imported(self, tree: ast.Module) -> bool:
        """Run all tests with the module as the tree has it."""
        code, usual = compile(tree, self.path, "exec"), SourceFileLoader.get_code
        SourceFileLoader.get_code = lambda loader, name: (
            code if loader.path == str(self.path) else usual(loader, name)
        )
        return run_pytest([f"@{self.quick}"])

    def examine(self, sample: str) -> tuple[int, int, int]:
        """Run what is not known; print, and count, what is known, what lives, what to look at."""
        began, tree = time.monotonic(), ast.parse(self.source)
        lines = {name: line for name, line, _ in mutants(tree, None, Counter())}
        todo = sorted(lines.keys() - self.known())
        if sample:
            todo = random.Random(0).sample(todo, min(int(sample), len(todo)))
        self.todo = set(todo)
        if todo and not forked(lambda: run_pytest(self.tests, self), 3_600):
            raise SystemExit(f"{self.name}: its tests cannot be run")
        self.todo.difference_update(self.known())
        for name, _, _ in mutants(tree, None, Counter()):
            if name in self.todo:
                self.note(name, forked(lambda: self.imported(tree), 60, 120))
        known, why = self.known(), TABLES["lives"].get(self.name, {})
        living = [name for name in lines if known.get(name)]
        gone = [name for name in why if name not in lines or known.get(name) == 0]
        listed = [f"labkit/{self.name}:{lines[name]}  {name}" for name in living if name not in why]
        listed += [f"said to live, and does not: {name}" for name in gone]
        listed += [name for name in known if name.startswith("no mutant at all")]
        run, pace = len(lines.keys() & known), 60 * len(todo) / (time.monotonic() - began)
        title = f"{self.name}: {len(living)} of {run} live, {len(why)} explained"
        print(
            f"{title}; {len(todo)} were run, {pace:.0f} a minute", *listed, sep="\n  ", flush=True
        )
        return run, len(living), len(listed)


def main() -> int:
    """Examine the modules of $MODULE; return the exit status."""
    os.chdir(ROOT)
    (ROOT / "results/mutants").mkdir(parents=True, exist_ok=True)
    phases = (Phase.explicit, Phase.generate)
    usual = {"deadline": None, "database": None, "derandomize": True, "phases": phases}
    settings.register_profile("mutants", max_examples=30, **usual)  # 100 find little more
    list(map(import_module, TABLES["imported"]))
    asked = os.environ.get("MODULE", "").split() or TABLES["tests"]
    paths = dict.fromkeys(path for one in asked for path in sorted((ROOT / "labkit").glob(one)))
    found = [Module(path).examine(os.environ.get("SAMPLE", "")) for path in paths]
    run, live, listed = map(sum, zip((0, 0, 0), *found, strict=True))
    print(f"{live} of {run} live ({live / max(run, 1):.1%}), {listed} to look at")
    return int(listed > 0 or (live > MAX_SHARE * run and not os.environ.get("MODULE")))


if __name__ == "__main__":
    sys.exit(main())
