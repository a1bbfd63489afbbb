"""Which controller to ask, and with which token, when the caller does not say.

FARHAND_URL, FARHAND_TOKEN and FARHAND_CA come first; then what a controller on this machine left
for its own user. A file that somebody else could have written or can read is refused.
"""

import json
import os
import stat
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

from farhand.client._errors import NotConfigured

_MOST = 64 * 1024  # bytes of such a file


@dataclass(frozen=True, slots=True, kw_only=True)
class Local:
    """What the local controller left: its URL, the file of its token, its CA if it uses TLS."""

    url: str
    token_file: Path
    ca: Path | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class Address:
    """Where to ask and how to be let in. *source* says in words where this came from."""

    url: str
    token: str | None
    ca: str | None
    source: str


def local_file(env: Mapping[str, str]) -> Path:
    """Return where a controller leaves its address for its own user; nothing need be there."""
    base = env.get("XDG_RUNTIME_DIR") or env.get("XDG_STATE_HOME")
    if not base:
        home = env.get("HOME")
        base = str((Path(home) if home else Path.home()) / ".local/state")
    return Path(base) / "farhand/controller.json"


def read_local(env: Mapping[str, str]) -> Local | None:
    """Return what the local controller left, or None; raise NotConfigured for an unsafe file."""
    path = local_file(env)
    text = read_private(path)
    if text is None:
        return None
    try:
        found = json.loads(text)
        ca = found.get("ca")
        return Local(
            url=str(found["url"]),
            token_file=Path(found["token_file"]),
            ca=None if ca is None else Path(ca),
        )
    except (ValueError, KeyError, TypeError, AttributeError) as exc:
        raise NotConfigured(
            f"{path} is not what a controller writes",
            code="local-file-invalid",
            hint="remove it and restart the controller, or set FARHAND_URL and FARHAND_TOKEN",
        ) from exc


def write_local(env: Mapping[str, str], url: str, token_file: Path, ca: Path | None = None) -> Path:
    """Leave the address for this user's CLI, mode 0600, in one step; return the file's path.

    Raises OSError when the directory cannot be made or written.
    """
    path = local_file(env)
    path.parent.mkdir(mode=0o700, parents=True, exist_ok=True)
    written = path.with_name(f".{path.name}.{os.getpid()}")
    content = {
        "url": url,
        "token_file": str(token_file.absolute()),
        "ca": ca and str(ca.absolute()),
    }
    written.unlink(missing_ok=True)
    fd = os.open(written, os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_NOFOLLOW, 0o600)
    with os.fdopen(fd, "w", encoding="utf-8") as file:
        json.dump(content, file)
        file.write("\n")
    written.replace(path)
    return path


def remove_local(env: Mapping[str, str], url: str | None = None) -> None:
    """Take the file away; with *url* only if it still names that controller."""
    path = local_file(env)
    if url is not None:
        try:
            found = read_local(env)
        except NotConfigured:
            return
        if found is None or found.url != url:
            return
    path.unlink(missing_ok=True)


def address(
    env: Mapping[str, str],
    url: str | None = None,
    token: str | None = None,
    ca: str | None = None,
) -> Address:
    """Return the controller to ask: arguments first, then *env*, then the local file.

    The local file's token is sent to the local file's URL alone. Raises NotConfigured.
    """
    ca = ca or env.get("FARHAND_CA") or None
    token = token or env.get("FARHAND_TOKEN") or None
    given = url or env.get("FARHAND_URL") or None
    if given is not None and token is not None:
        source = "the arguments" if url else "FARHAND_URL"
        return Address(url=given, token=_usable(token), ca=ca, source=source)
    local = read_local(env)
    if local is None or given not in {None, local.url}:
        if given is not None:
            return Address(url=given, token=None, ca=ca, source="FARHAND_URL")
        raise NotConfigured(
            "no controller is known",
            hint="start one with `farhand controller`, or set FARHAND_URL and FARHAND_TOKEN",
        )
    return Address(
        url=local.url,
        token=_usable(token) if token else _token_in(local.token_file),
        ca=ca or (None if local.ca is None else str(local.ca)),
        source=str(local_file(env)),
    )


def address_here(url: str | None, token: str | None, ca: str | None) -> Address:
    """Return the controller to ask, by this process's environment. Raises NotConfigured."""
    return address(os.environ, url, token, ca)  # noqa: TID251 - the SDK's one look at it


def _token_in(path: Path) -> str:
    text = read_private(path)
    if text is None:
        raise NotConfigured(
            f"the token file {path} is not there",
            code="token-file-missing",
            hint="restart the controller, or set FARHAND_TOKEN",
        )
    return _usable(text.strip())


def _usable(token: str) -> str:
    if not token or not token.isascii() or not token.isprintable() or " " in token:
        raise NotConfigured(
            "the token has characters that no token has",
            code="token-invalid",
            hint="copy the content of the controller's admin.token into FARHAND_TOKEN",
        )
    return token


def read_private(path: Path) -> str | None:
    """Return the text of a file that only this user can read and write; None if there is none.

    Raises NotConfigured when it belongs to somebody else, or others may touch it.
    """
    try:
        fd = os.open(path, os.O_RDONLY | os.O_NONBLOCK | os.O_CLOEXEC)
    except (FileNotFoundError, NotADirectoryError):
        return None
    except OSError as exc:
        raise NotConfigured(
            f"{path} cannot be read: {exc.strerror}",
            code="local-file-unreadable",
            hint="look at its owner and mode, or set FARHAND_URL and FARHAND_TOKEN",
        ) from exc
    with os.fdopen(fd, "rb") as file:
        status = os.fstat(fd)
        if not stat.S_ISREG(status.st_mode) or status.st_uid != os.geteuid():
            problem = "does not belong to this user"
        elif stat.S_IMODE(status.st_mode) & 0o077:
            problem = "can be read or written by others"
        else:
            return file.read(_MOST).decode("utf-8", "replace")
    raise NotConfigured(
        f"{path} {problem}; it is not used",
        code="local-file-unsafe",
        hint=f"remove it, or `chmod 600 {path}` when it is yours",
    )
