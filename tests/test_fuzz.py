from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import pytest
from servers import ROOT

FUZZ = Path(__file__).with_name("fuzz_responses.py")


@pytest.mark.slow
def test_garbage_is_read_the_same_however_it_comes_or_refused(tmp_path: Path) -> None:
    pytest.importorskip("atheris", reason="the fuzzer atheris has no build for this Python")
    process = subprocess.run(
        [sys.executable, FUZZ, "-runs=20000", "-max_total_time=20", "-max_len=400", "-seed=1"],
        cwd=tmp_path,  # what it finds it leaves here
        env={**os.environ, "PYTHONPATH": str(ROOT)},
        capture_output=True,
        text=True,
        check=False,
    )
    assert process.returncode == 0, process.stderr[-3000:]
    assert list(tmp_path.iterdir()) == []
