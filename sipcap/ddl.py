"""The table definitions of ``sql/``, wherever they are."""

from __future__ import annotations

import re
from pathlib import Path
from typing import Final

# Installed, sql/ is a folder of the package; in a checkout it is at the top, where administrators look for it.
_HERE: Final = Path(__file__).resolve().parent
_FOLDERS: Final = (_HERE / "sql", _HERE.parent / "sql")


def ddl_folder() -> Path:
    """The folder with one subfolder a database.

    Raises:
        FileNotFoundError: the installation is damaged.
    """
    for folder in _FOLDERS:
        if folder.is_dir():
            return folder
    raise FileNotFoundError(f"no table definitions in {_FOLDERS[0]} or {_FOLDERS[1]}; install sipcap again")


def read_ddl(database: str, name: str) -> str:
    """Read one file of table definitions.

    Args:
        database: a subfolder of ``sql/``, for example ``sqlite``.
        name: the file's name without ``.sql``, for example ``sip``.

    Returns:
        The text as it stands in the file.

    Raises:
        FileNotFoundError: there is no such file.
    """
    return (ddl_folder() / database / f"{name}.sql").read_text(encoding="utf-8")


def read_statements(database: str, name: str) -> list[str]:
    """The statements of one file of table definitions, without comments."""
    script = re.sub(r"--.*", "", read_ddl(database, name))
    return [statement.strip() for statement in script.split(";\n") if statement.strip()]
