"""Feature maps over a link: frames sent to another process, over a socket or any file object.

What travels is a file of frames (`fmcodec.FrameWriter`) with one at each end that holds no values: the first has the
spec, which all others leave out, and the last says that nothing was cut off. docs/split.md specifies it.
"""

from __future__ import annotations

import socket
import time
from collections.abc import Iterator
from types import TracebackType
from typing import Any, BinaryIO

import numpy as np
import numpy.typing as npt

from fmcodec.arrays import as_tensor
from fmcodec.codec import Layout, decode, encode, inspect
from fmcodec.errors import CorruptStreamError, FmcodecError, LinkTimeoutError, SpecMismatchError, TruncatedStreamError
from fmcodec.spec import CodecSpec
from fmcodec.streaming import CHECK_BYTES, HEADER_BYTES, FrameReader

Stream = socket.socket | BinaryIO

DEFAULT_MAX_BYTES = 1 << 28


class Sender:
    """Sends feature maps as frames. As a context manager it says at the end of the block that no more will come.

    Parameters
    ----------
    stream
        A connected socket, or a file object opened for writing in binary mode, a pipe say. It stays open.
    spec
        How maps are coded. It is sent once, before the first map.
    layout, threads
        As in `fmcodec.encode`.
    timeout
        For sockets: the most seconds for the other end to take a frame; None waits as the socket does. It becomes the
        timeout of the socket.

    Examples
    --------
    >>> import io
    >>> file = io.BytesIO()
    >>> with Sender(file, spec) as sender:
    ...     first, second = sender.send(x), sender.send(x)
    >>> first - second  # the frame with the spec
    76
    >>> [y.shape for y in Receiver(io.BytesIO(file.getvalue()))]
    [(8, 28, 28), (8, 28, 28)]
    """

    def __init__(
        self,
        stream: Stream,
        spec: CodecSpec,
        *,
        layout: Layout = "nchw",
        threads: int = 1,
        timeout: float | None = None,
    ) -> None:
        self._file = _timed(stream, timeout)
        self._spec = spec
        self._layout: Layout = layout
        self._threads = threads
        self._channels: int | None = None
        self._is_closed = False

    def send(self, x: Any) -> int:
        """Encodes a feature map and sends it.

        Parameters
        ----------
        x
            Values as for `fmcodec.encode`; at least one.

        Returns
        -------
        int
            Bytes sent, with the first map those of the spec too.

        Raises
        ------
        LinkTimeoutError
            The other end did not take the frame in time. What it has of it is not known, so the link cannot go on.
        ValueError, TypeError
            ``x`` cannot be coded, or the sender is closed; nothing was sent.
        OSError
            Of the stream itself: the other end is gone.
        """
        if self._is_closed:
            raise ValueError("the sender is closed")
        array, _ = as_tensor(x)
        if not array.size:
            raise ValueError("x must have values: frames without are the ends of the stream")
        data = encode(x, self._spec, layout=self._layout, threads=self._threads, embed_spec=False)
        channels = array.shape[-1 if self._layout == "nhwc" else -3]
        if self._channels is None:
            data = _without_values(channels, self._spec, embed_spec=True) + data
            self._channels = channels
        self._write(data)
        return len(data)

    def close(self) -> None:
        """Says that no more maps will come; the stream stays open. Calling it again does nothing."""
        if not self._is_closed and self._channels is not None:
            self._write(_without_values(self._channels, self._spec, embed_spec=False))
        self._is_closed = True

    def __enter__(self) -> Sender:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        # After an error the receiver must not believe that it has everything.
        if kind is None:
            self.close()
        self._is_closed = True

    def _write(self, data: bytes) -> None:
        try:
            self._file.write(data)
        except BaseException as error:
            self._is_closed = True
            if isinstance(error, TimeoutError):
                raise LinkTimeoutError(f"the other end did not take a frame of {len(data)} bytes in time") from error
            raise


class Receiver:
    """Receives the feature maps of a `Sender`; iterating gives all that come.

    Parameters
    ----------
    stream
        A connected socket, or a file object with ``read(count)``, which may return fewer bytes. It stays open, and
        nothing behind the end of the maps is read.
    spec
        The spec that the sender must have; None takes the one it sends.
    max_bytes
        Most bytes of a frame and of its decoded array; 256 MiB unless given.
    threads
        As in `fmcodec.decode`.
    timeout
        For sockets: the most seconds for a whole frame to come, and as many for its last bytes; None waits as the
        socket does. It becomes the timeout of the socket.
    """

    def __init__(
        self,
        stream: Stream,
        *,
        spec: CodecSpec | None = None,
        max_bytes: int = DEFAULT_MAX_BYTES,
        threads: int = 1,
        timeout: float | None = None,
    ) -> None:
        self._file = _timed(stream, timeout)
        self._frames = FrameReader(self._file, max_bytes=max_bytes)
        self._expected = spec
        self._max_bytes = max_bytes
        self._threads = threads
        self._spec: CodecSpec | None = None
        self._is_closed = False
        self._failure: str | None = None

    @property
    def spec(self) -> CodecSpec | None:
        """The spec of the maps, what steers only the encoder left out; None before the first map."""
        return self._spec

    def __iter__(self) -> Iterator[npt.NDArray[Any]]:
        while (x := self.receive()) is not None:
            yield x

    def receive(self) -> npt.NDArray[Any] | None:
        """The next map, as `fmcodec.decode` returns it; None when the sender has closed.

        Raises
        ------
        LinkTimeoutError
            No whole frame came in time. If nothing of it came, one may wait again.
        TruncatedStreamError
            The stream ends within a frame, or without the sender having closed.
        ChecksumError, CorruptStreamError
            A frame is damaged. If only its payload is, the next call goes on with the next frame.
        UnsupportedVersionError, LimitExceededError
            A frame has another stream version, or is too large.
        SpecMismatchError
            The sender has another spec than ``spec``.
        OSError
            Of the stream itself.
        """
        if self._is_closed:
            return None
        if self._spec is None and not self._open():
            self._is_closed = True
            return None
        frame = self._read_frame()
        if frame is None:
            raise self._failed(TruncatedStreamError("the stream ends, but the sender has not closed it"))
        if _has_no_values(frame):
            self._is_closed = True
            return None
        return decode(frame, spec=self._spec, max_bytes=self._max_bytes, threads=self._threads)

    def _open(self) -> bool:
        """Reads the frame with the spec; False if the stream has ended before it."""
        frame = self._read_frame()
        if frame is None:
            return False
        try:
            info = inspect(frame)
        except FmcodecError as error:
            self._failure = str(error)
            raise
        if info.shape[1:] != (0, 0):
            raise self._failed(CorruptStreamError("the first frame must hold the spec and no values"))
        if self._expected is not None and not _is_spec_of(frame, info.shape[0], self._expected):
            raise self._failed(SpecMismatchError("the sender codes with another spec than this receiver was given"))
        self._spec = info.spec
        return True

    def _read_frame(self) -> bytes | None:
        if self._failure is not None:
            raise CorruptStreamError(f"the link is out of step since an earlier error: {self._failure}")
        self._file.begin()
        try:
            return self._frames.read_frame()
        except TimeoutError as error:
            timeout = LinkTimeoutError(f"no whole frame in time: {self._file.count} of its bytes came")
            # Before the first byte nothing is lost by waiting again.
            raise (self._failed(timeout) if self._file.count else timeout) from error
        except (FmcodecError, OSError) as error:
            self._failure = str(error)
            raise

    def _failed(self, error: FmcodecError) -> FmcodecError:
        """The error, after which the place of the next frame is not known."""
        self._failure = str(error)
        return error


def _without_values(channels: int, spec: CodecSpec, *, embed_spec: bool) -> bytes:
    """The frame before the first map, with the spec, or behind the last."""
    return encode(np.empty((channels, 0, 0), np.float32), spec, embed_spec=embed_spec)


def _is_spec_of(frame: bytes, channels: int, spec: CodecSpec) -> bool:
    """Whether a frame without values holds this spec; what steers only the encoder is not in it."""
    try:
        # Between header and check; there is no index. Headers may differ in what the encoder chooses.
        return (
            frame[HEADER_BYTES:-CHECK_BYTES]
            == _without_values(channels, spec, embed_spec=True)[HEADER_BYTES:-CHECK_BYTES]
        )
    except ValueError:
        # The spec is for another number of channels.
        return False


def _has_no_values(frame: bytes) -> bool:
    # N, C, H, W: docs/format.md, section 2.1.
    return not np.frombuffer(frame, "<u4", 4, 12).all()


def _timed(stream: Stream, timeout: float | None) -> _Socket | _File:
    if isinstance(stream, socket.socket):
        return _Socket(stream, timeout)
    if timeout is not None:
        raise ValueError("timeout is for sockets: a file object has none")
    return _File(stream)


class _File:
    """A file object whose writes are complete, and which counts what is read since `begin`."""

    def __init__(self, file: BinaryIO) -> None:
        self._file = file
        self.count = 0

    def begin(self) -> None:
        self.count = 0

    def read(self, count: int) -> bytes:
        piece = self._file.read(count)
        self.count += len(piece)
        return piece

    def write(self, data: bytes) -> None:
        rest = memoryview(data)
        while rest:
            # Unbuffered files may take a part.
            written = self._file.write(rest)
            if not written:
                raise BlockingIOError("the file takes no bytes now; it must be a blocking one")
            rest = rest[written:]
        self._file.flush()


class _Socket:
    """A socket as a file with deadlines.

    The timeout of the socket is set once and not changed in between, because a Sender and a Receiver in two threads may
    share the socket. It bounds each piece, and the deadline the number of pieces: one that comes in drops is late too.
    """

    def __init__(self, connection: socket.socket, timeout: float | None) -> None:
        if timeout is not None:
            connection.settimeout(timeout)
        self._socket = connection
        self._timeout = timeout
        self.begin()

    def begin(self) -> None:
        self.count = 0
        self._deadline = None if self._timeout is None else time.monotonic() + self._timeout

    def read(self, count: int) -> bytes:
        self._check_deadline()
        piece = self._socket.recv(count)
        self.count += len(piece)
        return piece

    def write(self, data: bytes) -> None:
        self.begin()
        rest = memoryview(data)
        while rest:
            self._check_deadline()
            rest = rest[self._socket.send(rest) :]

    def _check_deadline(self) -> None:
        if self._deadline is not None and time.monotonic() > self._deadline:
            raise TimeoutError("the deadline has passed")
