"""The public names of labkit: the one list. `__init__.py` reads it, and type checkers do."""

from typing import Any

from labkit.errors import BadInput as BadInput
from labkit.errors import LabError as LabError
from labkit.errors import RecordDamaged as RecordDamaged
from labkit.errors import RecordNotFound as RecordNotFound
from labkit.errors import TrialFailed as TrialFailed
from labkit.lab.arena import arena as arena
from labkit.lab.facade import check_claims as check_claims
from labkit.lab.facade import compare as compare
from labkit.lab.facade import default_scale as default_scale
from labkit.lab.facade import ladder as ladder
from labkit.lab.facade import load as load
from labkit.lab.facade import profile as profile
from labkit.lab.facade import read as read
from labkit.lab.facade import reproduce as reproduce
from labkit.lab.facade import results as results
from labkit.lab.facade import resume as resume
from labkit.lab.facade import run as run
from labkit.lab.facade import serving as serving
from labkit.lab.facade import sweep as sweep
from labkit.lab.facade import time as time
from labkit.measured import patterns as patterns
from labkit.measured import strategies as strategies
from labkit.measured.strategies import Tally as Tally
from labkit.measured.strategies import strategy as strategy
from labkit.notebook.exercises import Checked as Checked
from labkit.notebook.exercises import check as check
from labkit.notebook.panel import panel as panel
from labkit.profiler.slow_callbacks import SlowCallbacks as SlowCallbacks
from labkit.profiler.timers import Timers as Timers
from labkit.profiler.timers import timer as timer
from labkit.record.record import Record as Record
from labkit.record.store import Store as Store
from labkit.report.arena import Arena as Arena
from labkit.report.file_study import Ledger as Ledger
from labkit.report.gate import Baseline as Baseline
from labkit.report.glossary import explain as explain
from labkit.report.ladder import Ladder as Ladder
from labkit.report.profile import Profile as Profile
from labkit.report.reproduction import Reproduction as Reproduction
from labkit.report.stored import reference as reference
from labkit.report.study import Run as Run
from labkit.report.study import Study as Study
from labkit.report.study import Sweep as Sweep
from labkit.report.study import Timed as Timed
from labkit.spec.parts import Workload as Workload
from labkit.spec.settings import Trial as Trial
from labkit.spec.targets import Command as Command
from labkit.spec.targets import HttpTarget as HttpTarget
from labkit.spec.targets import UrlTarget as UrlTarget
from labkit.spec.transports import AiohttpTransport as AiohttpTransport
from labkit.spec.transports import StreamsTransport as StreamsTransport
from labkit.spec.transports import WireTransport as WireTransport

__version__: str
__all__: list[str]

def load_ipython_extension(shell: Any) -> None: ...
