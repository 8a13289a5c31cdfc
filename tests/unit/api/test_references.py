"""Pictures by address: fetched from allowed hosts alone, never through a redirect, and none holds up another call. Budgets of a request."""

import asyncio
import http.server
import io
import os
import threading
from collections.abc import Iterator
from contextlib import suppress
from pathlib import Path

import grpc
import pytest
from eyecatch.api.fetching import Fetcher
from eyecatch.api.references import NICENESS, References
from eyecatch.config import Config
from eyecatch.core.catalog import Picture
from eyecatch.core.errors import InvalidInput
from eyecatch.pictures import normalise
from eyecatch.stores.blobs import FsspecBlobs
from eyecatch.v1 import catalog_pb2, covers_pb2, types_pb2
from PIL import Image

from tests.fakes import picture
from tests.unit.api.conftest import Api


class Handler(http.server.BaseHTTPRequestHandler):
    def do_GET(self) -> None:
        if self.path == "/redirect":
            self.send_response(302)
            self.send_header("Location", "/a.png")
            self.end_headers()
            return
        if self.path == "/slow":
            self.send_response(200)
            self.end_headers()
            with suppress(OSError):
                while not self.server.closing.wait(0.05):  # type: ignore[attr-defined]
                    self.wfile.write(b"x")
            return
        body = {"/a.png": picture(), "/large": bytes(11 << 20)}.get(self.path, b"not a picture")
        self.send_response(404 if self.path == "/missing" else 200)
        self.send_header("Content-Length", str(len(body)))
        self.end_headers()
        self.wfile.write(body)

    def log_message(self, format: str, *args: object) -> None:
        pass


@pytest.fixture
def host() -> Iterator[str]:
    with http.server.ThreadingHTTPServer(("127.0.0.1", 0), Handler) as server:
        server.closing = threading.Event()  # type: ignore[attr-defined]
        thread = threading.Thread(target=server.serve_forever)
        thread.start()
        yield f"127.0.0.1:{server.server_port}"
        server.closing.set()  # type: ignore[attr-defined]
        server.shutdown()
        thread.join()


@pytest.fixture
def config(tmp_path: Path, host: str) -> Config:
    port = host.rpartition(":")[2]
    return Config(
        data_dir=str(tmp_path / "data"),
        port=0,
        allowed_hosts=f"example.org, {host}, localhost:{port}",
        drain_s=0.0,
        grace_s=0.0,
    )


def upsert(uri: str) -> catalog_pb2.UpsertItemsRequest:
    item = types_pb2.Item(id="a", title="t", references=[types_pb2.Image(uri=uri)])
    return catalog_pb2.UpsertItemsRequest(items=[item])


async def test_an_allowed_host_is_fetched_and_its_blob_can_be_named_again(api: Api, host: str) -> None:
    stored = await api.catalog.UpsertItems(upsert(f"http://{host}/a.png"))
    uri = stored.items[0].references[0].uri
    assert uri.startswith("blob:")
    again = await api.catalog.UpsertItems(upsert(uri))
    assert again.items[0].references[0].uri == uri
    assert len((await api.covers.ListCovers(covers_pb2.ListCoversRequest(item_id="a"))).covers) == 1


@pytest.mark.parametrize("path", ["redirect", "missing", "text", "large"])
async def test_what_does_not_answer_with_a_picture_is_refused(api: Api, host: str, path: str) -> None:
    refused = await api.refused(api.catalog.UpsertItems(upsert(f"http://{host}/{path}")))
    assert refused == {"items[0].references[0].uri"}


async def test_another_host_or_port_is_not(api: Api) -> None:
    for uri in (
        "http://127.0.0.1:1/a.png",
        "http://example.org.evil/a",
        "http://example.org@evil/a",
        "http://evil/example.org",
    ):
        assert await api.refused(api.catalog.UpsertItems(upsert(uri))) == {"items[0].references[0].uri"}


async def test_a_name_with_a_private_address_is_refused(api: Api, host: str) -> None:
    uri = f"http://localhost:{host.rpartition(':')[2]}/a.png"
    with pytest.raises(grpc.aio.AioRpcError, match=r"private address .* --allowed-private-hosts allows it"):
        await api.catalog.UpsertItems(upsert(uri))


async def test_a_name_may_have_a_private_address_where_that_is_allowed(host: str) -> None:
    name = f"localhost:{host.rpartition(':')[2]}"
    assert await Fetcher(private=frozenset({name})).fetch(f"http://{name}/a.png", "x") == picture()


async def test_the_deadline_is_that_of_the_whole_transfer(host: str) -> None:
    with pytest.raises(InvalidInput, match=r"not within 0.3 s"):
        await Fetcher(frozenset({host}), deadline_s=0.3).fetch(f"http://{host}/slow", "x")


async def test_a_slow_host_holds_up_no_other_call(api: Api, host: str) -> None:
    slow = asyncio.ensure_future(api.refused(api.catalog.UpsertItems(upsert(f"http://{host}/slow"))))
    await api.catalog.UpsertItems(upsert(f"http://{host}/a.png"))
    assert not slow.done()
    assert await slow == {"items[0].references[0].uri"}


def bomb() -> bytes:
    """40 megapixels in some kilobytes."""
    out = io.BytesIO()
    Image.new("1", (8000, 5000)).save(out, "PNG")
    return out.getvalue()


async def test_a_request_has_a_budget_of_pixels(api: Api) -> None:
    images = [types_pb2.Image(data=bomb())] * 6
    item = types_pb2.Item(id="a", title="t", references=images)
    refused = await api.refused(api.catalog.UpsertItems(catalog_pb2.UpsertItemsRequest(items=[item])))
    assert refused == {"items[0].references[5].data"}


async def test_pictures_are_decoded_below_the_priority_of_calls(monkeypatch: pytest.MonkeyPatch) -> None:
    priorities: list[int] = []

    def spy(data: bytes, field: str) -> Picture:
        priorities.append(os.getpriority(os.PRIO_PROCESS, threading.get_native_id()))
        return normalise(data, field)

    monkeypatch.setattr("eyecatch.api.references.normalise", spy)
    references = References(FsspecBlobs("memory://decoding"), Fetcher())
    await references.pictures([("a", types_pb2.Image(data=picture()))])
    assert priorities == [os.getpriority(os.PRIO_PROCESS, 0) + NICENESS]
