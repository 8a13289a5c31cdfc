"""Clients of kafka-python: connecting, errors of kafka-python -> errors of the core, and topics."""

import socket
import ssl
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager, suppress
from typing import Any, NamedTuple, TypeVar

from kafka import KafkaAdminClient
from kafka import errors as kafka
from kafka.admin import NewTopic
from kafka.net.compat import KafkaNetClient
from kafka.net.inet import KafkaNetSocket

from eyecatch.addresses import bare, split
from eyecatch.core.errors import EyecatchError, NotReady, Unavailable
from eyecatch.kafka import batches

T = TypeVar("T")
Options = Mapping[str, Any]
"""Keyword arguments of every kafka-python client: brokers, timeouts, security."""

_REFUSED = (
    kafka.AuthorizationError,
    kafka.SaslAuthenticationFailedError,
    kafka.UnsupportedSaslMechanismError,
    kafka.IllegalSaslStateError,
)
_REARRANGED = (
    kafka.RebalanceInProgressError,
    kafka.IllegalGenerationError,
    kafka.UnknownMemberIdError,
    kafka.CommitFailedError,
)
_TOO_LARGE = (kafka.MessageSizeTooLargeError, kafka.RecordListTooLargeError)


def translate(error: Exception) -> EyecatchError:
    """Unavailable if it may pass, else NotReady. Messages name the broker's problem, never a key or a value."""
    name = type(error).__name__
    if isinstance(error, _REFUSED):
        return NotReady(f"the broker refuses us ({name}); check user, password and the ACLs of topics and group")
    if isinstance(error, _TOO_LARGE):
        return NotReady("the broker refuses a record of this size; raise max.message.bytes of its topic")
    if isinstance(error, kafka.UnsupportedCodecError):
        return NotReady(f"records have a compression that needs another package ({error})")
    if isinstance(error, kafka.CorruptRecordError):
        return Unavailable(
            f"a batch of records is damaged ({error}); if this persists, the log of that broker is damaged"
        )
    if isinstance(error, kafka.UnsupportedVersionError | kafka.KafkaConfigurationError):
        return NotReady(f"the broker lacks a feature that is needed ({name}: {error})")
    if isinstance(error, _REARRANGED):
        return Unavailable(f"the group is rebalancing ({name})")
    if isinstance(error, kafka.KafkaError | OSError):
        return Unavailable(f"the broker does not answer ({name})")
    raise error


@contextmanager
def translated() -> Iterator[None]:
    """Turn errors of kafka-python that are raised inside into errors of the core."""
    try:
        yield
    except (kafka.KafkaError, OSError) as error:
        raise translate(error) from error


class _Socket(KafkaNetSocket):  # type: ignore[misc]  # kafka-python has no types
    """Closes the socket of a failed attempt, which kafka-python leaves open; there are many while brokers are unreachable."""

    SCHEMES = ("direct",)

    def dns_lookup(self, host: str, port: int, raise_error: bool = False) -> Any:
        return super().dns_lookup(
            bare(host), port, raise_error
        )  # some brokers advertise an address of version 6 in brackets

    def socket(self, *kind: Any) -> Any:
        self._latest = super().socket(*kind)
        return self._latest

    async def connect(self, *args: Any, **kwargs: Any) -> Any:
        try:
            return await super().connect(*args, **kwargs)
        except BaseException:
            self._latest.close()
            raise


class _Client(KafkaNetClient):  # type: ignore[misc]  # kafka-python has no types
    """Also closes sockets with a half written request, which kafka-python leaves open when its client closes."""

    def close(self, node_id: Any = None) -> None:
        links = [c.transport for c in list(self._manager._conns.values()) if c.transport] if node_id is None else []
        super().close(node_id)
        for link in links:
            if link._sock is not None:
                link._sock.close()


def connected(kind: Callable[..., T], options: Options) -> T:
    """A connected client of this class, which creates no topics by reading them. Raises Unavailable, NotReady."""
    batches.install()
    _check_listening(options)
    clients: list[_Client] = []

    def client(**configs: Any) -> _Client:
        # Options that kafka-python does not pass on. Without them a silent connection blocks for longer, and
        # a subscription creates a missing topic.
        limit_ms = options["request_timeout_ms"]
        setup = {"socket_connection_setup_timeout_ms": limit_ms, "socket_connection_setup_timeout_max_ms": limit_ms}
        clients.append(_Client(**configs, **setup))
        clients[-1].cluster.config["allow_auto_create_topics"] = False
        return clients[-1]

    try:
        with translated():
            return kind(kafka_client=client, proxy_url=f"{_Socket.SCHEMES[0]}:", **options)
    except EyecatchError:
        # kafka-python leaves its threads and sockets open when it fails here, and we may try often.
        for each in clients:
            each.close()
        raise


def _check_listening(options: Options) -> None:
    """Raises if no broker listens: earlier, and with more details than a client that cannot connect."""
    tls, refusals = _tls(options), []
    for address in options["bootstrap_servers"]:
        host, port = split(address)
        try:
            with socket.create_connection((host, port), options["request_timeout_ms"] / 1000) as link:
                if tls is not None:
                    tls.wrap_socket(link, server_hostname=host).close()
        except ssl.SSLCertVerificationError as error:
            raise NotReady(
                f"{address}: its certificate is not trusted ({error.verify_message}); see --kafka-ca"
            ) from error
        except OSError as error:
            refusals.append(f"{address}: {error.strerror or error}")
        else:
            return
    raise Unavailable(f"no broker listens ({'; '.join(refusals)})")


def _tls(options: Options) -> ssl.SSLContext | None:
    if "SSL" not in options["security_protocol"]:
        return None
    try:
        return ssl.create_default_context(cafile=options["ssl_cafile"])
    except OSError as error:  # ssl.SSLError is one
        raise NotReady(
            f"--kafka-ca={options['ssl_cafile']!r}: {error.strerror or error}; allowed: certificates in PEM"
        ) from error


class Topic(NamedTuple):
    """`id` is "" for brokers before Kafka 2.8, which have no topic ids."""

    id: str
    partitions: int


def topic_name(topic: Topic, epoch: int) -> str:
    """The id of a log: that of its topic, and the epoch by which operators tell recreated topics without ids apart."""
    return f"{topic.id}.{epoch}" if epoch else topic.id


class Brokers:
    """The topics of a cluster. Connects on construction; every method blocks. Raises Unavailable, NotReady."""

    def __init__(self, options: Options) -> None:
        self._admin = connected(KafkaAdminClient, options)

    def topic(self, name: str) -> Topic | None:
        """The topic, or None if it does not exist."""
        with translated():
            (topic,) = self._admin.describe_topics([name])
        if topic["error_code"] == kafka.UnknownTopicOrPartitionError.errno or not topic["partitions"]:
            return None
        if topic["error_code"]:
            raise Unavailable(f"the broker cannot describe {name} (error {topic['error_code']})")
        id = str(topic["topic_id"] or "")
        return Topic("" if set(id) <= set("0-") else id, len(topic["partitions"]))

    def ensure(self, name: str, partitions: int = 1) -> None:
        """Create the topic with the cluster's own replication if it does not exist."""
        if self.topic(name) is not None:
            return
        with translated(), suppress(kafka.TopicAlreadyExistsError):
            self._admin.create_topics([NewTopic(name, partitions, -1)])

    def close(self) -> None:
        self._admin.close()
