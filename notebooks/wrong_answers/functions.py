"""Wrong answers that compute: a share, a limit, latencies, bodies."""

from __future__ import annotations


def half(rates: dict[int, float]) -> int:
    return min(limit for limit, rate in rates.items() if rate >= 0.5 * max(rates.values()))


def turns_for_ever(rates: dict[int, float]) -> int:
    raise RecursionError("too deep")


def whole_chunks(delays: list[float], size: int) -> float:
    firsts = range(0, len(delays) - size + 1, size)
    return sum(max(delays[first : first + size]) for first in firsts) or max(delays, default=0)


def answered(due: list[float], took: list[float]) -> list[float]:
    found, free = [], 0.0
    for at, seconds in zip(due, took, strict=True):
        free = max(free, at) + seconds
        found.append(free)
    return found


def waited(due: list[float], took: list[float]) -> list[float]:
    ended = answered(due, took)
    return [end - at - seconds for end, at, seconds in zip(ended, due, took, strict=True)]


def never_idle(due: list[float], took: list[float]) -> list[float]:
    found, free = [], 0.0
    for at, seconds in zip(due, took, strict=True):
        free += seconds
        found.append(free - at)
    return found


def only_the_one_before(due: list[float], took: list[float]) -> list[float]:
    late = [0.0, *(max(0.0, one - 1) for one in took)]
    return [one + before for one, before in zip(took, late, strict=False)]


def of_one(parts: list[dict[int, int]], share: float, at: int = 0) -> int:
    """Return the latency at a share of one client's requests."""
    latencies = sorted(one for one, n in parts[at].items() for _ in range(n))
    return latencies[-int(-share * len(latencies) // 1) - 1]


def averaged(parts: list[dict[int, int]], share: float) -> float:
    return sum(of_one(parts, share, at) for at in range(len(parts))) / len(parts)


def read(stream: bytes, *, whole: bool = True, sure: bool = False) -> list[bytes]:
    """Read answers; be sure that each has a head with a length, or that there are whole ones."""
    found, usual = [], "" if sure else "0"
    while stream and (sure or b"\r\n\r\n" in stream):
        head, _, rest = stream.partition(b"\r\n\r\n")
        length = int(head.partition(b"Content-Length: ")[2].partition(b"\r\n")[0] or usual)
        if whole and len(rest) < length:
            break
        found.append(rest[:length])
        stream = rest[length:]
    return found


def capitals(stream: bytes) -> bytes:
    return stream.replace(b"content", b"Content").replace(b"-length", b"-Length")


WRONG = [
    ("ex-03-2", lambda gain, k: 1 - 1 / gain, "share of the time that was saved"),
    ("ex-03-2", lambda gain, k: 100 * (1 - 1 / gain) / (1 - 1 / k), "returns percent"),
    ("ex-03-2", lambda gain, k: gain / k, "Amdahl's law makes a gain of"),
    ("ex-03-2", lambda gain, k: 50.0, "Amdahl's law makes a gain of"),
    ("ex-03-2", lambda gain: gain, "raised TypeError"),
    ("ex-03-2", lambda gain, k: None, "still to be written"),
    ("ex-03-2", lambda gain, k: "0.5", "without quotes"),
    ("ex-04-1", {4, 6}, "one more line"),
    ("ex-04-1", {4}, "2 more lines"),
    ("ex-04-1", set(), "3 more lines"),
    ("ex-04-1", {3, 4, 6, 8}, "gives way"),
    ("ex-04-1", {4, 6, 7, 8}, "computes elsewhere"),
    ("ex-04-1", {2, 4, 6, 8}, "next to no time"),
    ("ex-04-1", {4, 6, 8, 12}, "no line 12"),
    (
        "ex-11-2",
        lambda rates: max(rates, key=rates.__getitem__),
        "a smaller limit does about as well",
    ),
    ("ex-11-2", half, "more than 5 % below the best"),
    ("ex-11-2", lambda rates: 7, "none of the limits"),
    ("ex-11-2", lambda rates: 4.5, "come in whole numbers"),
    ("ex-11-2", turns_for_ever, "raised RecursionError"),
    ("ex-31-2", lambda due, took: took, "latencies since sent"),
    ("ex-31-2", answered, "moments of the answers"),
    ("ex-31-2", waited, "that is the wait alone"),
    ("ex-31-2", never_idle, "before being due"),
    ("ex-31-2", only_the_one_before, "request by request"),
    ("ex-31-2", lambda due, took: sum(took), "a list of as many"),
    ("ex-22-3", averaged, "the average of the clients' percentiles"),
    ("ex-22-3", of_one, "another request's latency"),
    ("ex-22-3", lambda parts, share: 123.0, "a latency that no request had"),
    ("ex-22-3", lambda parts, share: None, "still to be written"),
    ("ex-22-3", lambda parts: 410, "raised TypeError"),
    ("ex-12-2", lambda delays, size: sum(delays) / size, "add what each chunk takes"),
    ("ex-12-2", lambda delays, size: max(delays, default=0), "add what each chunk takes"),
    ("ex-12-2", whole_chunks, "the last chunk may be shorter"),
    ("ex-12-2", lambda delays, size: turns_for_ever({}), "raised RecursionError"),
    ("ex-16-3", lambda stream: stream.split(b"\r\n\r\n")[1:], "two answers"),
    ("ex-16-3", lambda stream: [stream.decode().partition("\r\n\r\n")[2]], "it returns text"),
    ("ex-16-3", lambda stream: list(filter(None, read(stream))), "empty body"),
    ("ex-16-3", read, "small letters"),
    ("ex-16-3", lambda stream: read(capitals(stream), whole=False), "last body"),
    ("ex-16-3", lambda stream: read(capitals(stream), sure=True), "raised ValueError in its line"),
    ("ex-16-3", len, "return a list of bodies"),
    ("ex-16-3", [b"Hello", b"!"], "give a function"),
]
