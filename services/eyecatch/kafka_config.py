"""Settings of Kafka: brokers and topics."""

import re
from dataclasses import dataclass
from typing import Any

from eyecatch.core.errors import InvalidInput
from eyecatch.settings import Settings, option

KAFKA = "Kafka"
SECURITY = ("PLAINTEXT", "SSL", "SASL_PLAINTEXT", "SASL_SSL")
SASL = ("PLAIN", "SCRAM-SHA-256", "SCRAM-SHA-512")


@dataclass(frozen=True)
class BrokerConfig(Settings):
    """How to reach the brokers."""

    kafka: str = option("", "Kafka brokers, host:port separated by commas.")
    kafka_security: str = option("PLAINTEXT", f"One of {', '.join(SECURITY)}.", KAFKA, choices=SECURITY)
    kafka_sasl: str = option("PLAIN", f"SASL mechanism: one of {', '.join(SASL)}.", KAFKA, choices=SASL)
    kafka_user: str = option("", "SASL user name.", KAFKA)
    kafka_password: str = option("", "SASL password.", KAFKA, secret=True)
    kafka_ca: str = option("", "File of the certificate authority (PEM) for TLS; empty = the system's.", KAFKA)
    kafka_timeout_s: float = option(10.0, "Seconds to wait for an answer of a broker.", KAFKA, low=1, high=300)

    def kafka_client(self) -> dict[str, Any]:
        """Options of every kafka-python client. Raises InvalidInput without brokers."""
        brokers = [b.strip() for b in self.kafka.split(",") if b.strip()]
        if not brokers or not all(re.fullmatch(r".+:\d{1,5}", broker) for broker in brokers):
            raise InvalidInput.of("kafka", self.kafka, "host:port of each broker, separated by commas")
        timeout_ms = round(self.kafka_timeout_s * 1000)
        options: dict[str, Any] = {
            "bootstrap_servers": brokers,
            "bootstrap_timeout_ms": timeout_ms,
            "request_timeout_ms": timeout_ms,
            "reconnect_backoff_max_ms": 2000,
            "security_protocol": self.kafka_security,
        }
        if "SSL" in self.kafka_security:
            options["ssl_cafile"] = self.kafka_ca or None
        if self.kafka_security.startswith("SASL"):
            options |= {
                "sasl_mechanism": self.kafka_sasl,
                "sasl_plain_username": self.kafka_user,
                "sasl_plain_password": self.kafka_password,
            }
        return options


@dataclass(frozen=True)
class EventsTopicConfig(Settings):
    """The topic of behaviour events."""

    events_topic: str = option(
        "behavior.events", "Topic of behaviour events; its dead letters are in <topic>.dlq.", KAFKA
    )


@dataclass(frozen=True)
class RequestsTopicConfig(Settings):
    """The topic of cover requests."""

    requests_topic: str = option(
        "covers.requested", "Topic of cover requests; its dead letters are in <topic>.dlq.", KAFKA
    )


@dataclass(frozen=True)
class KafkaConfig(BrokerConfig, EventsTopicConfig, RequestsTopicConfig):
    """The brokers and both topics."""
