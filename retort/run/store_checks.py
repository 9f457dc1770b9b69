"""What an object store does with objects as Retort and DVC use them: the checks behind `retort doctor --remote`.

Each check asks for one thing, with objects of its own under `checks/` that are removed again. Nothing says a key: of
credentials it is said where they come from.
"""

from __future__ import annotations

import time
import uuid
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from datetime import datetime
from pathlib import Path
from typing import Any

from retort.errors import StorageError
from retort.io.objects import Objects
from retort.io.outages import TIMEOUTS_S
from retort.run.doctor import Check

_PART = 5 * 2**20
"""Least bytes of a part that is not the last."""
_SKEW_S, _REFUSED_SKEW_S = 60.0, 600.0
"""Clocks so far apart are worth a word; S3 refuses requests that are off by a quarter of an hour."""


@dataclass(frozen=True)
class _Store:
    client: Any
    bucket: str
    key: str
    """Of the object that is tried."""
    prefix: str
    """Under which the store keeps everything."""


def examine_store(remote: str, credentials: Mapping[str, str] | None = None) -> list[Check]:
    """Try everything that runs ask of a store.

    Args:
        remote: Folder or address of the store.
        credentials: AWS_... values for an s3:// store, instead of the environment's.
    """
    if not remote.startswith("s3://"):
        return [_round_trip(remote)]
    from botocore.exceptions import BotoCoreError, ClientError

    store, found = _connected(remote, credentials or {})
    if store is None:
        return found
    checks: tuple[Callable[[_Store], Check], ...] = (
        _reach,
        _write_and_read,
        _verified,
        _deleted,
        _multipart,
        _conditional_writes,
        _clock,
        _versioning,
        _lifecycle,
    )
    for check in checks:
        name = check.__name__.removeprefix("_").replace("_", " ")
        try:
            found.append(check(store))
        except (BotoCoreError, ClientError) as error:
            found.append(_failed(name, error))
        if found[-1].name == "reach" and found[-1].status == "missing":
            break  # the others would say the same
    return found


def _connected(remote: str, credentials: Mapping[str, str]) -> tuple[_Store | None, list[Check]]:
    import boto3
    from botocore.config import Config
    from botocore.exceptions import BotoCoreError

    settings = Config(**TIMEOUTS_S, retries={"total_max_attempts": 2})
    try:
        session = boto3.Session(
            aws_access_key_id=credentials.get("AWS_ACCESS_KEY_ID"),
            aws_secret_access_key=credentials.get("AWS_SECRET_ACCESS_KEY"),
            aws_session_token=credentials.get("AWS_SESSION_TOKEN"),
            region_name=credentials.get("AWS_REGION"),
        )
        held = session.get_credentials()
        client = session.client("s3", endpoint_url=credentials.get("AWS_ENDPOINT_URL"), config=settings)
    except (BotoCoreError, ValueError) as error:
        return None, [Check("credentials", "missing", str(error), "Correct AWS_PROFILE, AWS_REGION or AWS_CA_BUNDLE")]
    if held is None:
        remedy = "Set AWS_ACCESS_KEY_ID and AWS_SECRET_ACCESS_KEY, AWS_PROFILE, or run where a role gives them"
        return None, [Check("credentials", "missing", "none found", remedy)]
    source = "given" if credentials.get("AWS_ACCESS_KEY_ID") else str(held.method)
    place = client.meta.endpoint_url
    bucket, _, prefix = remote.removeprefix("s3://").partition("/")
    key = f"{prefix}/checks/{uuid.uuid4().hex}".lstrip("/")
    return _Store(client, bucket, key, prefix), [Check("credentials", "OK", f"from {source}, for {place}")]


def _reach(store: _Store) -> Check:
    store.client.head_bucket(Bucket=store.bucket)
    return Check("reach", "OK", f"bucket {store.bucket} answers")


def _write_and_read(store: _Store) -> Check:
    body = uuid.uuid4().bytes
    store.client.put_object(Bucket=store.bucket, Key=store.key, Body=body)
    same = store.client.get_object(Bucket=store.bucket, Key=store.key)["Body"].read() == body
    if not same:
        return Check("write and read", "missing", "what was read is not what was written", "Use another store")
    return Check("write and read", "OK", "what was written comes back")


def _verified(store: _Store) -> Check:
    """Whether the store refuses a body that arrives otherwise than it was sent."""
    from botocore.exceptions import ClientError

    wrong = "AAAAAAAAAAAAAAAAAAAAAA=="  # an MD5 that no body of ours has
    try:
        store.client.put_object(Bucket=store.bucket, Key=f"{store.key}-md5", Body=b"body", ContentMD5=wrong)
    except ClientError as error:
        if (code := error.response.get("Error", {}).get("Code")) in ("BadDigest", "InvalidDigest"):
            return Check("verified", "OK", f"a damaged upload is refused ({code})")
        raise
    store.client.delete_object(Bucket=store.bucket, Key=f"{store.key}-md5")
    words = "a damaged upload is taken"
    return Check("verified", "optional", words, "Retort verifies by itself what it sends; other programs may not")


def _deleted(store: _Store) -> Check:
    from botocore.exceptions import ClientError

    store.client.delete_object(Bucket=store.bucket, Key=store.key)
    try:
        store.client.head_object(Bucket=store.bucket, Key=store.key)
    except ClientError as error:
        if error.response.get("ResponseMetadata", {}).get("HTTPStatusCode") == 404:
            return Check("deleted", "OK", "what is deleted is gone")
        raise
    return Check("deleted", "missing", "an object that was deleted is still there", "Allow s3:DeleteObject")


def _multipart(store: _Store) -> Check:
    """Models are sent in parts."""
    place, body = {"Bucket": store.bucket, "Key": f"{store.key}-parts"}, [b"a" * _PART, b"b"]
    upload = store.client.create_multipart_upload(**place)["UploadId"]
    try:
        parts = [
            {
                "PartNumber": number,
                "ETag": store.client.upload_part(**place, UploadId=upload, PartNumber=number, Body=part)["ETag"],
            }
            for number, part in enumerate(body, 1)
        ]
        store.client.complete_multipart_upload(**place, UploadId=upload, MultipartUpload={"Parts": parts})
    except Exception:
        store.client.abort_multipart_upload(**place, UploadId=upload)
        raise
    size = store.client.head_object(**place)["ContentLength"]
    store.client.delete_object(**place)
    if size != _PART + 1:
        return Check("multipart", "missing", f"of {_PART + 1} bytes in two parts {size} are there", "Use another store")
    return Check("multipart", "OK", "two parts become one object")


def _conditional_writes(store: _Store) -> Check:
    from botocore.exceptions import ClientError

    place = {"Bucket": store.bucket, "Key": f"{store.key}-once", "IfNoneMatch": "*"}
    remedy = "Nothing: Retort does not rely on it"
    try:
        store.client.put_object(**place, Body=b"1")
        try:
            store.client.put_object(**place, Body=b"2")
        except ClientError as error:
            if error.response.get("ResponseMetadata", {}).get("HTTPStatusCode") in (409, 412):
                return Check("conditional writes", "OK", "an object that is there is not overwritten")
            raise
        return Check("conditional writes", "optional", "If-None-Match is passed over", remedy)
    except ClientError as error:
        if error.response.get("Error", {}).get("Code") == "NotImplemented":
            return Check("conditional writes", "optional", "If-None-Match is refused", remedy)
        raise
    finally:
        store.client.delete_object(Bucket=store.bucket, Key=f"{store.key}-once")


def _clock(store: _Store) -> Check:
    from email.utils import parsedate_to_datetime

    said = store.client.head_bucket(Bucket=store.bucket)["ResponseMetadata"]["HTTPHeaders"].get("date")
    if not said:
        return Check("clock", "optional", "the store does not say what time it is", "Compare the clocks by hand")
    when: datetime = parsedate_to_datetime(said)
    apart = time.time() - when.timestamp()
    words = f"this machine is {abs(apart):.0f} s {'ahead of' if apart > 0 else 'behind'} the store"
    if abs(apart) < _SKEW_S:
        return Check("clock", "OK", words)
    remedy = "Set this machine's clock (NTP): a store refuses requests that are off by 15 minutes"
    return Check("clock", "missing" if abs(apart) > _REFUSED_SKEW_S else "optional", words, remedy)


def _versioning(store: _Store) -> Check:
    status = store.client.get_bucket_versioning(Bucket=store.bucket).get("Status", "off")
    if status != "Enabled":
        return Check("versioning", "OK", f"{status.lower()}: what is removed frees its room at once")
    remedy = "Let a lifecycle rule expire noncurrent versions, or `retort gc` frees no room"
    return Check("versioning", "optional", "enabled: what is removed or replaced stays as an old version", remedy)


def _lifecycle(store: _Store) -> Check:
    """Whether a rule of the bucket removes what runs refer to."""
    from botocore.exceptions import ClientError

    try:
        rules = store.client.get_bucket_lifecycle_configuration(Bucket=store.bucket)["Rules"]
    except ClientError as error:
        if error.response.get("Error", {}).get("Code") != "NoSuchLifecycleConfiguration":
            raise
        rules = []
    live = [rule for rule in rules if rule.get("Status") == "Enabled"]
    removing = [rule for rule in live if "Expiration" in rule and _covers(rule, store.prefix)]
    if any({"Days", "Date"} & set(rule["Expiration"]) for rule in removing):
        named = ", ".join(str(rule.get("ID") or "without a name") for rule in removing)
        remedy = "Keep it from this prefix: it removes contents that runs refer to. `retort gc` removes those of none"
        return Check("lifecycle", "missing", f"rule {named} removes objects by their age", remedy)
    if not any("AbortIncompleteMultipartUpload" in rule for rule in live):
        remedy = (
            "Add a rule that aborts incomplete multipart uploads: a pod that is killed leaves parts that cost money"
        )
        return Check("lifecycle", "optional", "no rule removes contents, nor parts of uploads that never ended", remedy)
    return Check("lifecycle", "OK", "no rule removes contents; one removes parts of uploads that never ended")


def _covers(rule: Mapping[str, Any], prefix: str) -> bool:
    """Whether a rule's filter can match objects of the store; one by tags or sizes alone may."""
    chosen = rule.get("Filter") or {}
    of = str(rule.get("Prefix") or chosen.get("Prefix") or (chosen.get("And") or {}).get("Prefix") or "")
    return of.startswith(f"{prefix}/") or f"{prefix}/".startswith(of)


def _failed(name: str, error: Exception) -> Check:
    status = (getattr(error, "response", None) or {}).get("ResponseMetadata", {}).get("HTTPStatusCode")
    asked = name in ("clock", "versioning", "lifecycle", "conditional writes")
    if asked and status in (403, 404, 405, 501):
        return Check(name, "optional", f"cannot be asked: {error}", "Ask who runs the store")
    remedies = {403: "Correct the credentials, or the rights that they have on this bucket", 404: "Make the bucket"}
    remedy = remedies.get(status or 0, "Check the address, AWS_REGION, AWS_CA_BUNDLE and the network")
    return Check(name, "missing", str(error), remedy)


def _round_trip(remote: str) -> Check:
    """A folder, or a store of another kind: write, read and remove one object."""
    name, content = uuid.uuid4().hex, uuid.uuid4().bytes
    try:
        if "://" not in remote and not Path(remote).exists():
            return Check("reach", "optional", f"{remote}: is not there yet", "It is made when something is stored")
        objects = Objects.of(remote, "checks")
        objects.write(name, content)
        same = objects.read(name) == content
        objects.remove(name)
    except StorageError as error:
        return Check("write and read", "missing", str(error), "Correct the address, the rights or the credentials")
    if not same:
        return Check("write and read", "missing", f"{remote} does not return what was written", "Use another store")
    return Check("write and read", "OK", f"{remote}: write, read and delete")
