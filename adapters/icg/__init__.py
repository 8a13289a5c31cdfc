"""icg: the machine learning of Eyecatch. Importing this package imports neither torch nor transformers.

Knows nothing about services or the wire. `icg.Brief` is the input, `icg.CoverPipeline` draws it, `icg.IcgAdapter` is the trained part;
`icg.starter.load()` loads a small working set.
"""

from importlib import import_module
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from icg.adapter.model import IcgAdapter
    from icg.brief import Brief
    from icg.draw.pipeline import CoverPipeline

__all__ = ["Brief", "CoverPipeline", "IcgAdapter", "__version__"]

__version__ = "0.1.0"

_HOMES = {"Brief": "icg.brief", "CoverPipeline": "icg.draw.pipeline", "IcgAdapter": "icg.adapter.model"}


def __getattr__(name: str) -> Any:
    # Imported at first use: torch takes seconds to import, and half of the package does not need it.
    if name not in _HOMES:
        raise AttributeError(f"module 'icg' has no attribute {name!r}")
    return getattr(import_module(_HOMES[name]), name)
