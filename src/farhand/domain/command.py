"""A catalogue command: its ident, its typed parameters, and what values they take.

Values are matched in full, on the controller and again on the agent. How a command is run (its
argv) is the agent's own knowledge and is not here.
"""

import re
from collections.abc import Mapping
from dataclasses import dataclass
from enum import StrEnum
from typing import Final

from farhand.errors import InvalidParameter


class ParamType(StrEnum):
    """What a parameter's text must look like."""

    TEXT = "text"  # by its pattern
    INT = "int"
    BOOL = "bool"  # true or false
    CHOICE = "choice"
    HOST = "host"  # a name or an address


class OutputFormat(StrEnum):
    """What the command prints."""

    TEXT = "text"
    BINARY = "binary"


# No value may look like an option: it is passed as an argument of its own.
_HOST: Final = re.compile(
    r"[A-Za-z0-9_](?:[A-Za-z0-9_.-]{0,253}[A-Za-z0-9_.])?|[0-9A-Fa-f:.]{2,45}"
)
_TEXT: Final = re.compile(r"[A-Za-z0-9_./:@+=,][A-Za-z0-9_./:@+=, -]{0,255}")


@dataclass(frozen=True, slots=True, kw_only=True)
class Param:
    """One parameter. *pattern* says which texts are taken and is matched in full.

    No value looks like an option: a text never begins with a dash, and a whole number is below 0
    only where *minimum* is; what *choices* lists is taken as it is.
    The pattern comes from farhand's own catalogue or from the host's operator, never from the
    wire: a controller checks types and ranges, the agent checks patterns as well.
    """

    name: str
    type: ParamType = ParamType.TEXT
    required: bool = False
    default: str | None = None
    description: str = ""
    choices: tuple[str, ...] = ()
    minimum: int | None = None
    maximum: int | None = None
    pattern: str | None = None

    def checked(self, value: str, *, patterns: bool = True) -> str:
        """Return *value* if it matches; raise InvalidParameter that says what is taken.

        Without *patterns* the pattern is not tried: the agent that wrote it does that.
        """
        problem = self._problem(value, patterns=patterns)
        if problem:
            msg = f"{self.name}={value!r} {problem}"
            raise InvalidParameter(msg, parameter=self.name)
        return value

    @property
    def regex(self) -> str:
        """What is taken, as one anchored expression for whoever checks in advance.

        A range, and that no text begins with a dash, are not in it.
        """
        match self.type:
            case ParamType.INT:
                found = r"-?[0-9]{1,18}"
            case ParamType.BOOL:
                found = "true|false" if self.pattern is None else self.pattern
            case ParamType.CHOICE:
                found = "|".join(map(re.escape, self.choices))
            case ParamType.HOST:
                found = _HOST.pattern
            case ParamType.TEXT:
                found = _TEXT.pattern if self.pattern is None else self.pattern
        return found if found[:1] == "^" and found[-1:] == "$" else f"^(?:{found})$"

    def _problem(self, value: str, *, patterns: bool) -> str | None:
        own = patterns or self.pattern is None  # whoever wrote a pattern may mean 0 and 1
        match self.type:
            case ParamType.INT:
                if re.fullmatch(r"-?[0-9]{1,18}", value, re.ASCII) is None:
                    return "is not a whole number"
                lowest = self.minimum or 0
                if int(value) < lowest or (value[0] == "-" and lowest >= 0):
                    return f"is below {lowest}"
                if self.maximum is not None and int(value) > self.maximum:
                    return f"is above {self.maximum}"
            case ParamType.BOOL if own and value not in {"true", "false"}:
                return "is neither true nor false"
            case ParamType.CHOICE if value not in self.choices:
                return f"is not one of {', '.join(self.choices)}"
            case ParamType.HOST if _HOST.fullmatch(value) is None:
                return "is not a host name or an address"
            case ParamType.TEXT | ParamType.BOOL if value.startswith("-"):
                return "begins with a dash, as an option would"
            case ParamType.TEXT if self.pattern is None and _TEXT.fullmatch(value) is None:
                return "has characters that are not taken"
        if patterns and self.pattern is not None and re.fullmatch(self.pattern, value) is None:
            return f"does not match {self.pattern}"
        return None


@dataclass(frozen=True, slots=True, kw_only=True)
class Command:
    """An entry of an agent's catalogue, as everybody may see it.

    *label* and *group* are what a DeepFlow agent shows people (its `cmd` and `type_name`); other
    agents have none, and what is run is decided by *ident* alone.
    """

    ident: str
    description: str = ""
    params: tuple[Param, ...] = ()
    output: OutputFormat = OutputFormat.TEXT
    label: str = ""
    group: str = ""

    def checked(self, params: Mapping[str, str], *, patterns: bool = True) -> Mapping[str, str]:
        """Return all values, defaults filled in; raise InvalidParameter for the first wrong one.

        A controller checks without *patterns*: a pattern that an agent sends is foreign input.
        """
        known = {param.name: param for param in self.params}
        for name in params:
            if name not in known:
                takes = ", ".join(known) or "none"
                msg = f"{self.ident} has no parameter {name!r}; it takes: {takes}"
                raise InvalidParameter(msg, parameter=name)
        values: dict[str, str] = {}
        for name, param in known.items():
            given = params.get(name, param.default)
            if given is not None:
                values[name] = param.checked(given, patterns=patterns)
            elif param.required:
                msg = f"{self.ident} needs the parameter {name!r}: {param.description}"
                raise InvalidParameter(msg, parameter=name)
        return values
