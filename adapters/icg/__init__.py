"""icg: everything of Eyecatch that is learned. Importing this package imports neither torch nor transformers.

Knows nothing about services or the wire. `icg.Brief` is the input, `icg.CoverPipeline` the verb, `icg.IcgAdapter` what is trained;
`icg.starter.load()` gives a small working set.
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
    # On first use, because torch takes seconds to import and half of the package does without it.
    if name not in _HOMES:
        raise AttributeError(f"module 'icg' has no attribute {name!r}")
    return getattr(import_module(_HOMES[name]), name)
