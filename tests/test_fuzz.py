from __future__ import annotations

import os
import sys
from pathlib import Path

import pytest
from programs import ran
from servers import ROOT

FUZZ = Path(__file__).with_name("fuzz_responses.py")


@pytest.mark.slow
def test_garbage_is_read_the_same_however_it_comes_or_refused(tmp_path: Path) -> None:
    pytest.importorskip("atheris", reason="the fuzzer atheris has no build for this Python")
    limits = ("-runs=20000", "-max_total_time=20", "-max_len=400", "-seed=1")
    env = {**os.environ, "PYTHONPATH": str(ROOT)}
    process = ran(sys.executable, FUZZ, *limits, cwd=tmp_path, env=env)  # it leaves finds there
    assert process.returncode == 0, process.stderr[-3000:]
    assert list(tmp_path.iterdir()) == []
