"""`typing.NamedTuple` to who reads and to type checkers, and half of its time at import.

Python's own compiles each annotation when the class is made, and nobody here asks for them.
"""

from __future__ import annotations

from collections import namedtuple
from typing import TYPE_CHECKING

__all__ = ["Record"]

if TYPE_CHECKING:
    from typing import NamedTuple as Record
else:

    class _Maker(type):
        def __new__(cls, name, bases, space):
            if not bases:
                return super().__new__(cls, name, bases, space)
            fields = space["__annotations__"]
            defaults = [space.pop(field) for field in fields if field in space]
            module = space["__module__"]
            made = namedtuple(name, fields, defaults=defaults, module=module)
            for key, value in space.items():
                if key != "__classcell__":
                    setattr(made, key, value)
            return made

    class Record(metaclass=_Maker):
        """Base of tuples whose items have names, types and defaults."""
