"""`python -m labkit.notebook.exercises`: write `notebooks/exercises` anew from the notebooks.

What stands there already and is the same is not touched; a notebook without a solution has none.
"""

from __future__ import annotations

from pathlib import Path

from labkit import paths
from labkit.notebook.exercises import generating


def generated(folder: Path) -> dict[str, str]:
    """The text of each notebook of exercises by its name, from the notebooks in a folder."""
    texts = {path.stem: path.read_text(encoding="utf-8") for path in folder.glob("*.ipynb")}
    return {
        f"{name}.ipynb": generating.exercises_of(text, name)
        for name, text in sorted(texts.items())
        if generating.solutions(generating.loaded(text))
    }


def main() -> None:
    """Write what has changed, remove what has no notebook any more, and say so."""
    folder = paths.notebooks() / "exercises"
    folder.mkdir(exist_ok=True)
    made = generated(folder.parent)
    for path in folder.glob("*.ipynb"):
        if path.name not in made:
            path.unlink()
            print(f"removed {path.name}")
    for name, text in made.items():
        path = folder / name
        if not path.exists() or path.read_text(encoding="utf-8") != text:
            path.write_text(text, encoding="utf-8")
            print(f"wrote {name}")


if __name__ == "__main__":
    main()
