"""The exceptions of fmcodec: one tree, each also a ValueError, with the position of what is wrong."""

import difflib
from collections.abc import Iterable


class FmcodecError(ValueError):
    """Base of all errors about streams, specs and policies.

    ``offset`` is the byte position in the frame at which the problem was found, or None where there is no stream.
    """

    def __init__(self, message: str, offset: int | None = None) -> None:
        super().__init__(message if offset is None else f"{message} (at byte {offset})")
        self.offset = offset


class CorruptStreamError(FmcodecError):
    """The bytes are not a valid frame: a field, a table or a block contradicts the format."""


class TruncatedStreamError(CorruptStreamError):
    """The frame ends before its header, index or payload says it does."""


class ChecksumError(CorruptStreamError):
    """A CRC-32C does not match: the bytes were changed after they were written."""


class UnsupportedVersionError(FmcodecError):
    """The frame or the policy has a version that this build does not read."""

    def __init__(self, message: str, offset: int | None = None) -> None:
        super().__init__(f"{message}: use the fmcodec that wrote it, or a newer one", offset)


class LimitExceededError(FmcodecError):
    """Decoding would need more memory than ``max_bytes`` allows."""


class SpecMismatchError(FmcodecError):
    """The frame refers to an external spec, and none or another one was given."""


class NonFiniteError(FmcodecError):
    """The array holds NaN or infinity and the spec says to refuse them."""


class LinkTimeoutError(FmcodecError, TimeoutError):
    """The other end of a link did not send, or take, a whole frame in time."""


def close_names(name: str, known: Iterable[str]) -> str:
    """The end of a message about a name that is not known: ``"; close names: conv1, conv2"``, or nothing."""
    close = difflib.get_close_matches(name, known, n=3)
    return f"; close names: {', '.join(close)}" if close else ""
