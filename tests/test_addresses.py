"""Which URLs a trial may call; nothing here is resolved or connected to."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from labkit.errors import BadInput
from labkit.spec import addresses
from labkit.spec.addresses import check_dsn, check_remote, check_url, is_loopback, is_remote

LOOPBACK = ["127.0.0.1", "127.255.0.9", "::1", "localhost", "a.localhost"]
ELSEWHERE = [
    "0.0.0.0",  # noqa: S104 - nothing listens there
    "::", "10.0.0.1", "128.0.0.1", "126.255.255.255", "fe80::1", "example.com",
    "localhost.example.com", "notlocalhost", "127.0.0.1.example.com", "127.1", "2130706433",
    "0x7f.1", "0177.0.0.1", "",
]  # fmt: skip


def url_of(host: str) -> str:
    return f"http://[{host}]/" if ":" in host else f"http://{host}/"


@pytest.mark.parametrize("host", LOOPBACK)
def test_loopback_may_be_called(host: str) -> None:
    assert is_loopback(host)
    assert not is_remote(url_of(host))
    check_url(url_of(host))


@pytest.mark.parametrize("host", ELSEWHERE)
def test_nothing_else_counts_as_loopback(host: str) -> None:
    assert not is_loopback(host)
    assert is_remote(url_of(host))


@given(st.ip_addresses().filter(lambda address: not address.is_loopback))
def test_no_other_address_may_be_called(address: object) -> None:
    with pytest.raises(BadInput, match="only loopback"):
        check_url(url_of(str(address)))


@pytest.mark.parametrize(
    "url",
    [
        "http://127.0.0.1", "http://127.0.0.1:9000", "https://127.0.0.1/x", "http://[::1]:80/a?b=c",
        "http://localhost/{item}?page=1&q=%20", "HTTP://LOCALHOST/", "http://a.b.localhost:1/",
    ],
)  # fmt: skip
def test_urls_that_may_be_called(url: str) -> None:
    check_url(url)


@pytest.mark.parametrize(
    ("url", "why"),
    [
        ("", "scheme must be http or https"),
        ("127.0.0.1:9000", "scheme must be http or https"),
        ("ftp://127.0.0.1/", "scheme must be http or https"),
        ("file:///etc/passwd", "scheme must be http or https"),
        ("unix:///run/x", "scheme must be http or https"),
        ("javascript:alert(1)", "scheme must be http or https"),
        ("http://", "no host"),
        ("http:///x", "no host"),
        ("http:127.0.0.1", "no host"),
        ("http://:80/", "no host"),
        ("http://[::1/", "does not parse"),
        ("http://127.0.0.1:99999/", "does not parse"),
        ("http://127.0.0.1:x/", "does not parse"),
        ("http://::1/", "does not parse"),
        ("http://127.0.0.1/#top", "fragment"),
        ("http://127.0.0.1/a b", "printable ASCII"),
        ("http://127.0.0.1/\r\nHost: x", "printable ASCII"),
        ("http://127.0.0.1/\t", "printable ASCII"),
        ("http://127.0.0.1/\x00", "printable ASCII"),
        ("http://127.0.0.1/é", "printable ASCII"),
        ("http://127.0.0.1\n/", "printable ASCII"),
        ("http://127.0.0.1?q=é", "printable ASCII"),
        ("http://10.0.0.1/", "only loopback"),
        ("http://127.0.0.1.example.invalid/", "only loopback"),
        ("http://127.0.0.1%2eexample.invalid/", "a name or an address"),
        ("http://example.invalid\\.127.0.0.1/", "a name or an address"),
        ("http://[::ffff:10.0.0.1]/", "only loopback"),
    ],
)
def test_a_refusal_names_the_field_the_value_and_why(url: str, why: str) -> None:
    with pytest.raises(BadInput) as caught:
        check_url(url)

    message = str(caught.value)
    assert message.startswith(f"target.url is {url!r}: ")
    assert why in message
    assert "\n" not in message


@pytest.mark.parametrize(
    "url",
    [
        "http://user:secret@127.0.0.1/",
        "http://secret@127.0.0.1/",
        "http://127.0.0.1:80@secret.example/",
        "http://127.0.0.1\\@secret.example/",
        *(
            pytest.param(
                url,
            )
            for url in (
                "ftp://user:secret@127.0.0.1/",
                "http://user:secret@127.0.0.1:99999/",
                "http://user:secret@",
                "http://user:sec ret@127.0.0.1/?secret",
                "user:secret@127.0.0.1",
            )
        ),
    ],
)
def test_a_user_or_password_is_refused_and_not_repeated(url: str) -> None:
    with pytest.raises(BadInput, match="'@'") as caught:
        check_url(url)

    assert "secret" not in str(caught.value)


@pytest.mark.parametrize(
    "host",
    [
        "[::1]example.invalid", "example.invalid[::1]", "[::1%25example.invalid]",
        "example.invalid\\x.localhost", "example.invalid;.localhost", "a%00.localhost",
    ],
)  # fmt: skip
def test_a_host_that_is_neither_a_name_nor_an_address_is_refused(host: str) -> None:
    with pytest.raises(BadInput):
        check_url(f"http://{host}/")


def test_a_remote_host_may_be_called_only_by_the_name_that_was_allowed() -> None:
    check_url("http://example.invalid:8080/x", "example.invalid")
    check_url("http://EXAMPLE.invalid/", "example.invalid")

    for other in ("example", "invalid", "www.example.invalid", "", "*", "127.0.0.1"):
        with pytest.raises(BadInput, match=r"--allow-remote example\.invalid"):
            check_url("http://example.invalid/", other)


def test_a_remote_host_is_sent_no_more_than_the_caps() -> None:
    most = {"requests": addresses.MAX_REMOTE_REQUESTS, "limit": addresses.MAX_REMOTE_LIMIT}

    check_remote("http://example.invalid/", **most)
    check_remote("http://127.0.0.1/", requests=10**8, limit=10**6)
    for name, value in most.items():
        with pytest.raises(BadInput, match="at most 10,000 requests at limit 50"):
            check_remote("http://example.invalid/", **{**most, name: value + 1})


# PostgreSQL


@pytest.mark.parametrize(
    "dsn",
    [
        "postgresql://127.0.0.1",
        "postgres://me:secret@localhost:5433/data",
        "postgresql://me@[::1]:5432/data?sslmode=disable",
        "postgresql:///data?host=/run/postgresql&port=5432",
        "postgresql://me@/data?host=/tmp/x",
    ],
)
def test_a_postgresql_on_this_machine_may_be_loaded(dsn: str) -> None:
    check_dsn(dsn)
    assert not is_remote(dsn)


@pytest.mark.parametrize(
    ("dsn", "why"),
    [
        ("", "is no URL of a PostgreSQL"),
        ("host=127.0.0.1 dbname=secret", "is no URL of a PostgreSQL"),
        ("http://secret@127.0.0.1", "is no URL of a PostgreSQL"),
        ("postgresql://[secret", "does not parse"),
        ("postgresql:///secret", "names a host that is not loopback, or none"),
        ("postgresql://secret@db.invalid/x", "names a host that is not loopback, or none"),
        ("postgresql://secret@db.localhost/x", "names a host that is not loopback, or none"),
        ("postgresql://secret@127.0.0.1,10.0.0.1/x", "names a host that is not loopback, or none"),
        ("postgresql://secret@127.0.0.1/x?host=10.0.0.1", "names a host that is not loopback"),
        ("postgresql://secret@/x?host=/tmp,10.0.0.1", "names a host that is not loopback"),
        ("postgresql://secret@127.0.0.1/x?hostaddr=10.0.0.1", "sets 'hostaddr'"),
        ("postgresql://secret@127.0.0.1/x?service=other", "sets 'service'"),
        # Where the host begins, drivers read from the first '@'; libpq knows no '#' and looks for
        # it behind a '?' as well.
        ("postgresql://secret@db.invalid,@127.0.0.1/x", "holds an '@' that is not the one before"),
        ("postgresql://127.0.0.1#secret@db.invalid/x", "holds an '@' that is not the one before"),
        ("postgresql://127.0.0.1?user=secret@db.invalid", "holds an '@' that is not the one"),
        ("postgresql://secret@127.0.0.1#x", "holds an '@' that is not the one before its host, a"),
        ("postgresql://secret@127.0.0.1%3A5432.invalid/x", "names a host that is not loopback"),
        ("postgresql://secret@%5B127.0.0.1%5D.invalid/x", "names a host that is not loopback"),
        ("postgresql://secret@127.0.0.1:secret/x", "does not parse"),
        ("postgresql://secret@127.0.0.1/x?port=5432,secret", "does not parse"),
        ("postgresql://secret@[::1].invalid/x", "does not parse"),
    ],
)
def test_any_other_is_refused_and_not_repeated(dsn: str, why: str) -> None:
    with pytest.raises(BadInput, match=f"^LABKIT_POSTGRES_DSN {why}") as caught:
        check_dsn(dsn)

    assert "secret" not in str(caught.value)
    if "host that" in why:
        assert is_remote(dsn)
