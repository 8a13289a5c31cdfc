"""Groups of commands of which a file that cannot be read or written is one line, not a traceback."""

from __future__ import annotations

from typing import Any

from typer.core import TyperGroup

from icg.commands.common import fail


class CommandGroup(TyperGroup):
    """Ends with status 1 and one line for an OSError that names a file; others are mistakes of a program, and stay what they are."""

    def invoke(self, ctx: Any) -> Any:
        """Run the command."""
        try:
            return super().invoke(ctx)
        except OSError as error:
            if error.filename is None:
                raise
            fail(f"error: {error.filename}: {error.strerror or error}")
