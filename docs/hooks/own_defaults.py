"""Parameters that share one line of a docstring ("gain, kernel_size") keep their own types and defaults in the reference.

Griffe gives all of them those of the first one.
"""

from __future__ import annotations

from typing import Any

import griffe


class OwnDefaults(griffe.Extension):
    """Correct the parsed docstrings of a package once all of it is loaded."""

    def on_package(self, *, pkg: griffe.Module, **_: Any) -> None:
        """Walk through everything that has parameters."""
        correct(pkg)


def correct(thing: griffe.Object) -> None:
    """Types and defaults that griffe took from the signature become those of the parameter itself."""
    if isinstance(thing, (griffe.Function, griffe.Class)) and thing.docstring is not None:
        own = {parameter.name: parameter for parameter in thing.parameters}
        for section in thing.docstring.parsed:
            if section.kind is not griffe.DocstringSectionKind.parameters:
                continue
            for described in section.value:
                parameter = own.get(described.name)
                if parameter is None:
                    continue
                # what the docstring says itself is not an object of the signature, and stays
                if any(described.annotation is other.annotation for other in own.values()):
                    described.annotation = parameter.annotation
                if any(described.value is other.default for other in own.values()):
                    described.value = parameter.default
    for member in thing.members.values():
        if not member.is_alias:
            correct(member)
