"""The far side of `_bulk`, by Elasticsearch's API: what it was told to say, item by item."""

import json
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from typing import Any

from tests.support.web_server import Request, WebServer, web_server


@dataclass
class Store:
    """What a data stream holds."""

    web: WebServer = field(default_factory=WebServer)
    documents: dict[str, dict[str, Any]] = field(default_factory=dict)
    templates: dict[str, dict[str, Any]] = field(default_factory=dict)
    #: Status of an item, asked for each document. 0: take it.
    says: Callable[[dict[str, Any]], int] = lambda document: 0
    #: Status of a whole request. 0: look at its items.
    whole: Callable[[Request], int] = lambda request: 0

    @property
    def actions(self) -> list[str]:
        return [each["event"]["action"] for each in self.documents.values()]


@asynccontextmanager
async def bulk_server() -> AsyncIterator[Store]:
    store = Store()

    async def handle(request: Request) -> tuple[int, bytes]:
        status = store.whole(request)
        if status:
            return status, b'{"error":"as told"}'
        path = request.target.partition("?")[0]
        if request.method == "PUT" and "/_index_template/" in path:
            store.templates[path.rpartition("/")[2]] = json.loads(request.body)
            return 200, b'{"acknowledged":true}'
        if request.method != "POST" or not path.endswith("/_bulk"):
            return 404, b"{}"
        return 200, json.dumps(_bulk(store, request)).encode()

    async with web_server(handle) as web:
        store.web = web
        yield store


def _bulk(store: Store, request: Request) -> dict[str, Any]:
    assert request.headers["content-type"] == "application/x-ndjson"
    assert request.body.endswith(b"\n")
    lines = request.body[:-1].split(b"\n")
    items = []
    for action, source in zip(lines[::2], lines[1::2], strict=True):
        create = json.loads(action)["create"]
        document = json.loads(source)
        status = store.says(document) or (409 if create["_id"] in store.documents else 201)
        item: dict[str, Any] = {"_index": create["_index"], "_id": create["_id"], "status": status}
        if status == 201:
            store.documents[create["_id"]] = document
        else:
            item["error"] = {"type": "as_told", "reason": "as told"}
        items.append({"create": item})
    return {"took": 1, "errors": any(each["create"]["status"] != 201 for each in items), "items": items}
