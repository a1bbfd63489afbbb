"""What a DeepFlow request asks to run, read from the JSON that was sealed.

Fields that DeepFlow's server reads over are read over; one that counts and cannot be is told by
its place, never by its value.
"""

from collections.abc import Mapping
from typing import Annotated, Final, Literal

from pydantic import BaseModel, ConfigDict, Field, TypeAdapter, ValidationError

from farhand.domain.command import Command
from farhand.errors import InvalidBody
from farhand.http.deepflow.cipher import UNREADABLE

_LABEL_CHARS: Final = 256


class Parameter(BaseModel):
    """A value for a parameter of the command."""

    model_config = ConfigDict(strict=True)

    key: str | None = None
    value: str | None = None


class RunAsked(BaseModel):
    """A command to run. *cmd* is a name for people: nothing is decided by it."""

    model_config = ConfigDict(strict=True)

    cmd: str | None = None
    command_ident: str | None = None
    params: list[Parameter] | None = None
    linux_ns_pid: Annotated[int, Field(ge=0, lt=1 << 32)] | None = None
    output_format: int | Literal["TEXT", "BINARY"] | None = None
    output_filename: Annotated[str, Field(max_length=1024)] | None = None

    @property
    def binary(self) -> bool:
        """The answer is to be the sealed text alone; text in an envelope unless told."""
        return self.output_format in {1, "BINARY"}

    @property
    def label(self) -> str:
        """What the caller calls the command."""
        return (self.cmd or self.command_ident or "")[:_LABEL_CHARS]

    def values(self, command: Command, *, empty: bool = True) -> Mapping[str, str]:
        """Return the parameters that *command* declares: of two values the first, as an agent.

        Without *empty* those that are optional and empty are left out.
        """
        values: dict[str, str | None] = {}
        for param in self.params or []:
            if param.key is not None:
                values.setdefault(param.key, param.value)
        found = {param: values.get(param.name) for param in command.params}
        return {
            param.name: value
            for param, value in found.items()
            if value or (value is not None and (empty or param.required))
        }


_RUN: Final = TypeAdapter(RunAsked)


def run_asked(raw: bytes) -> RunAsked:
    """Return what *raw* asks for; raise InvalidBody."""
    try:
        asked = _RUN.validate_json(raw)
    except ValidationError as exc:
        errors = exc.errors(include_url=False, include_context=False, include_input=False)
        if errors[0]["type"] == "json_invalid":
            raise InvalidBody(UNREADABLE) from None
        told = "; ".join(
            f"{'.'.join(map(str, error['loc'])) or 'the body'}: {error['msg']}"
            for error in errors[:10]
        )
        raise InvalidBody(told) from None
    if asked.output_format not in {None, 0, 1, "TEXT", "BINARY"}:
        raise InvalidBody("output_format: it is 0 or TEXT, 1 or BINARY")
    return asked
