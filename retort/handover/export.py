"""A run's student as a folder that any tool reads: here, in an object store, or on a Hugging Face hub."""

from __future__ import annotations

import json
import shutil
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING

from retort.errors import ConfigError, InputError, StorageError
from retort.handover.student import Student
from retort.io.files import atomic_path, write_json
from retort.io.objects import Objects

if TYPE_CHECKING:
    from huggingface_hub import HfApi

HUB = "hub:"
EXPORTED = ".retort/exported.json"
"""File of a workspace that says where its student was exported to last, and which one that was."""


def export(student: Student, target: str, *, private: bool = True) -> str:
    """Hand a student over with its card as README.md; return where it is now.

    Args:
        student: The student.
        target: A folder, `s3://BUCKET/FOLDER`, or `hub:OWNER/NAME`.
        private: Whether a hub repository that is made for it is private.

    Raises:
        InputError: the target is a file or a folder that holds other things.
        ConfigError: the hub knows no such account or refuses the name.
        StorageError: it could not be written or reached.
    """
    if target.startswith(HUB):
        name = target.removeprefix(HUB)
        place, uri = _to_hub(student, name, private=private)
    elif "://" in target:
        place = uri = _to_store(student, target.rstrip("/"))
    else:
        place = _to_folder(student, Path(target))
        uri = str(Path(place).resolve())
    write_json(student.root / EXPORTED, {"content": student.content, "uri": uri})
    return place


def exported(student: Student) -> str:
    """Where the student was exported to last.

    Raises:
        ConfigError: it was not, or has changed since.
    """
    file = student.root / EXPORTED
    found = json.loads(file.read_text(encoding="utf-8")) if file.exists() else {}
    if found.get("content") != student.content:
        what = "has changed since it was exported" if found else "was not exported yet"
        raise ConfigError(
            f"the student of {student.run} {what}: `retort export {student.run} --to s3://BUCKET/FOLDER` or --to "
            "hub:OWNER/NAME first, or say where it is: --uri."
        )
    return str(found["uri"])


def _to_folder(student: Student, folder: Path) -> str:
    if folder.exists() and not _may_replace(folder):
        raise InputError(
            "exists and is no exported model", file=folder, remedy="Give a new folder, or remove this one first"
        )
    with atomic_path(folder.absolute()) as temporary:
        _write(student, temporary)
    return str(folder)


def _write(student: Student, folder: Path) -> None:
    """Model, tokenizer and card; readable by a server that runs as another user."""
    shutil.copytree(student.folder, folder)
    shutil.copyfile(student.card, folder / "README.md")
    for path in (folder, *folder.rglob("*")):
        path.chmod(0o755 if path.is_dir() else 0o644)


def _may_replace(target: Path) -> bool:
    return target.is_dir() and (not any(target.iterdir()) or (target / "config.json").exists())


@contextmanager
def _written(student: Student) -> Iterator[Path]:
    with tempfile.TemporaryDirectory(prefix="retort-export-") as place:
        folder = Path(place) / "model"
        _write(student, folder)
        yield folder


def _to_store(student: Student, address: str) -> str:
    base, _, name = address.rpartition("/")
    objects = Objects.of(base, name)
    if (names := objects.names()) and "config.json" not in names:
        raise InputError("holds other objects and no exported model", file=address, remedy="Give a folder of its own")
    with _written(student) as folder:
        files = sorted(path.relative_to(folder).as_posix() for path in folder.rglob("*") if path.is_file())
        for file in files:
            objects.upload(file, folder / file)
    objects.remove(*(name for name in names if name not in files))  # shards of an older, larger one
    return address


def _to_hub(student: Student, name: str, *, private: bool) -> tuple[str, str]:
    """Address of the page, and for programs."""
    from httpx2 import HTTPError
    from huggingface_hub.errors import HfHubHTTPError, HFValidationError, OfflineModeIsEnabled
    from huggingface_hub.utils._validators import validate_repo_id

    api = _client()
    try:
        validate_repo_id(name)  # before anything is made there
        made = api.create_repo(name, private=private, exist_ok=True)
        with _written(student) as folder:
            api.upload_folder(
                repo_id=made.repo_id,
                folder_path=folder,
                commit_message=f"{student.label} of run {student.run}",
                delete_patterns="*",  # what an older one had more
            )
    except (HFValidationError, ValueError) as error:  # a name it refuses, a card that is not valid
        raise ConfigError(f"{HUB}{name}: the hub refuses it ({error}). Correct the name or the card.") from error
    except HfHubHTTPError as error:
        status = error.response.status_code
        hint = " Set HF_TOKEN to a token that may write there." if status in (401, 403, 404) else ""
        kind = ConfigError if 400 <= status < 500 and status != 429 else StorageError
        said = error.server_message or str(error).partition("\n")[0]
        raise kind(f"{HUB}{name}: the hub answers {status} ({said}).{hint}") from error
    except (OSError, HTTPError, OfflineModeIsEnabled) as error:
        raise StorageError(
            f"{HUB}{name}: the hub cannot be reached ({error}). Check HF_ENDPOINT and the network."
        ) from error
    return f"{api.endpoint}/{made.repo_id}", f"hf://{made.repo_id}"


def _client() -> HfApi:
    """The client, for the hub that HF_ENDPOINT names, with the token of HF_TOKEN or of `hf auth login`."""
    from huggingface_hub import HfApi

    return HfApi()
