"""What the system charges a client for one request more, beside what its record says."""

from __future__ import annotations

from collections.abc import Sequence

import labkit as lab


def charged_ratio(records: Sequence[lab.Record]) -> float:
    """Return the CPU of a further request as the system counts it, over what the record says.

    The client counts its CPU itself; the system charges the whole process, its start included, when
    it ends. So the smallest and the largest run differ by the requests that one has more.
    """
    few, *_, many = sorted(records, key=lambda record: record.counts.sent)
    assert few.process
    assert many.process
    assert many.client
    assert many.client.cpu_us_per_request
    charged_s = [one.cpu_user_s + one.cpu_system_s for one in (few.process, many.process)]
    further_us = 1e6 * (charged_s[1] - charged_s[0]) / (many.counts.sent - few.counts.sent)
    return further_us / many.client.cpu_us_per_request
