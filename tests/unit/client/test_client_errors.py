import pytest

from farhand.client import _errors as errors


@pytest.mark.parametrize(
    ("status", "expected"),
    [
        (400, errors.BadRequest),
        (401, errors.NotAllowed),
        (403, errors.NotAllowed),
        (404, errors.NotFound),
        (409, errors.Conflict),
        (413, errors.BadRequest),
        (416, errors.BadRequest),
        (422, errors.BadRequest),
        (429, errors.Unavailable),
        (500, errors.FarhandApiError),
        (503, errors.Unavailable),
    ],
)
def test_a_status_means_what_the_caller_can_do(status: int, expected: type) -> None:
    assert expected is errors.error_for(status)


def test_every_error_is_in_the_tree_of_the_docstring() -> None:
    drawn = errors.__doc__ or ""
    defined = {
        name
        for name, value in vars(errors).items()
        if isinstance(value, type) and issubclass(value, errors.ClientError)
    }

    assert set() == {name for name in defined if name not in drawn}


def test_a_refusal_has_its_code_and_its_facts() -> None:
    refusal = errors.NotFound("no", status=404, code="unknown-agent", details={"names": ["x"]})

    assert ("no", 404, "unknown-agent", {"names": ["x"]}) == (
        *(str(refusal), refusal.status, refusal.code, refusal.details),
    )
