"""Run ids of one's own: whoever starts real processes is known by them on the whole host."""

import secrets

from farhand.domain.ids import RunId


def new_run() -> RunId:
    """An id that no test beside this one uses."""
    letters = "0123456789abcdefghjkmnpqrstvwxyz"
    return RunId("run_0" + "".join(secrets.choice(letters) for _ in range(25)))
