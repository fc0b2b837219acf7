"""API keys: a file of names, roles and hashes.

A key is 256 random bits, so one round of SHA-256 protects it as well as a slow
hash would: there is nothing to guess. The file never holds a key, and a key is
compared with every hash in constant time, whichever of them fits.
"""

from __future__ import annotations

import hashlib
import hmac
import json
import os
import re
import secrets
import tempfile
from dataclasses import asdict, dataclass
from datetime import UTC, datetime
from pathlib import Path
from typing import Literal, get_args

from recmind.errors import ConfigError, DataError

Role = Literal["read", "write", "admin"]
"""read: queries and the page; write: also changes; admin: also reload."""

ROLES: tuple[str, ...] = get_args(Role)
_PREFIX = "rmk_"
_NAME = re.compile(r"[A-Za-z0-9][A-Za-z0-9._-]{0,63}")


@dataclass(frozen=True, slots=True)
class Key:
    """One line of the file.

    Attributes
    ----------
    name:
        Whose key it is; stands in logs and metrics.
    role:
        What it may do; each role may do what those before it may.
    sha256:
        Digest of the key, in hexadecimal.
    made:
        Date of its making.
    """

    name: str
    role: Role
    sha256: str
    made: str

    def may(self, role: Role) -> bool:
        """Whether this key has at least this role."""
        return ROLES.index(self.role) >= ROLES.index(role)


ANYONE = Key("anonymous", "admin", "", "")
"""Who calls where keys are off."""


class Keys:
    """The keys of a file.

    Parameters
    ----------
    keys:
        The keys.
    """

    def __init__(self, keys: tuple[Key, ...]) -> None:
        self._keys = keys
        self._digests = [key.sha256.encode() for key in keys]

    def __len__(self) -> int:
        return len(self._keys)

    def find(self, secret: str) -> Key | None:
        """The key with this secret."""
        return self.by_digest(digest(secret))

    def by_digest(self, sha256: str) -> Key | None:
        """The key with this digest, compared with all of them in the same time."""
        given, found = sha256.encode(), None
        for key, known in zip(self._keys, self._digests, strict=True):
            if hmac.compare_digest(given, known):
                found = key
        return found


def digest(secret: str) -> str:
    """SHA-256 of a key, in hexadecimal."""
    return hashlib.sha256(secret.encode("utf-8", "surrogatepass")).hexdigest()


def read_keys(path: Path) -> Keys:
    """The keys of a file.

    Raises
    ------
    ConfigError
        If it is missing, damaged, holds no key, or others on this machine may read or write it.
    """
    keys = _read(path)
    if not keys:
        raise ConfigError("there is no key in this file", where=path, hint=f"`recmind key NAME --keys {path}`")
    if path.stat().st_mode & 0o027:
        raise ConfigError(
            "others on this machine may read or change the keys",
            where=path,
            got=oct(path.stat().st_mode & 0o777),
            accepted="0600, or 0640 for a group",
            hint=f"chmod 600 {path}",
        )
    return Keys(tuple(keys))


def make_key(path: Path, name: str, role: Role) -> str:
    """Add a key to a file, made if missing, and return its secret, which is kept nowhere."""
    if not _NAME.fullmatch(name):
        raise DataError(
            "not a name", where="NAME", got=name, accepted="letters, digits, dot, dash, underscore; at most 64"
        )
    keys = _read(path) if path.exists() else []
    if any(key.name == name for key in keys):
        raise DataError("there is a key with this name", where=path, got=name, hint="revoke it first: --revoke")
    secret = _PREFIX + secrets.token_urlsafe(32)
    _write(path, [*keys, Key(name, role, digest(secret), datetime.now(UTC).date().isoformat())])
    return secret


def revoke_key(path: Path, name: str) -> None:
    """Take a key out of a file."""
    keys = _read(path)
    left = [key for key in keys if key.name != name]
    if len(left) == len(keys):
        raise DataError("there is no key with this name", where=path, got=name, accepted=[key.name for key in keys])
    _write(path, left)


def _read(path: Path) -> list[Key]:
    try:
        content = json.loads(path.read_text(encoding="utf-8"))
        keys = [Key(**entry) for entry in content["keys"]]
        sound = all(re.fullmatch("[0-9a-f]{64}", key.sha256) and key.role in ROLES for key in keys)
    except FileNotFoundError:
        raise ConfigError("there is no such file", where=path, hint=f"`recmind key NAME --keys {path}`") from None
    except (OSError, ValueError, TypeError, KeyError) as error:
        raise ConfigError(f"the keys cannot be read: {error!r}", where=path) from error
    if not sound:
        raise ConfigError("a key of the file is damaged", where=path, accepted=f"a sha256 and a role of {ROLES}")
    return keys


def _write(path: Path, keys: list[Key]) -> None:
    content = json.dumps({"keys": [asdict(key) for key in keys]}, indent=2) + "\n"
    path.parent.mkdir(parents=True, exist_ok=True)
    # Made for nobody else from the first byte on, which `write_atomic` would not do.
    handle, name = tempfile.mkstemp(prefix=f".{path.name}.", dir=path.parent)
    try:
        with os.fdopen(handle, "w", encoding="utf-8") as file:
            file.write(content)
            file.flush()
            os.fsync(file.fileno())
        Path(name).replace(path)
    except BaseException:
        Path(name).unlink(missing_ok=True)
        raise
