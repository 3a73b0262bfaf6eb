"""Many frames in one file: written and read one by one, and what can be saved of a file that is cut or damaged.

A frame says in its header how long it is, so a file of frames is just one frame after the other.
"""

from __future__ import annotations

import struct
from collections.abc import Iterator, Mapping, Sequence
from typing import Any, BinaryIO, NamedTuple, Protocol

from fmcodec._core import build_info, kernels
from fmcodec.arrays import Buffer, bytes_view
from fmcodec.codec import DEFAULT_MAX_BYTES, Layout, decode, encode, inspect
from fmcodec.errors import (
    ChecksumError,
    CorruptStreamError,
    LimitExceededError,
    TruncatedStreamError,
    UnsupportedVersionError,
)
from fmcodec.spec import CodecSpec

# docs/format.md, section 2.
HEADER_BYTES = 52
INDEX_ENTRY = struct.Struct("<II")
SIZES = struct.Struct("<IIQ")  # spec_size_bytes, index_count, payload_size_bytes
SIZES_AT = 36
CHECK_BYTES = 4
MAGIC = b"\x66\x6d\x63\xa5"
VERSION_AT = 4
STREAM_VERSION: int = build_info()["stream_version"]
# A class section for bands that are all zeros: one class, of mode zero.
ZERO_SECTION = bytes(2)
READ_BYTES = 1 << 20  # asked of a file at a time, so that announced sizes alone take no memory


class FrameWriter:
    """Writes arrays to a file, each as a frame, so that a data set need never be in memory as a whole.

    Parameters
    ----------
    file
        Anything with ``write(bytes)``: a file opened in binary mode, or ``socket.makefile("wb")``. It stays open.
    spec, layout, threads, embed_spec
        As in `encode`.

    Examples
    --------
    >>> import io
    >>> file = io.BytesIO()
    >>> writer = fmcodec.FrameWriter(file, fmcodec.CodecSpec(step=0.1))
    >>> for batch in np.zeros((3, 2, 8, 5, 5), np.float32):
    ...     _ = writer.write(batch)
    >>> len(list(fmcodec.FrameReader(io.BytesIO(file.getvalue()))))
    3
    """

    def __init__(
        self,
        file: BinaryIO,
        spec: CodecSpec | None = None,
        *,
        layout: Layout = "nchw",
        threads: int = 1,
        embed_spec: bool = True,
    ) -> None:
        self._file = file
        self._spec = spec
        self._layout: Layout = layout
        self._threads = threads
        self._embed_spec = embed_spec

    def write(self, x: Any) -> int:
        """Encodes an array and writes its frame; returns the bytes written. Raises what `encode` raises."""
        frame = encode(x, self._spec, layout=self._layout, threads=self._threads, embed_spec=self._embed_spec)
        self._file.write(frame)
        return len(frame)


class Readable(Protocol):
    """What frames can be read from: up to ``count`` bytes at a time, none at the end."""

    def read(self, count: int, /) -> bytes: ...


class FrameReader:
    """Reads a file of frames one by one; iterating decodes them.

    Parameters
    ----------
    file
        Anything with ``read(count)``, which may return fewer bytes: a file opened in binary mode, or
        ``socket.makefile("rb")``. It stays open.
    spec, max_bytes, threads
        As in `decode`. ``max_bytes`` also bounds a frame, before it is read.

    Raises
    ------
    TruncatedStreamError
        While reading: the file ends within a frame.
    CorruptStreamError
        While reading: what follows is no frame, or its head is damaged; then its payload is not waited for.
    UnsupportedVersionError
        While reading: what follows is a frame of another stream version.
    LimitExceededError
        While reading: a frame is larger than ``max_bytes``.
    """

    def __init__(
        self, file: Readable, spec: CodecSpec | None = None, *, max_bytes: int = DEFAULT_MAX_BYTES, threads: int = 1
    ) -> None:
        self._file = file
        self._spec = spec
        self._max_bytes = max_bytes
        self._threads = threads

    def __iter__(self) -> Iterator[Any]:
        while (frame := self.read_frame()) is not None:
            yield decode(frame, spec=self._spec, max_bytes=self._max_bytes, threads=self._threads)

    def read_frame(self) -> bytes | None:
        """The bytes of the next frame, not yet decoded; None at the end of the file."""
        header = self._read(HEADER_BYTES)
        if not header:
            return None
        size = frame_size(header)
        if size > self._max_bytes:
            raise LimitExceededError(f"a frame of {size} bytes is announced, max_bytes is {self._max_bytes}")
        head = header + self._read(head_size(header) - len(header))
        # Before the payload is read: a wrong size would wait for bytes that nobody sends.
        if len(head) == head_size(header):
            check_head(head)
        frame = head + self._read(size - len(head))
        if len(frame) < size:
            raise TruncatedStreamError(f"the file ends after {len(frame)} of the {size} bytes of a frame", len(frame))
        return frame

    def _read(self, count: int) -> bytes:
        """So many bytes, or those up to the end of the file."""
        pieces = []
        while count > 0 and (piece := self._file.read(min(count, READ_BYTES))):
            pieces.append(piece)
            count -= len(piece)
        return b"".join(pieces)


def frame_size(header: bytes) -> int:
    """The size in bytes of the frame that begins with these 52 bytes.

    Raises
    ------
    TruncatedStreamError
        There are fewer bytes.
    CorruptStreamError
        It is no frame.
    UnsupportedVersionError
        It is one of another version, whose header may say its size elsewhere.
    """
    if header[:4] != MAGIC[: len(header)]:
        raise CorruptStreamError("this is not an fmcodec frame", 0)
    version = int.from_bytes(header[VERSION_AT : VERSION_AT + 2], "little")
    if len(header) >= VERSION_AT + 2 and version != STREAM_VERSION:
        message = f"stream version {version} is not supported, this build reads version {STREAM_VERSION}"
        raise UnsupportedVersionError(message, VERSION_AT)
    if len(header) < HEADER_BYTES:
        raise TruncatedStreamError("the frame ends inside its header", len(header))
    return head_size(header) + int(SIZES.unpack_from(header, SIZES_AT)[2])


def head_size(header: bytes) -> int:
    """The size in bytes of header, spec, index and check of the frame that begins with these 52 bytes."""
    spec_size, index_count, _ = SIZES.unpack_from(header, SIZES_AT)
    return int(HEADER_BYTES + spec_size + INDEX_ENTRY.size * index_count + CHECK_BYTES)


def check_head(head: bytes) -> list[tuple[int, int]]:
    """The entries of the index, size and CRC-32C, of a head that is whole; ChecksumError if its own CRC-32C is wrong.

    >>> check_head(fmcodec.encode(np.empty((2, 0, 0), np.float32)))
    []
    """
    check_at = len(head) - CHECK_BYTES
    if kernels.crc32c(head[:check_at]) != int.from_bytes(head[check_at:], "little"):
        raise ChecksumError("the CRC-32C of the header does not match", check_at)
    index_at = HEADER_BYTES + SIZES.unpack_from(head, SIZES_AT)[0]
    return list(INDEX_ENTRY.iter_unpack(head[index_at:check_at]))


class Recovered(NamedTuple):
    """What is left of a frame: ``frame`` decodes, with zeros in place of the ``lost`` ones of its ``blocks``."""

    frame: bytes
    blocks: int
    lost: int


def recover(buffer: Buffer, *, spec: CodecSpec | None = None) -> Recovered:
    """Saves the whole blocks of a frame that is cut off or damaged.

    Blocks whose bytes are missing or do not match their CRC-32C, and those whose tables are lost, become zeros. The
    head of the frame (header, spec and index) must be whole: nothing can be said without it.

    Parameters
    ----------
    buffer
        The frame, or what is there of it; bytes behind its end are left out.
    spec
        The spec the frame was encoded with; only needed for frames with an external one.

    Raises
    ------
    FmcodecError
        Header, spec or index are incomplete or wrong, as `inspect` says.

    Examples
    --------
    >>> frame = fmcodec.encode(np.ones((2, 4, 4), np.uint8), fmcodec.CodecSpec(block_shape=(2, 4)))
    >>> saved = fmcodec.recover(frame[:-1])
    >>> saved.blocks, saved.lost, int(fmcodec.decode(saved.frame).sum())
    (2, 1, 16)
    """
    data = bytes(bytes_view(buffer))
    frame_size(data[:HEADER_BYTES])
    at = head_size(data)
    if len(data) < at:
        raise TruncatedStreamError("the frame ends inside its spec or index", len(data))
    head = data[:at]
    entries = check_head(head)
    # The frame without its payload tells which parts are tables, and whether the rest of the head is right.
    parts = inspect(with_parts(head, [b""] * len(entries)), spec=spec).blocks
    saved, is_group_lost, lost = [], False, 0
    for part, (size, crc) in zip(parts, entries, strict=True):
        content = data[at : at + size]
        at += size
        is_whole = len(content) == size and (not content or kernels.crc32c(content) == crc)
        if part.kind == "tables":
            is_group_lost = not is_whole
            content = ZERO_SECTION if is_group_lost else content
        elif size > 0 and (is_group_lost or not is_whole):
            lost += 1
            content = b""
        saved.append(content)
    return Recovered(with_parts(head, saved), sum(part.kind == "block" for part in parts), lost)


def with_parts(head: bytes, parts: Sequence[bytes], crcs: Mapping[int, int] | None = None) -> bytes:
    """A frame with the header and spec section of this head, and these parts in its index and payload.

    ``crcs`` are the CRC-32C of parts, by number, that are to be believed; those of others are computed.
    """
    known = crcs or {}
    spec_size = SIZES.unpack_from(head, SIZES_AT)[0]
    sizes = SIZES.pack(spec_size, len(parts), sum(map(len, parts)))
    index = b"".join(
        INDEX_ENTRY.pack(len(part), known[number] if number in known else kernels.crc32c(part))
        for number, part in enumerate(parts)
    )
    head = head[:SIZES_AT] + sizes + head[HEADER_BYTES : HEADER_BYTES + spec_size] + index
    return head + kernels.crc32c(head).to_bytes(CHECK_BYTES, "little") + b"".join(parts)
