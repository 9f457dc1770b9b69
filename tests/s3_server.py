"""An S3 server in this process, with faults on demand: enough of the protocol for s3fs, DVC and boto3.

Objects are in memory; ETags are as S3 makes them. A fault is chosen for each request by a function that a test sets.
"""

from __future__ import annotations

import base64
import hashlib
import ssl
import threading
import time
import urllib.parse
from collections import Counter
from collections.abc import Callable
from email.utils import formatdate
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any
from xml.sax.saxutils import escape

FAULTS = (
    "reset",  # the connection is closed instead of an answer
    "hang",  # no answer
    "500",
    "503",
    "SlowDown",
    "403",
    "cut",  # half of the body of an answer
    "damage",  # one byte of the body of an answer is another
    "damage upload",  # one byte of what was sent is another in the store
)

_STATUSES = {"500": (500, "InternalError"), "503": (503, "ServiceUnavailable"), "SlowDown": (503, "SlowDown")}
_STATUSES["403"] = (403, "AccessDenied")

Choose = Callable[[str, str], str]
"""Gives the fault of a request with this method and key; empty for none."""


def md5(content: bytes) -> str:
    """What S3 and DVC name contents by."""
    return hashlib.md5(content, usedforsecurity=False).hexdigest()


class S3Server:
    """`with S3Server() as server`: its `url`, its `objects` by `BUCKET/KEY`, and `fault`.

    Args:
        certificate: File with a key and a certificate for 127.0.0.1; it speaks TLS then.
    """

    def __init__(self, *, certificate: Path | None = None) -> None:
        self._certificate = certificate
        self.objects: dict[str, bytes] = {}
        self.etags: dict[str, str] = {}
        self.written: dict[str, float] = {}
        """When an object was written, seconds since 1970; a test may change it."""
        self.parts: dict[str, dict[int, bytes]] = {}
        self.access_key: str | None = None
        """The only access key that it knows; None takes every one."""
        self.refusal = (403, "SignatureDoesNotMatch")
        """Status and code with which it refuses another."""
        self.fault: Choose = lambda _method, _key: ""
        self.done: Counter[str] = Counter()
        """Faults that were made."""
        self.hang_s = 2.0
        self.versioning = ""
        """`Enabled` where old versions are kept; none are, in truth."""
        self.lifecycle = (
            "<Rule><ID>parts</ID><Status>Enabled</Status><Filter><Prefix></Prefix></Filter>"
            "<AbortIncompleteMultipartUpload><DaysAfterInitiation>7</DaysAfterInitiation>"
            "</AbortIncompleteMultipartUpload></Rule>"
        )
        """The bucket's lifecycle rules, as XML."""
        self.is_modern = True
        """Whether it compares a body with Content-MD5 and keeps to If-None-Match."""
        self.clock_s = 0.0
        """How far its clock is ahead."""
        self.is_away = False
        self._port = 0
        self._listen()
        self.url = f"{'https' if certificate else 'http'}://127.0.0.1:{self._port}"

    def _listen(self) -> None:
        handler = type("Handler", (_Handler,), {"store": self})
        self._server = ThreadingHTTPServer(("127.0.0.1", self._port), handler)
        self._server.daemon_threads = True
        if self._certificate is not None:
            speaks = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
            speaks.load_cert_chain(self._certificate)
            self._server.socket = speaks.wrap_socket(self._server.socket, server_side=True)
        self._port = self._server.server_address[1]
        threading.Thread(target=self._server.serve_forever, args=(0.02,), daemon=True).start()

    def stop(self) -> None:
        """Refuse connections, and end those that there are; objects stay."""
        self.is_away = True
        self._server.shutdown()
        self._server.server_close()

    def start(self) -> None:
        """Listen again where it did."""
        self.is_away = False
        self._listen()

    def away(self, seconds: float) -> threading.Thread:
        """Refuse connections for some time, from now."""
        self.stop()

        def back() -> None:
            time.sleep(seconds)
            self.start()

        thread = threading.Thread(target=back)
        thread.start()
        return thread

    def put(self, key: str, content: bytes, etag: str = "") -> str:
        """Store an object; its ETag."""
        self.objects[key] = content
        self.written[key] = time.time()
        self.etags[key] = etag or md5(content)
        return self.etags[key]

    def __enter__(self) -> S3Server:
        return self

    def __exit__(self, *_: object) -> None:
        self.stop()


def _flipped(content: bytes) -> bytes:
    middle = len(content) // 2
    return content[:middle] + bytes([content[middle] ^ 1]) + content[middle + 1 :] if content else content


class _Handler(BaseHTTPRequestHandler):
    store: S3Server
    protocol_version = "HTTP/1.1"
    fault = ""

    def log_message(self, *_: Any) -> None:
        """Nothing."""

    def __getattr__(self, name: str) -> Any:
        if name.startswith("do_"):
            return self._serve
        raise AttributeError(name)

    def _serve(self) -> None:
        parsed = urllib.parse.urlsplit(self.path)
        self.key = urllib.parse.unquote(parsed.path).strip("/")
        self.query = dict(urllib.parse.parse_qsl(parsed.query, keep_blank_values=True))
        body = self._body()
        if self.store.is_away:
            self.close_connection = True
            return
        self.fault = self.store.fault(self.command, self.key)
        if self.fault:
            self.store.done[self.fault] += 1
        if self.fault == "hang":
            time.sleep(self.store.hang_s)
        if self.fault in ("hang", "reset"):
            self.close_connection = True
            return
        if self.fault in _STATUSES:
            self._error(*_STATUSES[self.fault])
            return
        known = self.store.access_key
        if known is not None and f"Credential={known}/" not in self.headers.get("Authorization", ""):
            self._error(*self.store.refusal, "The credentials are none that are taken")
            return
        {"GET": self._get, "HEAD": self._get, "PUT": self._put, "POST": self._post, "DELETE": self._delete}[
            self.command
        ](body)

    def _body(self) -> bytes:
        if "chunked" in (self.headers.get("Transfer-Encoding") or ""):
            raw = b""
            while size := int(self.rfile.readline().split(b";")[0], 16):
                raw += self.rfile.read(size)
                self.rfile.readline()
            self.rfile.readline()
        else:
            raw = self.rfile.read(int(self.headers.get("Content-Length") or 0))
        if "aws-chunked" not in (self.headers.get("Content-Encoding") or ""):
            return raw
        content = b""
        while raw:
            head, _, raw = raw.partition(b"\r\n")
            size = int(head.split(b";")[0], 16)
            if not size:
                break
            content, raw = content + raw[:size], raw[size + 2 :]
        return content

    def _get(self, _: bytes) -> None:
        if "/" not in self.key:
            self._bucket()
        elif self.key not in self.store.objects:
            self._error(404, "NoSuchKey")
        else:
            content, status, extra = self.store.objects[self.key], 200, dict[str, str]()
            if given := self.headers.get("Range"):
                start, end = given.removeprefix("bytes=").partition("-")[::2]
                if int(start) >= len(content):
                    self._error(416, "InvalidRange")
                    return
                whole = len(content)
                content = content[int(start) : int(end or whole) + 1]
                status, extra = 206, {"Content-Range": f"bytes {start}-{int(start) + len(content) - 1}/{whole}"}
            extra["Last-Modified"] = formatdate(self.store.written.get(self.key, 0), usegmt=True)
            self._answer(status, content, {"ETag": f'"{self.store.etags[self.key]}"', **extra})

    def date_time_string(self, timestamp: float | None = None) -> str:
        """The header Date."""
        return super().date_time_string(time.time() + self.store.clock_s if timestamp is None else timestamp)

    def _bucket(self) -> None:
        if "versioning" in self.query:
            status = f"<Status>{self.store.versioning}</Status>" if self.store.versioning else ""
            self._answer(200, f"<VersioningConfiguration>{status}</VersioningConfiguration>".encode())
            return
        if "lifecycle" in self.query:
            if not self.store.lifecycle:
                self._error(404, "NoSuchLifecycleConfiguration")
                return
            rules = f"<LifecycleConfiguration>{self.store.lifecycle}</LifecycleConfiguration>"
            self._answer(200, rules.encode())
            return
        if self.command == "HEAD" or "list-type" not in self.query:
            self._answer(200, b"<LocationConstraint/>")
            return
        prefix, delimiter = self.query.get("prefix", ""), self.query.get("delimiter", "")
        folders, lines = set(), []
        for key in sorted(self.store.objects):
            name = key.removeprefix(f"{self.key}/")
            if not key.startswith(f"{self.key}/") or not name.startswith(prefix):
                continue
            inner, found, _ = name[len(prefix) :].partition(delimiter) if delimiter else (name, "", "")
            if found:
                folders.add(prefix + inner + delimiter)
            else:
                lines.append(
                    f"<Contents><Key>{escape(name)}</Key><Size>{len(self.store.objects[key])}</Size>"
                    f"<ETag>&quot;{self.store.etags[key]}&quot;</ETag><LastModified>{self._moment(key)}</LastModified>"
                    "<StorageClass>STANDARD</StorageClass></Contents>"
                )
        lines += [f"<CommonPrefixes><Prefix>{escape(one)}</Prefix></CommonPrefixes>" for one in sorted(folders)]
        count = len(lines)
        text = (
            f"<ListBucketResult><IsTruncated>false</IsTruncated><KeyCount>{count}</KeyCount>{''.join(lines)}"
            "</ListBucketResult>"
        )
        self._answer(200, text.encode())

    def _put(self, body: bytes) -> None:
        if self.fault == "damage upload":
            body = _flipped(body)
        sent = self.headers.get("Content-MD5") if self.store.is_modern else None
        if sent and base64.b64decode(sent).hex() != md5(body):
            self._error(400, "BadDigest")
            return
        if self.store.is_modern and self.headers.get("If-None-Match") == "*" and self.key in self.store.objects:
            self._error(412, "PreconditionFailed")
            return
        if "uploadId" in self.query:
            self.store.parts[self.query["uploadId"]][int(self.query["partNumber"])] = body
            self._answer(200, b"", {"ETag": f'"{md5(body)}"'})
        elif "/" in self.key:
            self._answer(200, b"", {"ETag": f'"{self.store.put(self.key, body)}"'})
        else:
            self._answer(200, b"")

    def _post(self, _: bytes) -> None:
        if "uploads" in self.query:
            number = str(len(self.store.parts))
            self.store.parts[number] = {}
            text = f"<UploadId>{number}</UploadId>"
            self._answer(200, f"<InitiateMultipartUploadResult>{text}</InitiateMultipartUploadResult>".encode())
        elif "uploadId" in self.query:
            parts = [part for _, part in sorted(self.store.parts.pop(self.query["uploadId"]).items())]
            digests = b"".join(bytes.fromhex(md5(part)) for part in parts)
            etag = self.store.put(self.key, b"".join(parts), f"{md5(digests)}-{len(parts)}")
            self._answer(
                200, f"<CompleteMultipartUploadResult><ETag>{etag}</ETag></CompleteMultipartUploadResult>".encode()
            )
        else:
            self._error(501, "NotImplemented")

    def _delete(self, _: bytes) -> None:
        self.store.objects.pop(self.key, None)
        self.store.parts.pop(self.query.get("uploadId", ""), None)
        self._answer(204, b"")

    def _error(self, status: int, code: str, message: str = "") -> None:
        self._answer(status, f"<Error><Code>{code}</Code><Message>{message or code}</Message></Error>".encode())

    def _answer(self, status: int, content: bytes, headers: dict[str, str] | None = None) -> None:
        self.send_response(status)
        for name, value in {"Content-Type": "application/xml", **(headers or {})}.items():
            self.send_header(name, value)
        self.send_header("Content-Length", str(len(content)))
        self.end_headers()
        if self.command == "HEAD":
            return
        if self.fault == "damage" and status in (200, 206):
            content = _flipped(content)
        if self.fault == "cut":
            content, self.close_connection = content[: len(content) // 2], True
        self.wfile.write(content)

    def _moment(self, key: str) -> str:
        return time.strftime("%Y-%m-%dT%H:%M:%SZ", time.gmtime(self.store.written.get(key, 0)))
