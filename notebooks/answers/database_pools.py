"""Exercises of `21_database_pools`."""

from __future__ import annotations

from . import grading
from .register import Wrong, exercise

RATE, QUERIES_S, THINKING_S = 300, (0.005, 0.010), 0.025
CAUSES = ("small pool", "no pool", "full server", "slow query")
READ = ("small pool", "full server", "no pool", "slow query", "small pool")
THINK_OF = (
    "row 1: how long does a query take on the server, and how long does its caller wait?",
    "row 2: who refused, the client or the server?",
    "row 3: how many connections were opened for how many queries?",
    "row 4: are there connections to spare? What is left then?",
    "row 5: of how many queries does the server know?",
)
BOUND_RPS, QUERY_S = 2_000.0, 0.004


@exercise("ex-21-1")
def connections_in_use(answer: object) -> str:
    """Check how many connections are in use on average."""
    in_queries = sum(QUERIES_S)
    mistakes = {
        RATE * in_queries: "that counts the queries alone: who has the connection in between?",
        RATE * QUERIES_S[0]: "that is the first query alone",
        RATE * QUERIES_S[1]: "that is the second query alone",
        RATE
        * THINKING_S: "that is while your code computes: do the queries use a connection, too?",
        RATE / (in_queries + THINKING_S): "that is rate / time: the law multiplies them",
        RATE * 60 * (in_queries + THINKING_S): "mind the unit of the rate",
    }
    held_s = in_queries + THINKING_S
    given = grading.number(answer, "connections")
    grading.near(given, RATE * held_s, unit="connections", mistakes=mistakes)
    return (
        "most of them stand idle while your own code computes. Give the connection back in "
        "between, where no transaction forbids it, and fewer than half will do. It is a mean: a "
        "pool of just that size has a queue in front of it"
    )


@exercise("ex-21-2")
def what_is_exhausted(answer: object) -> str:
    """Check the cause behind each of five readings."""
    grading.match_words(answer, READ, THINK_OF, among=CAUSES, of="causes")
    return (
        "compare what the caller waits with what the server works, and what was sent with what the "
        "server has seen. Only row 4 is a matter for whoever looks after the database"
    )


@exercise("ex-21-3")
def trial_of_a_bound(answer: object) -> str:
    """Check a trial whose queries wait on the server only, at a rate of at most 2,000 a second."""
    trial = grading.trial(answer)
    if trial.target.kind != "postgres":
        raise Wrong(f"its target is {trial.target.kind!r}: whom do the queries ask?")
    if trial.transport.kind != "asyncpg" or trial.get("transport.mode") != "pool":
        raise Wrong("it has no pool: leave the transport and its mode as the target brings them")
    query_s, max_size = trial.get("target.query_s"), trial.get("transport.max_size")
    if not grading.close(query_s, QUERY_S, 1e-6):
        raise Wrong(f"its queries wait {query_s:g} s each: the task says how long")
    if trial.limit > max_size:
        raise Wrong(
            f"{trial.limit} queries are begun at a time, and there are {max_size} "
            "connections: some wait in the client for one"
        )
    bound = min(trial.limit, max_size) / query_s
    grading.near(bound, BOUND_RPS, unit="queries a second", tolerance=1e-6)
    return (
        "connections / wait bounds the rate, and what is begun at a time bounds the connections in "
        "use. A pool that is larger than that changes nothing but the server's memory"
    )
