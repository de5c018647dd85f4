"""Open sets of objects: the tests of a claim, the kinds of a figure. Built-ins and plug-ins use the same decorator.

    @claim_test("better")
    class Better(LevelTest):
        '''The interval of the gains lies above `margin` (Student 1908).'''
"""

import sys
from collections.abc import Callable, Generator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, field
from importlib import import_module
from pathlib import Path
from traceback import extract_tb
from typing import Generic, Protocol, TypeVar

from sweepstake.base.errors import UserError, one_of


class HasName(Protocol):
    """An object of an open set: its name in a study file, and what that file's reference says of it."""

    name: str
    says: str


One = TypeVar("One", bound=HasName)
Class = TypeVar("Class", bound=type)


@dataclass
class Named(Generic[One]):
    """An open set of objects, each made of a class without arguments. Use it as a decorator: `@set("name")`."""

    set: str
    home: str
    """The module that registers our own. It is named and not imported, for it stands on a floor above."""
    objects: dict[str, One] = field(default_factory=dict[str, One])
    files: dict[str, str] = field(default_factory=dict[str, str])
    """The file that each object is from."""

    def __call__(self, name: str) -> Callable[[Class], Class]:
        def register(class_: Class) -> Class:
            where = f"{class_.__module__}: {self.set} {name}"
            if not class_.__module__.startswith(self.home):
                import_module(self.home)  # Ours first: their names are taken.
            if name in self.objects:
                taken = type(self.objects[name]).__module__
                raise UserError(f"{where}: that name is taken by {taken}. Choose another.")
            if not class_.__doc__ or not getattr(class_, "says", ""):
                raise UserError(f"{where}: has no docstring or no `says`. Say what it does and who proposed it "
                                "in the first, what a study's author must know in the second.")
            made: One = class_()
            made.name = name
            self.objects[name] = made
            self.files[name] = getattr(sys.modules.get(class_.__module__), "__file__", None) or ""
            return class_
        return register

    @property
    def known(self) -> Mapping[str, One]:
        """Every object by its name, in the order in which they were registered."""
        import_module(self.home)
        return self.objects

    def get(self, name: str) -> One:
        """The object of that name; `problem` says beforehand whether there is one."""
        if (problem := self.problem(name)) is not None:
            raise UserError(f'{self.set} = "{name}": {problem}')
        return self.known[name]

    def problem(self, name: str) -> str | None:
        """Which names would do, where this one does not."""
        return None if name in self.known else f"expected {self.quoted(self.known)}."

    def quoted(self, names: Mapping[str, One] | list[str]) -> str:
        """`"a", "b" or "c"`, for messages."""
        return one_of([f'"{name}"' for name in names])

    def described(self) -> str:
        """What a study file may say, for its reference: "`a`: this; `b`: that."."""
        return "; ".join(f"`{name}`: {one.says}" for name, one in self.known.items()) + "."

    def forget(self, path: Path) -> None:
        """Take back what this file has registered."""
        for name in [name for name, file in self.files.items() if file == str(path)]:
            del self.objects[name], self.files[name]

    @contextmanager
    def blamed(self, one: HasName) -> Generator[None]:
        """An error of a plug-in's object, in one line that names the object and the plug-in's own last line."""
        try:
            yield
        except Exception as error:
            if isinstance(error, UserError) or type(one).__module__.startswith(self.home):
                raise
            file = self.files[one.name]
            lines = [each.lineno for each in extract_tb(error.__traceback__) if each.filename == file]
            place = Path(file).name + (f":{lines[-1]}" if lines else "")
            raise UserError(f'{self.set} = "{one.name}" ({place}) raised {type(error).__name__}: {error}. '
                            "Mend the plug-in.") from error
