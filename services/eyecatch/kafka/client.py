"""What kafka-python complains about as our errors, in one place, and the topics as brokers describe them."""

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
    """Unavailable if it may pass, else NotReady. Messages name the broker's trouble, never a key or a value."""
    said = type(error).__name__
    if isinstance(error, _REFUSED):
        return NotReady(f"the broker refuses us ({said}); check user, password and the ACLs of topics and group")
    if isinstance(error, _TOO_LARGE):
        return NotReady("the broker takes no record of that size; raise max.message.bytes of the topic it goes to")
    if isinstance(error, kafka.UnsupportedCodecError):
        return NotReady(f"records are compressed in a way that needs another package ({error})")
    if isinstance(error, kafka.CorruptRecordError):
        return Unavailable(
            f"a batch of records came damaged ({error}); if it is so on every attempt, the log of that broker is"
        )
    if isinstance(error, kafka.UnsupportedVersionError | kafka.KafkaConfigurationError):
        return NotReady(f"the broker cannot do what is needed ({said}: {error})")
    if isinstance(error, _REARRANGED):
        return Unavailable(f"the group is being rearranged ({said})")
    if isinstance(error, kafka.KafkaError | OSError):
        return Unavailable(f"the broker does not answer ({said})")
    raise error


@contextmanager
def translated() -> Iterator[None]:
    """kafka-python's errors inside become ours."""
    try:
        yield
    except (kafka.KafkaError, OSError) as error:
        raise translate(error) from error


class _Socket(KafkaNetSocket):  # type: ignore[misc]  # kafka-python has no types
    """kafka-python leaves the socket of an attempt that failed to the garbage collector; while brokers are away there are many."""

    SCHEMES = ("direct",)

    def socket(self, *kind: Any) -> Any:
        self._made = super().socket(*kind)
        return self._made

    async def connect(self, *where: Any, **more: Any) -> Any:
        try:
            return await super().connect(*where, **more)
        except BaseException:
            self._made.close()
            raise


class _Client(KafkaNetClient):  # type: ignore[misc]  # kafka-python has no types
    """kafka-python also leaves a socket behind that has a request half written when its client closes."""

    def close(self, node_id: Any = None) -> None:
        links = [c.transport for c in list(self._manager._conns.values()) if c.transport] if node_id is None else []
        super().close(node_id)
        for link in links:
            if link._sock is not None:
                link._sock.close()


def connected(kind: Callable[..., T], options: Options) -> T:
    """A client of that kind, which creates no topic by asking for it. Raises Unavailable, NotReady."""
    batches.install()
    _knock(options)
    opened: list[_Client] = []

    def client(**configs: Any) -> _Client:
        # options that the clients do not hand on: a connection that is accepted and then silent would hold us up for longer, and
        # what subscribes would create a topic that is not there
        limit_ms = options["request_timeout_ms"]
        setup = {"socket_connection_setup_timeout_ms": limit_ms, "socket_connection_setup_timeout_max_ms": limit_ms}
        opened.append(_Client(**configs, **setup))
        opened[-1].cluster.config["allow_auto_create_topics"] = False
        return opened[-1]

    try:
        with translated():
            return kind(kafka_client=client, proxy_url=f"{_Socket.SCHEMES[0]}:", **options)
    except EyecatchError:
        # kafka-python leaves its threads and sockets behind when it fails in here, and we may try often
        for each in opened:
            each.close()
        raise


def _knock(options: Options) -> None:
    """Whether anybody listens, asked first: the answer comes sooner and says more than that of a client that cannot connect."""
    tls, refusals = _tls(options), []
    for address in options["bootstrap_servers"]:
        host, _, port = address.rpartition(":")
        try:
            with socket.create_connection((host, int(port)), options["request_timeout_ms"] / 1000) as link:
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
    """`id` is "" where brokers tell none (before Kafka 2.8)."""

    id: str
    partitions: int


class Brokers:
    """The topics of a cluster. Connects on construction; every method blocks. Raises Unavailable, NotReady."""

    def __init__(self, options: Options) -> None:
        self._admin = connected(KafkaAdminClient, options)

    def topic(self, name: str) -> Topic | None:
        """None if there is none of that name."""
        with translated():
            (found,) = self._admin.describe_topics([name])
        if found["error_code"] == kafka.UnknownTopicOrPartitionError.errno or not found["partitions"]:
            return None
        if found["error_code"]:
            raise Unavailable(f"the broker cannot describe {name} (error {found['error_code']})")
        id = str(found["topic_id"] or "")
        return Topic("" if set(id) <= set("0-") else id, len(found["partitions"]))

    def ensure(self, name: str, partitions: int = 1) -> None:
        """Create the topic with the cluster's own replication if it does not exist."""
        if self.topic(name) is not None:
            return
        with translated(), suppress(kafka.TopicAlreadyExistsError):
            self._admin.create_topics([NewTopic(name, partitions, -1)])

    def close(self) -> None:
        self._admin.close()
