"""Pictures by address: fetched from allowed hosts alone, never through a redirect."""

import http.server
import threading
from collections.abc import Iterator
from pathlib import Path

import pytest
from eyecatch.config import Config
from eyecatch.v1 import catalog_pb2, covers_pb2, types_pb2

from tests.fakes import picture
from tests.unit.api.conftest import Api


class Handler(http.server.BaseHTTPRequestHandler):
    def do_GET(self) -> None:
        if self.path == "/redirect":
            self.send_response(302)
            self.send_header("Location", "/a.png")
            self.end_headers()
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
        thread = threading.Thread(target=server.serve_forever)
        thread.start()
        yield f"127.0.0.1:{server.server_port}"
        server.shutdown()
        thread.join()


@pytest.fixture
def config(tmp_path: Path, host: str) -> Config:
    return Config(data_dir=str(tmp_path / "data"), port=0, allowed_hosts=f"example.org, {host}", drain_s=0.0)


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
