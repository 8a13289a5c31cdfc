"""Ingest and producer over TLS, against a real handshake with a certificate authority of the test's own."""

import ssl
from collections.abc import Iterator
from pathlib import Path

import pytest
import trustme
from eyecatch.core.errors import NotReady, Unavailable
from eyecatch.kafka.client import Brokers
from eyecatch.kafka.producer import Outgoing, Producer
from eyecatch.reader_config import IngestConfig
from eyecatch.wiring.ingest import ingesting

from tests import broker
from tests.contracts.builders import event
from tests.proxy import Proxy
from tests.unit.ingest.helpers import absorbed, record, settings
from tests.waiting import until

pytestmark = pytest.mark.server

Secured = tuple[broker.Broker, Proxy, trustme.CA]


@pytest.fixture(scope="module")
def secured() -> Iterator[Secured]:
    """The port of the proxy speaks TLS; the broker's own does not, and is what the test itself creates topics through."""
    authority, context = trustme.CA(), ssl.create_default_context(ssl.Purpose.CLIENT_AUTH)
    authority.issue_cert("127.0.0.1").configure_cert(context)
    with broker.running_behind_a_proxy(context) as (kafka, proxy):
        yield kafka, proxy, authority


def over_tls(secured: Secured, topic: str, folder: Path, authority: trustme.CA | None = None) -> IngestConfig:
    kafka, _, broker_authority = secured
    ca = folder / "ca.pem"
    (authority or broker_authority).cert_pem.write_to_path(str(ca))
    return settings(kafka, topic, folder, kafka_security="SSL", kafka_ca=str(ca))


async def test_events_go_there_and_come_back(secured: Secured, tmp_path: Path) -> None:
    config = over_tls(secured, "secured", tmp_path)
    brokers = Brokers(config.kafka_client())
    brokers.ensure("secured")
    brokers.close()
    producer = Producer(config.kafka_client())
    await producer.send(
        [Outgoing("secured", key, value) for key, value in record(event("e1", "mia"), event("e2", "noah"))]
    )
    await producer.close()
    async with ingesting(config) as running:
        await until(lambda: absorbed(running) == (2, 0), "both events")


def test_a_certificate_of_a_stranger_is_refused(secured: Secured, tmp_path: Path) -> None:
    config = over_tls(secured, "secured", tmp_path, trustme.CA())
    with pytest.raises(NotReady, match=r"certificate is not trusted .*--kafka-ca"):
        Brokers(config.kafka_client())


def test_an_authority_that_is_none(secured: Secured, tmp_path: Path) -> None:
    config = settings(secured[0], "secured", tmp_path, kafka_security="SSL", kafka_ca=str(tmp_path / "no.pem"))
    with pytest.raises(NotReady, match=r"no\.pem.*No such file"):
        Brokers(config.kafka_client())
    (tmp_path / "no.pem").write_text("no certificate")
    with pytest.raises(NotReady, match=r"no\.pem.*allowed: certificates in PEM"):
        Brokers(config.kafka_client())


def test_a_broker_that_speaks_no_tls(secured: Secured, kafka: broker.Broker, tmp_path: Path) -> None:
    config = over_tls((kafka, *secured[1:]), "secured", tmp_path)
    with pytest.raises(Unavailable, match="no broker listens"):
        Brokers(config.kafka_client())
