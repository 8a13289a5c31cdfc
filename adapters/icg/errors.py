"""Errors of icg. Knows nothing about how they are reported.

ValueError
└── IcgError               all errors of icg
    ├── BriefError         a field of a brief is out of range
    │   ├── InputError     a foreign picture, table or cell is out of range
    │   │   └── NoSuchFile a table names a file that does not exist
    │   ├── UnknownProduct a brief names a product that does not exist
    │   └── Unsupported    this checkpoint or this service cannot draw a valid brief
    ├── CheckpointError    a checkpoint is missing, pickled, incomplete, of the wrong widths or for another family
    ├── Cancelled          the caller stopped a request between two denoising steps
    └── Shed               there is no room or no time left for a request
"""


class IcgError(ValueError):
    """Something that icg refuses; the message names the field, the value and what is allowed."""


class BriefError(IcgError):
    """A field of a brief is out of range."""


class UnknownProduct(BriefError):
    """No product of this id was trained here."""


class Unsupported(BriefError):
    """The brief is valid, and another checkpoint or service could draw it."""


class InputError(BriefError):
    """A foreign file or cell cannot be used: `name` of the field, its `value` in words, and what is `allowed`."""

    def __init__(self, name: str, value: str, allowed: str) -> None:
        super().__init__(f"{name}={value}; allowed: {allowed}")
        self.name, self.value, self.allowed = name, value, allowed


class NoSuchFile(InputError):
    """A table names a file that does not exist, or an address, which is not fetched."""


class CheckpointError(IcgError):
    """A checkpoint cannot be used as it is."""


class Cancelled(IcgError):
    """The caller's `on_step` returned False, its request was cancelled, or its scheduler was closed."""


class Shed(IcgError):
    """A request was refused: the queue is full, or it cannot finish before its deadline. A later try may succeed."""
