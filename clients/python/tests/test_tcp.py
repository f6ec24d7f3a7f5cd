"""Both clients over TCP: certificates and tokens."""

from __future__ import annotations

import contextlib
import os
import socket

import pytest
import trustme

import linkkit_sidecar as lk


@pytest.fixture(scope="module")
def files(tmp_path_factory):
    """A certificate authority's files: its own, the sidecar's and an app's."""
    directory = tmp_path_factory.mktemp("tls")
    authority = trustme.CA()
    authority.cert_pem.write_to_path(directory / "ca.pem")
    for name, issued in (("server", authority.issue_cert("localhost", "127.0.0.1")), ("app", authority.issue_cert("app.example", common_name="app"))):
        issued.cert_chain_pems[0].write_to_path(directory / f"{name}.pem")
        issued.private_key_pem.write_to_path(directory / f"{name}.key")
        os.chmod(directory / f"{name}.key", 0o600)
    trustme.CA().cert_pem.write_to_path(directory / "other-ca.pem")
    (directory / "token").write_text("a-token-that-is-long-enough-0123456789\n")
    os.chmod(directory / "token", 0o600)
    return directory


@pytest.fixture
def served():
    """Starts a sidecar on TCP; it gives its address."""
    with contextlib.ExitStack() as running:
        yield lambda *args: running.enter_context(lk.Sidecar(address="localhost:0", args=args)).address


def test_mutual_tls(make_client, served, files):
    address = served(
        *("--tls-cert-file", str(files / "server.pem"), "--tls-key-file", str(files / "server.key")), "--client-ca-file", str(files / "ca.pem")
    )
    own = {"cert_file": str(files / "app.pem"), "key_file": str(files / "app.key")}
    with make_client(address, ca_file=str(files / "ca.pem"), **own) as client:
        assert list(client.list_devices()) == []
        with client.events() as events:
            assert isinstance(events.next(10), lk.Snapshot)
    for refused in ({"ca_file": str(files / "ca.pem")}, {"ca_file": str(files / "other-ca.pem"), **own}):
        with (
            make_client(address, start_timeout=0.5, **refused) as client,
            pytest.raises(lk.SidecarUnavailableError, match="failed to connect"),
        ):
            list(client.list_devices())


def test_a_token(make_client, served, files):
    address = served(*("--tls-cert-file", str(files / "server.pem"), "--tls-key-file", str(files / "server.key")), "--token-file", str(files / "token"))
    with make_client(address, ca_file=str(files / "ca.pem"), token_file=str(files / "token")) as client:
        assert list(client.list_devices()) == []
        with client.events() as events:
            assert isinstance(events.next(10), lk.Snapshot)
    with make_client(address, ca_file=str(files / "ca.pem")) as client:
        with pytest.raises(lk.CallerError) as raised:
            list(client.list_devices())
        assert raised.value.reason == "CALLER_UNKNOWN"
        with client.events() as events, pytest.raises(lk.CallerError):
            events.next(10)


def test_nobody_listens(make_client):
    with socket.socket() as taken:
        taken.bind(("127.0.0.1", 0))
        address = f"127.0.0.1:{taken.getsockname()[1]}"
        with make_client(address, start_timeout=0.3) as client, pytest.raises(lk.SidecarUnavailableError, match=address):
            client.get_device()
