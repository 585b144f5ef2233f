"""Which URLs a trial may call; nothing here is resolved or connected to."""

import inspect
from collections.abc import Callable
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st
from machines import checks

import labkit as lab
from labkit.errors import BadInput, TrialFailed
from labkit.lab import runner
from labkit.launch import preflight
from labkit.spec import addresses, plan
from labkit.spec.addresses import check_dsn, check_url, is_loopback, is_remote
from labkit.spec.targets import HttpServer
from labkit.spec.trial import Trial
from labkit.studies import study_file
from labkit.studies.study_file import StudyFile
from tests.factories import make_record

LOOPBACK = ["127.0.0.1", "127.255.0.9", "::1", "localhost", "a.localhost"]
ELSEWHERE = checks("addresses.toml", "elsewhere")


def url_of(host: str) -> str:
    return f"http://[{host}]/" if ":" in host else f"http://{host}/"


@pytest.mark.parametrize("host", [*LOOPBACK, *ELSEWHERE])
def test_nothing_but_loopback_counts_as_loopback(host: str) -> None:
    assert is_loopback(host) == (host in LOOPBACK)
    assert is_remote(url_of(host)) == (host in ELSEWHERE)


@given(st.ip_addresses().filter(lambda address: not address.is_loopback))
def test_no_other_address_may_be_called(address: object) -> None:
    with pytest.raises(BadInput, match="only loopback"):
        check_url(url_of(str(address)))


@pytest.mark.parametrize("url", checks("addresses.toml", "allowed"))
def test_urls_that_may_be_called(url: str) -> None:
    check_url(url)


@pytest.mark.parametrize(("why", "urls"), checks("refused_urls.json"))
def test_a_refusal_names_the_field_the_value_and_why(why: str, urls: list[str]) -> None:
    for url in urls:
        with pytest.raises(BadInput) as caught:
            check_url(url)

        message = str(caught.value)
        assert message.startswith(f"target.url is {url!r}: ")
        assert why in message
        assert "\n" not in message


def test_text_around_a_bracketed_host_is_refused() -> None:
    with pytest.raises(BadInput):
        check_url("http://[::1]example.invalid/")


@pytest.mark.parametrize("url", checks("addresses.toml", "with_user"))
def test_a_user_or_password_is_refused_and_not_repeated(url: str) -> None:
    with pytest.raises(BadInput, match="'@'") as caught:
        check_url(url)

    assert "secret" not in str(caught.value)


def test_a_remote_host_may_be_called_only_by_the_name_that_was_allowed() -> None:
    check_url("http://example.invalid:8080/x", "example.invalid")
    check_url("http://EXAMPLE.invalid/", "example.invalid")

    for other in ("example", "invalid", "www.example.invalid", "", "*", "127.0.0.1"):
        with pytest.raises(BadInput, match=r"--allow-remote example\.invalid"):
            check_url("http://example.invalid/", other)


def test_a_remote_host_is_sent_no_more_than_the_caps() -> None:
    most = {"requests": addresses.MAX_REMOTE_REQUESTS, "limit": addresses.MAX_REMOTE_LIMIT}

    addresses.check_remote(**most)
    for name, value in most.items():
        with pytest.raises(BadInput, match="at most 10,000 requests at limit 50"):
            addresses.check_remote(**{**most, name: value + 1})


async def test_the_caps_of_a_remote_host_are_of_a_whole_study() -> None:
    remote = Trial(target="http://192.0.2.1/", allow_remote="192.0.2.1", limit=5)
    here = Trial(target="http://127.0.0.1:1/", requests=100_000)
    long, both = remote.replace(requests=2_000), ["asyncio", "uvloop"]
    studies = {
        "20,000 requests in 10 trials": lambda: lab.compare(long, loop=both),
        "15,000 requests in 15 trials": lambda: lab.sweep(remote, [1, 2, 5]),
        "20,000 requests in 10 trials ": lambda: lab.arena("wait", among=["queue"], trial=long),
    }
    for says, start in studies.items():
        with pytest.raises(
            BadInput, match=f"workload is {says.strip()} at limit 5 on a remote host"
        ):
            await start()
    plan.interleave(plan.arms(remote, {"limit": [1, 2]}), plan.arms(here, {"seed": [1]}), repeats=5)
    ran = make_record(trial=remote.to_dict(), **{"process.wall_s": 200.0})
    none = {"url": "", "addresses": [], "function": None, "client": None, "path": []}
    none["environment"] = None
    ready = preflight.Ready(trial=remote, asked={}, **none)
    assert runner.in_time(ready, [ran, make_record()]).within_s == 100
    with pytest.raises(TrialFailed, match="for 300 s at most, and they are over: 2 runs"):
        runner.in_time(ready, [ran] * 2)


# Doors: where the lab itself listens

EVERYWHERE = "0.0.0.0"  # noqa: S104 - nothing listens there
FILES = checks("addresses.toml", "files")


def in_a_file(text: str, server: str) -> StudyFile:
    return study_file.parse(FILES["whole"].format(text.format(f"{{ {server} }}")))


DOORS: dict[str, Callable[[str], Any]] = {
    "the server": lambda host: HttpServer(host=host),
    "in a cell": lambda host: lab.serving(host=host).__aenter__(),
    "a file's server": lambda host: in_a_file(FILES["server"], f"host = '{host}'"),
    "a file's arm": lambda host: in_a_file(FILES["arm"], f"host = '{host}'"),
    "a file's check": lambda host: in_a_file(FILES["check"], f"host = '{host}'"),
}


@pytest.mark.parametrize("door", DOORS)
@pytest.mark.parametrize("host", [EVERYWHERE, "::", "", "10.0.0.1", "any.localhost"])
async def test_every_door_listens_on_loopback(door: str, host: str) -> None:
    async def enter() -> None:
        found = DOORS[door](host)
        if inspect.isawaitable(found):
            await found

    with pytest.raises(BadInput, match=f"serve.host is '{host}'"):
        await enter()


@pytest.mark.parametrize("setting", ["allow_remote", "counters_folder"])
def test_no_file_allows_what_a_person_must(setting: str) -> None:
    for text in (FILES["server"], FILES["arm"], FILES["check"]):
        with pytest.raises(BadInput, match=f"{setting} is set in a study file: only the person"):
            in_a_file(text, f"host = '{EVERYWHERE}', {setting} = '{EVERYWHERE}'")


def test_a_strangers_data_allow_no_host() -> None:
    trial = Trial(target="http://x.invalid/", allow_remote="x.invalid", limit=5)
    for allowed in (None, "y.invalid"):
        with pytest.raises(BadInput, match=r"target.allow_remote is 'x.invalid' in data"):
            Trial.from_dict(trial.to_dict(), allow_remote=allowed)
    assert Trial.from_dict(trial.to_dict(), allow_remote="x.invalid") == trial


# Databases


@pytest.mark.parametrize("dsn", checks("addresses.toml", "dsns"))
def test_a_postgresql_on_this_machine_may_be_loaded(dsn: str) -> None:
    check_dsn(dsn)


# Where the host begins, drivers read from the first '@'; libpq knows no '#' and looks for it behind
# a '?' as well.
@pytest.mark.parametrize(("why", "dsns"), checks("refused_dsns.json"))
def test_any_other_postgresql_is_refused_and_not_repeated(why: str, dsns: list[str]) -> None:
    for dsn in dsns:
        with pytest.raises(BadInput, match=f"^LABKIT_POSTGRES_DSN {why}") as caught:
            check_dsn(dsn)

        assert "secret" not in str(caught.value)
