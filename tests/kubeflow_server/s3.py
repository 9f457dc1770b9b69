"""An S3 store: small objects, listings, and one pair of keys that it knows."""

from __future__ import annotations

import hashlib
from urllib.parse import unquote
from xml.sax.saxutils import escape

from tests.kubeflow_server.http import Answer, Refused, Request, StandIn

_XML = {"content-type": "application/xml"}


class S3Server(StandIn):
    """One store; a bucket is there as soon as something is in it."""

    routes = (
        ("GET", "/([^/]+)/?", "list"),
        ("HEAD", "/([^/]+)/?", "bucket"),
        ("GET", "/(.+)", "read"),
        ("HEAD", "/(.+)", "read"),
        ("PUT", "/(.+)", "write"),
        ("DELETE", "/(.+)", "remove"),
    )

    def __init__(self) -> None:
        self.objects: dict[str, bytes] = {}
        self.key = "right"
        """The access key that it knows."""
        super().__init__()

    def allowed(self, request: Request) -> None:
        """Who signs with the key."""
        if f"Credential={self.key}/" not in request.headers.get("authorization", ""):
            raise Refused(403, "The request signature we calculated does not match")

    def refusal(self, status: int, message: str) -> Answer:
        """An Error document."""
        code = {403: "SignatureDoesNotMatch", 404: "NoSuchKey"}.get(status, "InternalError")
        return _xml(f"<Error><Code>{code}</Code><Message>{escape(message)}</Message></Error>", status)

    def bucket(self, _: Request, __: str) -> Answer:
        """It is there."""
        return Answer(body=b"")

    def list(self, request: Request, bucket: str) -> Answer:
        """Names under a prefix, folded at a delimiter."""
        prefix, delimiter = request.query.get("prefix", ""), request.query.get("delimiter", "")
        names = sorted(name.partition("/")[2] for name in self.objects if name.startswith(f"{bucket}/"))
        found, folders = [], set()
        for name in (one for one in names if one.startswith(prefix)):
            head, cut, _ = name[len(prefix) :].partition(delimiter) if delimiter else ("", "", "")
            if cut:
                folders.add(prefix + head + delimiter)
            else:
                found.append(name)
        items = "".join(
            f"<Contents><Key>{escape(name)}</Key><Size>{len(self.objects[f'{bucket}/{name}'])}</Size>"
            f"<ETag>{_tag(self.objects[f'{bucket}/{name}'])}</ETag>"
            "<LastModified>2026-11-22T00:00:00Z</LastModified></Contents>"
            for name in found
        )
        items += "".join(f"<CommonPrefixes><Prefix>{escape(one)}</Prefix></CommonPrefixes>" for one in sorted(folders))
        count = len(found) + len(folders)
        return _xml(
            f"<ListBucketResult><IsTruncated>false</IsTruncated><KeyCount>{count}</KeyCount>{items}</ListBucketResult>"
        )

    def read(self, request: Request, name: str) -> Answer:
        """An object or a part of it."""
        content = self.objects.get(unquote(name))
        if content is None:
            raise Refused(404, f"no {name}")
        headers = {"etag": _tag(content), "last-modified": "Sun, 22 Nov 2026 00:00:00 GMT"}
        if part := request.headers.get("range"):
            first, _, last = part.removeprefix("bytes=").partition("-")
            content = content[int(first) : int(last) + 1 if last else None]
            return Answer(206, content, headers)
        return Answer(200, content, headers)

    def write(self, request: Request, name: str) -> Answer:
        """Keep an object."""
        self.objects[unquote(name)] = request.body
        return Answer(200, b"", {"etag": _tag(request.body)})

    def remove(self, _: Request, name: str) -> Answer:
        """Forget it."""
        self.objects.pop(unquote(name), None)
        return Answer(204, b"")


def _tag(content: bytes) -> str:
    return f'"{hashlib.md5(content, usedforsecurity=False).hexdigest()}"'


def _xml(text: str, status: int = 200) -> Answer:
    return Answer(status, f'<?xml version="1.0" encoding="UTF-8"?>{text}'.encode(), dict(_XML))
