"""`retort init`: a folder to work in, with a configuration, sample data and DVC."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer


def init(
    folder: Annotated[Path, typer.Argument(help="Folder of the project; made where it does not exist.")] = Path(),
    beginning: Annotated[
        str, typer.Option("--from", metavar="NAME", help="What to begin from: demo, endpoint, recorded, open or gpu.")
    ] = "demo",
) -> None:
    """Begin a project: a commented configuration, sample data, `.gitignore` and DVC; replaces nothing."""
    from retort.run import project

    begun = project.init(folder, beginning)
    print(f"{folder}: {begun.summary}")
    for name in begun.written:
        print(f"  {name}")
    for note in begun.notes:
        print(f"The folder {note}.")
    if begun.first:
        print(f"\nTo make it yours, change in {project.CONFIG}:")
        for words in begun.first:
            print(f"  {words}")
    print("\nNext:")
    if folder.resolve() != Path().resolve():
        print(f"  cd {folder}")
    print("  retort check    # what would be refused, and what the run will need")
    print("  retort run")
