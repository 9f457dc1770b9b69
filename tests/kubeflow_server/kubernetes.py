"""Kubernetes' API: objects by path, lists with selectors, logs of pods, what an account may do."""

from __future__ import annotations

import re
import time
from collections.abc import Iterator
from typing import Any

from tests.kubeflow_server.http import Answer, Refused, Request, StandIn

Item = dict[str, Any]

_CORE = "/api/v1"


class KubernetesServer(StandIn):
    """An API server without controllers."""

    routes = (
        ("GET", "/version/?", "version"),
        ("POST", "/apis/authorization.k8s.io/v1/selfsubjectaccessreviews", "review"),
        ("GET", f"{_CORE}/namespaces/([^/]+)/pods/([^/]+)/log", "log"),
        ("GET", "(/apis?/.+)", "get"),
    )

    def __init__(self) -> None:
        self.objects: dict[str, Item] = {}
        self.logs: dict[str, list[bytes]] = {}
        """What each pod said, in the pieces in which it is sent."""
        self.forbidden: set[tuple[str, str]] = set()
        """Verb and resource that the account may not."""
        self.token = "token"
        super().__init__()

    def allowed(self, request: Request) -> None:
        """Who has the token."""
        if request.headers.get("authorization") != f"Bearer {self.token}":
            raise Refused(401, "Unauthorized")

    def refusal(self, status: int, message: str) -> Answer:
        """A Status object."""
        return Answer(status, {"kind": "Status", "apiVersion": "v1", "message": message, "code": status})

    def put(self, path: str, **content: Any) -> None:
        """Keep an object at `/api/v1/namespaces/retort/pods/NAME`."""
        parts = path.split("/")
        meta: Item = {"name": parts[-1], **content.pop("metadata", {})}
        if "namespaces" in parts[:-2]:
            meta["namespace"] = parts[parts.index("namespaces") + 1]
        self.objects[path] = {"metadata": meta, **content}

    def version(self, _: Request) -> Item:
        """Of the server."""
        names = ("major", "minor", "gitCommit", "gitTreeState", "buildDate", "goVersion", "compiler", "platform")
        return dict.fromkeys(names, "x") | {"gitVersion": "v1.34.4"}

    def review(self, request: Request) -> Item:
        """Whether the account may."""
        asked = request.json()["spec"]["resourceAttributes"]
        what = (asked["verb"], "/".join(filter(None, (asked["resource"], asked.get("subresource")))))
        return {"spec": request.json()["spec"], "status": {"allowed": what not in self.forbidden}}

    def log(self, request: Request, _: str, pod: str) -> Answer:
        """What a pod said: all of it, its last lines, or until it ends."""
        if pod not in self.logs:
            raise Refused(404, f'pods "{pod}" not found')
        pieces = self.logs[pod]
        if lines := request.query.get("tailLines"):
            pieces = [b"".join(b"".join(pieces).splitlines(keepends=True)[-int(lines) :])]
        return Answer(body=_slowly(pieces) if request.query.get("follow") else iter(pieces))

    def get(self, request: Request, path: str) -> Item:
        """An object, or the list of those below a path."""
        resource = path.rpartition("/")[2]
        if ("list", resource) in self.forbidden or ("get", path.split("/")[-2]) in self.forbidden:
            raise Refused(403, f'cannot "{resource}": forbidden')
        if path in self.objects:
            return self.objects[path]
        if not resource.endswith("s") or not self._served(path):
            raise Refused(404, f'{path.split("/")[-2]} "{resource}" not found')
        return {"kind": "List", "metadata": {}, "items": [one for one in self._below(path) if _selected(one, request)]}

    def _served(self, path: str) -> bool:
        """Whether this kind is known: a group is installed when there is anything of it."""
        group = re.match(r"/apis/[^/]+", path)
        return group is None or any(known.startswith(group[0]) for known in self.objects)

    def _below(self, path: str) -> Iterator[Item]:
        base, _, plural = path.rpartition("/")
        every = re.compile(rf"{re.escape(base)}(/namespaces/[^/]+)?/{plural}/[^/]+")
        return (item for known, item in self.objects.items() if every.fullmatch(known))


def _selected(item: Item, request: Request) -> bool:
    meta = item["metadata"]
    name = request.query.get("fieldSelector", "").partition("metadata.name=")[2]
    label, _, value = request.query.get("labelSelector", "").partition("=")
    return (not name or meta["name"] == name) and (not label or (meta.get("labels") or {}).get(label) == value)


def _slowly(pieces: list[bytes]) -> Iterator[bytes]:
    for piece in pieces:
        time.sleep(0.01)
        yield piece
