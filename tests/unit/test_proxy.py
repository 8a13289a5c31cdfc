"""The proxy's faults as a client sees them."""

import socket
import threading
import time
from collections.abc import Iterator

import pytest

from tests.proxy import Proxy


def _echo(listener: socket.socket) -> None:
    def answer(client: socket.socket) -> None:
        with client:
            try:
                while data := client.recv(100):
                    client.sendall(data)
            except OSError:
                return

    while True:
        try:
            client, _ = listener.accept()
        except OSError:
            return
        threading.Thread(target=answer, args=(client,), daemon=True).start()


@pytest.fixture
def proxy() -> Iterator[Proxy]:
    with socket.create_server(("127.0.0.1", 0)) as listener:
        thread = threading.Thread(target=_echo, args=(listener,), daemon=True)
        thread.start()
        between = Proxy(listener.getsockname()[1])
        yield between
        between.close()
        listener.shutdown(socket.SHUT_RDWR)
        thread.join()


def dial(proxy: Proxy) -> socket.socket:
    return socket.create_connection(("127.0.0.1", proxy.port), timeout=5)


def ask(client: socket.socket) -> bytes:
    client.sendall(b"hello")
    return client.recv(100)


def test_it_forwards_and_lets_go(proxy: Proxy) -> None:
    with dial(proxy) as client:
        assert ask(client) == b"hello"
        client.shutdown(socket.SHUT_WR)
        assert client.recv(100) == b""


def test_a_reset(proxy: Proxy) -> None:
    with dial(proxy) as client:
        ask(client)
        proxy.reset()
        with pytest.raises(ConnectionResetError):
            client.recv(100)
    with dial(proxy) as client:
        assert ask(client) == b"hello"


def test_a_cut_lasts_until_it_is_mended(proxy: Proxy) -> None:
    with dial(proxy) as client:
        ask(client)
        proxy.cut()
        with pytest.raises(ConnectionResetError):
            client.recv(100)
    with pytest.raises(ConnectionRefusedError):
        dial(proxy)
    proxy.mend()
    with dial(proxy) as client:
        assert ask(client) == b"hello"


def test_a_delay(proxy: Proxy) -> None:
    proxy.delay(0.1)
    with dial(proxy) as client:
        started = time.monotonic()
        assert ask(client) == b"hello"
        assert time.monotonic() - started >= 0.2, "there and back"


def test_half_open_connections_hear_nothing_and_are_not_closed(proxy: Proxy) -> None:
    with dial(proxy) as client:
        ask(client)
        proxy.half_open()
        with dial(proxy) as later:
            for each in (client, later):
                each.settimeout(0.2)
                with pytest.raises(TimeoutError):
                    ask(each)
            proxy.mend()
            with pytest.raises(TimeoutError):
                ask(later)
    with dial(proxy) as client:
        assert ask(client) == b"hello"
