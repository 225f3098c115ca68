"""TLS with certificates on both sides, and its least version."""

import ssl
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pytest
from canary import secret
from real import broker as world
from real.broker import Broker, Certificates
from real.mqtt_sinks import RESULTS, Sinks, deliveries, received, refused

from agent.errors import Cause, ConfigError
from agent.flow import Outcome

pytestmark = pytest.mark.skipif(bool(world.MISSING), reason=world.REASON)


@pytest.fixture(scope="module")
def certificates(tmp_path_factory: pytest.TempPathFactory) -> Certificates:
    return world.make_certificates(tmp_path_factory.mktemp("ca"))


@pytest.fixture(scope="module")
def own(certificates: Certificates) -> Certificates:
    return certificates.issue("yard")


@pytest.fixture
def strict(tmp_path: Path, certificates: Certificates, own: Certificates) -> Iterator[Broker]:
    broker = Broker(tmp_path / "strict", certificates=certificates, demands=own).start()
    yield broker
    broker.stop()


@pytest.fixture
def make(tmp_path: Path) -> Iterator[Sinks]:
    with Sinks(tmp_path) as sinks:
        yield sinks


def tls(certificates: Certificates, own: Certificates | None = None, **more: Any) -> dict[str, Any]:
    shown = {} if own is None else {"client_certificate": str(own.certificate), "client_key": str(own.key)}
    return {"ca_file": str(certificates.ca), **shown, **more}


def test_a_broker_that_demands_a_certificate_lets_ours_in(
    strict: Broker, make: Sinks, certificates: Certificates, own: Certificates
) -> None:
    sink = make(strict.port, tls=tls(certificates, own))
    with strict.subscribe(RESULTS) as subscriber:
        sink.open()
        assert sink.send(deliveries(20)) == [Outcome.ACCEPTED] * 20
        world.wait_until(lambda: len(received(subscriber)) == 20, "20 results")


def test_certificate_and_key_may_be_one_file(strict: Broker, make: Sinks, own: Certificates, tmp_path: Path) -> None:
    (tmp_path / "both.pem").write_text(own.certificate.read_text() + own.key.read_text())
    sink = make(strict.port, tls={"ca_file": str(own.ca), "client_certificate": "both.pem"})
    sink.open()
    assert sink.send(deliveries(1)) == [Outcome.ACCEPTED]


def test_an_encrypted_key_is_opened_with_its_password_and_never_asked_for_at_a_terminal(
    strict: Broker, make: Sinks, certificates: Certificates, tmp_path: Path
) -> None:
    locked = certificates.issue("locked", password=secret("open sesame"))
    (tmp_path / "right").write_text(secret("open sesame") + "\n")
    (tmp_path / "wrong").write_text(secret("close sesame"))
    sink = make(strict.port, tls=tls(certificates, locked, client_key_password={"file": "right"}))
    sink.open()
    assert sink.send(deliveries(1)) == [Outcome.ACCEPTED]
    for more, words in [({}, "set tls.client_key_password"), ({"file": "wrong"}, "mend tls.client_key_password")]:
        password = {"client_key_password": more} if more else {}
        with pytest.raises(ConfigError, match=words) as caught:
            make(strict.port, tls=tls(certificates, locked, **password)).open()
        assert "sesame" not in str(caught.value)


@pytest.mark.parametrize("version", ["tlsv1.2", "tlsv1.3"])
def test_without_the_certificate_that_the_broker_demands_the_error_says_what_to_set(
    tmp_path: Path, certificates: Certificates, own: Certificates, version: str
) -> None:
    settings = (f"tls_version {version}",)
    broker = Broker(tmp_path / "b", certificates=certificates, demands=own, settings=settings).start()
    try:
        error = refused(Sinks(tmp_path)(broker.port, tls=tls(certificates)))
    finally:
        broker.stop()
    assert "if it asks for a client certificate, set tls.client_certificate" in str(error)


def test_a_certificate_of_a_ca_that_the_broker_does_not_know_is_a_clear_error(
    strict: Broker, make: Sinks, certificates: Certificates, tmp_path: Path
) -> None:
    stranger = world.make_certificates(tmp_path / "other").issue("stranger")
    error = refused(make(strict.port, tls=tls(certificates, stranger)))
    assert "does it trust the CA of tls.client_certificate?" in str(error)


def test_files_that_cannot_be_used_are_configuration_errors(
    make: Sinks, certificates: Certificates, own: Certificates, tmp_path: Path
) -> None:
    other = certificates.issue("other")
    (tmp_path / "nonsense").write_text("nonsense")
    cases = [
        ({"client_certificate": "absent.crt"}, r"tls.client_certificate .*absent.crt cannot be read"),
        (
            {"client_certificate": str(own.certificate), "client_key": "absent.key"},
            r"tls.client_key .*absent.key cannot",
        ),
        ({"client_certificate": str(own.certificate), "client_key": str(other.key)}, "does not belong to"),
        ({"client_certificate": "nonsense", "client_key": "nonsense"}, "are not a certificate and its key"),
        ({"client_certificate": str(own.certificate)}, "are not a certificate and its key"),
    ]
    for settings, words in cases:
        with pytest.raises(ConfigError, match=words):
            make(1, tls={"ca_file": str(certificates.ca), **settings}).open()


def test_a_broker_with_tls_1_3_only_is_fine_by_default(tmp_path: Path, make: Sinks, certificates: Certificates) -> None:
    broker = Broker(tmp_path / "new", certificates=certificates, settings=("tls_version tlsv1.3",)).start()
    try:
        for least in ("1.2", "1.3"):
            sink = make(broker.port, tls=tls(certificates, min_version=least))
            sink.open()
            assert sink.send(deliveries(1)) == [Outcome.ACCEPTED]
            sink.close()
    finally:
        broker.stop()


def test_a_broker_with_tls_1_2_at_most_is_used_by_default_and_not_with_1_3(
    make: Sinks, certificates: Certificates
) -> None:
    with old_tls(certificates) as (port, spoken):
        error = refused(make(port, tls=tls(certificates, min_version="1.3")))
        assert error.cause is Cause.TLS
        assert "does not speak TLS 1.3 or later; renew the broker, or lower tls.min_version" in str(error)
        assert "hung up without an MQTT answer" in str(refused(make(port, tls=tls(certificates))))
        assert spoken == ["TLSv1.2"]


@contextmanager
def old_tls(certificates: Certificates) -> Iterator[tuple[int, list[str | None]]]:
    """A port with TLS 1.2 at most, which Mosquitto cannot be set to; it ends each connection after the handshake."""
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.load_cert_chain(certificates.certificate, certificates.key)
    context.maximum_version = ssl.TLSVersion.TLSv1_2
    spoken: list[str | None] = []
    with world.listening() as listener:

        def serve() -> None:
            for _ in range(2):
                connection, _peer = listener.accept()
                connection.settimeout(10)
                with connection:
                    try:
                        with context.wrap_socket(connection, server_side=True) as secured:
                            spoken.append(secured.version())
                            secured.recv(1)
                    except ssl.SSLError:
                        continue

        thread = threading.Thread(target=serve, daemon=True)
        thread.start()
        yield int(listener.getsockname()[1]), spoken
        thread.join(10)
