"""Errors of icg. Knows nothing about how they are reported.

ValueError
└── IcgError               anything icg refuses
    ├── BriefError         a brief names a value outside what is allowed
    │   ├── InputError     a picture, a table or a cell that others made is outside what is allowed
    │   ├── UnknownProduct a brief names a product that is not here
    │   └── Unsupported    a brief asks for something that this checkpoint or this service cannot do
    ├── CheckpointError    a checkpoint is missing, pickled, incomplete, of the wrong widths or for another family
    ├── Cancelled          the caller asked to stop between two denoising steps
    └── Shed               there is no room or no time left for a request
"""


class IcgError(ValueError):
    """Something icg refuses; the message names the field, the value and what is allowed."""


class BriefError(IcgError):
    """A field of a brief is out of range."""


class UnknownProduct(BriefError):
    """No product of this id was trained here."""


class Unsupported(BriefError):
    """The brief is well formed, and another checkpoint or service could draw it."""


class InputError(BriefError):
    """A file or a cell that others made cannot be used: `name` of the field, its `value` in words, and what is `allowed`."""

    def __init__(self, name: str, value: str, allowed: str) -> None:
        super().__init__(f"{name}={value}; allowed: {allowed}")
        self.name, self.value, self.allowed = name, value, allowed


class CheckpointError(IcgError):
    """A checkpoint cannot be used as it is."""


class Cancelled(IcgError):
    """The caller's `on_step` returned False, its request was withdrawn, or what served it was closed."""


class Shed(IcgError):
    """A request was turned away: the queue is full, or it cannot finish before its deadline. Trying again later may help."""
