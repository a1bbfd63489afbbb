"""Run commands on every host that dials home.

Loads nothing: every door (`farhand.client`, `farhand.cli`, `farhand.boot`) is imported by name.
"""

__all__ = ["__version__"]

__version__: str


def __getattr__(name: str) -> str:
    """Look the version up when somebody asks: importing farhand stays cheap."""
    if name != "__version__":
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    from importlib.metadata import version  # noqa: PLC0415

    return version("farhand")
