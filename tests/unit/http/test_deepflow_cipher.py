"""The AES layer, against texts that DeepFlow's own server made."""

import base64

import pytest
from hypothesis import given
from hypothesis import strategies as st

from farhand.errors import InvalidBody
from farhand.http.deepflow.cipher import UNREADABLE, Cipher, key_of, sealed_length

KEYS = {
    (1, 1): "2bb07d6c065752ba4afcf8595f505652c9c35c5d54044b5a2b13b2779d03dd33",
    (2, 1): "e7a20d1cf86e461c41b5e04cd2c72623313878d1040daecfe4528ec60142c665",
    (1, 2): "1e48ecb5984a31304415b0419ff78cf4e4e0e74f1db24bc75af227cba7a48288",
}
TEXTS = {
    b'{"cmd":"date","command_ident":"system_d2e","output_format":0}': (
        b"WUmBtzVnWJDZ+1hBLoOuV35MXppN8PscGO5dKmqDD5EIJM77YssNOrP9jSNId9zPEM8NkPYF74/1pCupgWH+eA=="
    ),
    b"": b"9tPZgyndLepfdM2cEBPP0A==",
    b"Thu\n": b"5a+KYPmfk8rVAQkL7zlH4Q==",
}
CIPHER = Cipher(1, 1)


@pytest.mark.parametrize("whose", KEYS)
def test_a_key_is_the_one_of_deepflow(whose: tuple[int, int]) -> None:
    assert KEYS[whose] == key_of(*whose).hex()


@pytest.mark.parametrize("text", TEXTS)
def test_a_text_is_sealed_as_deepflow_does_and_opened_again(text: bytes) -> None:
    assert TEXTS[text] == CIPHER.sealed(text)
    assert text == CIPHER.opened(TEXTS[text])


@given(parts=st.lists(st.binary(max_size=70), max_size=8))
def test_a_text_is_the_same_however_it_is_cut(parts: list[bytes]) -> None:
    sealing, whole = CIPHER.sealing(), b"".join(parts)
    text = b"".join(map(sealing.update, parts)) + sealing.finish()

    assert CIPHER.sealed(whole) == text
    assert sealed_length(len(whole)) == len(text)
    assert whole == CIPHER.opened(text)


def test_line_breaks_in_base64_are_read_over() -> None:
    text = TEXTS[b"Thu\n"]

    assert b"Thu\n" == CIPHER.opened(text[:5] + b"\r\n" + text[5:] + b"\n")


def refusal(text: bytes) -> str | None:
    """What is said of a text; None when it can be opened, which chance may bring."""
    try:
        CIPHER.opened(text)
    except InvalidBody as exc:
        return str(exc)
    return None


@given(text=st.binary(max_size=100) | st.binary(max_size=100).map(base64.b64encode))
def test_whatever_is_wrong_with_a_text_the_error_is_the_same(text: bytes) -> None:
    assert refusal(text) in {None, UNREADABLE}


@pytest.mark.parametrize(
    "text",
    [
        b"",
        b"=",
        b"no base64!",
        base64.b64encode(b"not a block"),
        base64.b64encode(bytes(16)),  # opens to a padding that cannot be
        Cipher(2, 1).sealed(b"{}"),
    ],
)
def test_a_text_of_no_use_is_refused(text: bytes) -> None:
    with pytest.raises(InvalidBody) as refused:
        CIPHER.opened(text)

    assert UNREADABLE == str(refused.value)
