"""Low-rank weights (arXiv:2106.09685) by name, one set at a time over the denoiser's own. Knows no request."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path

from icg.errors import BriefError, CheckpointError
from icg.families import Family


class Loras:
    """Loads each folder once; `use(name)` puts it beside the denoiser, "" takes it away. What was there before stays at all times.

    Raises CheckpointError for a folder that does not fit.
    """

    def __init__(self, family: Family, folders: Mapping[str, Path]) -> None:
        self._denoiser, self.names = family.denoiser, ("", *sorted(folders))
        self._always = list(getattr(self._denoiser, "peft_config", {}))
        self._now = ""
        for name, folder in sorted(folders.items()):
            if not name or name in self._always:
                raise CheckpointError(
                    f"lora name={name!r}; allowed: one that is not empty and not one of {self._always}"
                )
            family.load_lora(folder, name)
        if folders:
            self._put("")

    def check(self, name: str) -> None:
        """BriefError for one that was not loaded."""
        if name not in self.names:
            raise BriefError(f"lora={name!r}; allowed: {', '.join(map(repr, self.names))}")

    def use(self, name: str) -> None:
        """From the next call on."""
        if name != self._now:
            self._put(name)

    def _put(self, name: str) -> None:
        active = self._always + [name] * bool(name)
        if active:
            self._denoiser.set_adapters(active)
            self._denoiser.enable_lora()
        else:
            self._denoiser.disable_lora()
        self._now = name
