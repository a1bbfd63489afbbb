"""The AES layer of DeepFlow's HTTP API, byte for byte.

It hides nothing: the key is made of two small public numbers, the IV is a part of the key, and
nothing tells whether a text was changed. TLS and the bearer token protect a request; this does not.
"""

import base64
import binascii
import hashlib
from functools import lru_cache
from typing import Final

from cryptography.hazmat.primitives import padding
from cryptography.hazmat.primitives.ciphers import Cipher as Aes
from cryptography.hazmat.primitives.ciphers import algorithms, modes

from farhand.errors import InvalidBody

_ROUNDS: Final = 10_000
_BLOCK: Final = 16

# One sentence for whatever is wrong: what exactly would help only somebody who guesses at texts.
UNREADABLE: Final = (
    "the body is not JSON under this user's key: AES-256-CBC, PKCS7, base64; "
    "the key is made of X-User-Id and X-Org-Id"
)


@lru_cache(maxsize=256)  # 2 ms each
def key_of(user: int, org: int) -> bytes:
    """Return the 32 bytes that DeepFlow derives for a user of an org."""
    salt = f"{org}_deepflow".encode()
    return hashlib.pbkdf2_hmac("sha256", str(user).encode(), salt, _ROUNDS)


class Cipher:
    """Opens requests and seals answers of one user of one org."""

    def __init__(self, user: int, org: int) -> None:
        key = key_of(user, org)
        self._aes = Aes(algorithms.AES(key), modes.CBC(key[:_BLOCK]))

    def opened(self, text: bytes) -> bytes:
        """Return what is in base64 *text*; raise InvalidBody, always the same one."""
        try:
            sealed = base64.b64decode(text.translate(None, b"\r\n"), validate=True)
            decryptor = self._aes.decryptor()
            padded = decryptor.update(sealed) + decryptor.finalize()
            unpadder = padding.PKCS7(8 * _BLOCK).unpadder()
            return unpadder.update(padded) + unpadder.finalize()
        except (binascii.Error, ValueError) as exc:
            raise InvalidBody(UNREADABLE) from exc

    def sealed(self, data: bytes) -> bytes:
        """Return *data* as base64 text."""
        sealing = self.sealing()
        return sealing.update(data) + sealing.finish()

    def sealing(self) -> "Sealing":
        """Begin a text whose parts come one after the other."""
        return Sealing(self._aes)


class Sealing:
    """One text that is sealed in parts, each of them once and none of them kept."""

    def __init__(self, aes: Aes[modes.CBC]) -> None:
        self._encryptor = aes.encryptor()
        self._padder = padding.PKCS7(8 * _BLOCK).padder()
        self._rest = b""  # fewer than the three bytes that base64 takes at a time

    def update(self, data: bytes) -> bytes:
        """Take the next bytes; return the base64 text that is complete."""
        ready = self._rest + self._encryptor.update(self._padder.update(data))
        whole = len(ready) - len(ready) % 3
        self._rest = ready[whole:]
        return base64.b64encode(ready[:whole])

    def finish(self) -> bytes:
        """Return the end of the text. Call once."""
        last = self._encryptor.update(self._padder.finalize()) + self._encryptor.finalize()
        return base64.b64encode(self._rest + last)


def sealed_length(size: int) -> int:
    """Return how many characters *size* bytes become."""
    padded = (size // _BLOCK + 1) * _BLOCK
    return 4 * -(-padded // 3)
