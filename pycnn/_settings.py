"""Small immutable objects that are nothing but their settings.

As frozen dataclasses are, but without code that is generated anew at each import.
"""

from __future__ import annotations

from typing import Any, NoReturn

__all__ = ["Settings"]


class Settings:
    """Base: `repr` rebuilds the object, and objects of one type and the same settings are equal."""

    def _settle(self, **settings: Any) -> None:
        """Keep the settings, from `__init__` and named as its arguments are."""
        vars(self).update(settings)

    def __setattr__(self, name: str, value: Any) -> NoReturn:
        raise AttributeError(f"a {type(self).__name__} cannot be changed; make a new one")

    def __delattr__(self, name: str) -> NoReturn:
        raise AttributeError(f"a {type(self).__name__} cannot be changed; make a new one")

    def __repr__(self) -> str:
        settings = ", ".join(f"{key}={value!r}" for key, value in vars(self).items())
        return f"{type(self).__name__}({settings})"

    def __eq__(self, other: object) -> bool:
        return type(other) is type(self) and vars(other) == vars(self)

    def __hash__(self) -> int:
        return hash((type(self), *vars(self).items()))
