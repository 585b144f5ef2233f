"""The public names of `labkit.patterns`: the one list. `__init__.py` reads it; type checkers do."""

from labkit.measured.patterns.priorities import PriorityQueue as PriorityQueue
from labkit.measured.patterns.priorities import PrioritySlots as PrioritySlots
from labkit.measured.patterns.priorities import prioritised as prioritised
from labkit.measured.patterns.shared_calls import Batcher as Batcher
from labkit.measured.patterns.shared_calls import Box as Box
from labkit.measured.patterns.shared_calls import CallCancelled as CallCancelled
from labkit.measured.patterns.shared_calls import Unreferable as Unreferable
from labkit.measured.patterns.shared_calls import WeakCache as WeakCache
from labkit.measured.patterns.shared_calls import boxed as boxed
from labkit.measured.patterns.streams import as_completed as as_completed
from labkit.measured.patterns.streams import in_chunks as in_chunks
from labkit.measured.patterns.streams import in_order as in_order

__all__: list[str]
