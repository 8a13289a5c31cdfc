"""icg: everything of Eyecatch that is learned. Importing this package imports neither torch nor transformers.

Knows nothing about services or the wire. See `icg.brief.Brief` for the input and `icg.pipeline.CoverPipeline` for the
verb; `icg.starter.load()` gives a small working set of both.
"""

__all__ = ["__version__"]

__version__ = "0.1.0"
