"""The Catalog service: stores, returns and deletes items."""

import asyncio
from collections.abc import Callable, Iterable
from itertools import islice
from typing import Any

from eyecatch.api import wire
from eyecatch.api.references import References
from eyecatch.api.status import unary
from eyecatch.core import limits
from eyecatch.core.catalog import Catalog, IncomingItem
from eyecatch.core.errors import NotFound
from eyecatch.core.recommending.pools import Pools
from eyecatch.core.types import Item
from eyecatch.v1 import catalog_pb2, catalog_pb2_grpc


class CatalogServicer(catalog_pb2_grpc.CatalogServiceServicer):
    def __init__(
        self, catalog: Catalog, references: References, pools: Pools, on_first_pictures: Callable[[Iterable[str]], None]
    ) -> None:
        self._catalog, self._references, self._pools = catalog, references, pools
        self._on_first_pictures = on_first_pictures
        # The judges rate the pictures of one call at a time.
        self._storing = asyncio.Lock()

    @unary
    async def UpsertItems(
        self, request: catalog_pb2.UpsertItemsRequest, context: Any
    ) -> catalog_pb2.UpsertItemsResponse:
        check = limits.Check()
        check.count("items", len(request.items), 1, limits.MAX_BATCH)
        check.done()
        items = [Item(i.id, i.title, i.category) for i in request.items]
        check.ids("items", [i.id for i in items])
        for n, (item, message) in enumerate(zip(items, request.items, strict=True)):
            check.item(f"items[{n}]", item)
            check.count(f"items[{n}].references", len(message.references), 0, limits.MAX_REFERENCES)
        check.done()
        images = [
            (f"items[{n}].references[{m}]", image)
            for n, message in enumerate(request.items)
            for m, image in enumerate(message.references)
        ]
        pictures = iter(await self._references.pictures(images))
        incoming = [
            IncomingItem(item, tuple(islice(pictures, len(message.references))))
            for item, message in zip(items, request.items, strict=True)
        ]
        ids = {i.item.id for i in incoming if i.pictures}
        async with self._storing:
            illustrated = {id for id, pool in (await self._catalog.store.pools(sorted(ids))).items() if pool}
            stored = await self._catalog.upsert(incoming)
        self._pools.drop([i.id for i in stored])
        self._on_first_pictures(ids - illustrated)
        return catalog_pb2.UpsertItemsResponse(items=[wire.item_to_wire(i) for i in stored])

    @unary
    async def GetItem(self, request: catalog_pb2.GetItemRequest, context: Any) -> catalog_pb2.GetItemResponse:
        limits.check_id("item_id", request.item_id)
        item = await self._catalog.store.item(request.item_id)
        if item is None:
            raise NotFound("item", request.item_id)
        return catalog_pb2.GetItemResponse(item=wire.item_to_wire(item))

    @unary
    async def ListItems(self, request: catalog_pb2.ListItemsRequest, context: Any) -> catalog_pb2.ListItemsResponse:
        check = limits.Check()
        check.count("page_size", request.page_size, 0, limits.MAX_PAGE)
        check.text("category", request.category, limits.MAX_CATEGORY, optional=True)
        check.done()
        page = await self._catalog.store.items(request.page_size or 100, request.page_token, request.category)
        return catalog_pb2.ListItemsResponse(
            items=[wire.item_to_wire(i) for i in page.rows], next_page_token=page.next_token
        )

    @unary
    async def DeleteItem(self, request: catalog_pb2.DeleteItemRequest, context: Any) -> catalog_pb2.DeleteItemResponse:
        limits.check_id("item_id", request.item_id)
        count = await self._catalog.delete(request.item_id)
        if count is None:
            raise NotFound("item", request.item_id)
        self._pools.drop([request.item_id])
        return catalog_pb2.DeleteItemResponse(covers_deleted=count)
