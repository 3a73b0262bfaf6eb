"""Feature maps over a link: what is sent comes back, and whatever goes wrong is an error and not a wait."""

from __future__ import annotations

import io
import os
import re
import socket
import threading
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from strategies import Case, cases, same

import fmcodec
from fmcodec import CodecSpec
from fmcodec.link import Receiver, Sender
from fmcodec.streaming import head_size, with_parts

SPEC = CodecSpec(step=1, block_shape=(3, 4))
TIMEOUT = 0.2


def batches(count: int = 3) -> list[Any]:
    """Maps of different shapes."""
    rng = np.random.default_rng(2)
    return [rng.integers(0, 9, (2, 3, 6, 4 + i)).astype(np.uint8) for i in range(count)]


def sent(arrays: list[Any], spec: CodecSpec = SPEC, **options: Any) -> bytes:
    """What a sender sends of them."""
    file = io.BytesIO()
    with Sender(file, spec, **options) as sender:
        sizes = [sender.send(x) for x in arrays]
        assert sum(sizes) == len(file.getvalue())
    return file.getvalue()


class Pieces(io.BytesIO):
    """A file that gives and takes a few bytes at a time, of sizes that hypothesis chooses."""

    def __init__(self, content: bytes, sizes: list[int]) -> None:
        super().__init__(content)
        self.sizes = sizes
        self.calls = 0

    def next_size(self) -> int:
        self.calls += 1
        return self.sizes[self.calls % len(self.sizes)]

    def read(self, count: int | None = -1) -> bytes:
        assert count is not None and count > 0
        return super().read(min(count, self.next_size()))

    def write(self, data: Any) -> int:
        return super().write(memoryview(data)[: self.next_size()])


@given(st.lists(st.integers(1, 100), min_size=1, max_size=5))
def test_pieces_of_any_size(sizes: list[int]) -> None:
    arrays = batches()
    file = Pieces(b"", sizes)
    with Sender(file, SPEC) as sender:
        for x in arrays:
            sender.send(x)
    assert file.getvalue() == sent(arrays)
    received = list(Receiver(Pieces(file.getvalue(), sizes)))
    assert all(same(x, y) for x, y in zip(arrays, received, strict=True))


@given(cases(with_empty=False))
def test_any_map_and_spec(case: Case) -> None:
    x, spec, layout = case.x, case.spec, case.layout
    data = sent([x, x], spec, layout=layout)
    expected = fmcodec.decode(fmcodec.encode(x, spec, layout=layout))
    for given_spec in (None, spec):
        received = list(Receiver(io.BytesIO(data), spec=given_spec))
        assert len(received) == 2 and all(same(expected, y) for y in received)
    # The spec once, in a frame without values, then frames without it.
    frames = list(iter(fmcodec.FrameReader(io.BytesIO(data)).read_frame, None))
    infos = [fmcodec.inspect(frame, spec=spec) for frame in frames]
    assert [info.has_external_spec for info in infos] == [False, True, True, True]
    assert [info.values > 0 for info in infos] == [False, True, True, False]


def test_the_bytes_of_the_page(root: Path) -> None:
    page = (root / "docs" / "split.md").read_text(encoding="utf-8")
    lines = re.findall(r"^ *(\d+): ([0-9A-F ]+?) +; .+$", page, re.MULTILINE)
    data = b""
    for offset, content in lines:
        assert int(offset) == len(data)
        data += bytes.fromhex(content)
    assert data == sent([np.array([[[7, 0]]], np.uint8)], CodecSpec())
    assert Receiver(io.BytesIO(data), spec=CodecSpec()).receive().tolist() == [[[7, 0]]]


def test_headers_of_other_senders() -> None:
    # Blocks per group of the opening frame are the choice of its encoder.
    data = sent(batches())
    size = head_size(data)
    other = with_parts(data[:10] + b"\x01\x00" + data[12:size], []) + data[size:]
    assert other != data
    assert len(list(Receiver(io.BytesIO(other), spec=SPEC))) == 3


def test_no_maps() -> None:
    assert sent([]) == b""
    assert list(Receiver(io.BytesIO())) == []


def test_what_follows_the_maps_is_left_alone() -> None:
    file = io.BytesIO(sent(batches(2)) + b"more")
    receiver = Receiver(file)
    assert len(list(receiver)) == 2 and receiver.receive() is None
    assert file.read() == b"more"


def test_every_cut_is_an_error() -> None:
    data = sent(batches(2))
    for end in range(1, len(data)):
        with pytest.raises(fmcodec.TruncatedStreamError):
            list(Receiver(io.BytesIO(data[:end])))


def test_every_changed_byte_is_an_error() -> None:
    data = sent(batches(2))
    for at in range(len(data)):
        changed = data[:at] + bytes([data[at] ^ 0x10]) + data[at + 1 :]
        with pytest.raises(fmcodec.FmcodecError):
            list(Receiver(io.BytesIO(changed)))


def test_after_a_damaged_payload_the_next_map_comes() -> None:
    arrays = batches()
    data = bytearray(sent(arrays))
    frame = fmcodec.encode(arrays[1], SPEC, embed_spec=False)
    data[data.index(frame) + len(frame) - 1] ^= 1
    receiver = Receiver(io.BytesIO(data))
    assert same(receiver.receive(), arrays[0])
    with pytest.raises(fmcodec.ChecksumError):
        receiver.receive()
    assert same(receiver.receive(), arrays[2]) and receiver.receive() is None


def test_after_a_damaged_head_nothing_is_believed() -> None:
    arrays = batches()
    data = bytearray(sent(arrays))
    data[data.index(fmcodec.encode(arrays[1], SPEC, embed_spec=False)) + 14] ^= 1
    receiver = Receiver(io.BytesIO(data))
    assert same(receiver.receive(), arrays[0])
    with pytest.raises(fmcodec.ChecksumError):
        receiver.receive()
    with pytest.raises(fmcodec.CorruptStreamError, match="out of step since an earlier error: the CRC-32C"):
        receiver.receive()


def test_foreign_streams() -> None:
    data = sent(batches())
    with pytest.raises(fmcodec.CorruptStreamError, match="not an fmcodec frame"):
        Receiver(io.BytesIO(b"GET / HTTP/1.1\r\nHost: example\r\n\r\n")).receive()
    newer = data[:4] + b"\x63\x00" + data[6:]
    with pytest.raises(fmcodec.UnsupportedVersionError, match="version 99"):
        Receiver(io.BytesIO(newer)).receive()
    with pytest.raises(fmcodec.CorruptStreamError, match="must hold the spec and no values"):
        Receiver(io.BytesIO(fmcodec.encode(batches()[0], SPEC))).receive()
    with pytest.raises(fmcodec.SpecMismatchError):
        Receiver(io.BytesIO(fmcodec.encode(batches()[0], SPEC, embed_spec=False))).receive()


def test_announced_sizes_take_no_memory() -> None:
    data = sent(batches())
    huge = data[:36] + b"\xff" * 16 + data[52:]
    with pytest.raises(fmcodec.LimitExceededError, match="max_bytes is 268435456"):
        Receiver(io.BytesIO(huge)).receive()
    # A frame of a few bytes whose array is large: all zeros.
    zeros = sent([np.zeros((64, 256, 256), np.uint8)], CodecSpec())
    assert len(zeros) < 1000
    with pytest.raises(fmcodec.LimitExceededError, match="the decoded array has 4194304 bytes"):
        Receiver(io.BytesIO(zeros), max_bytes=1 << 20).receive()


@pytest.mark.parametrize("other", [SPEC.replace(step=2), SPEC.replace(permutation=(1, 0))])
def test_another_spec_is_refused(other: CodecSpec) -> None:
    receiver = Receiver(io.BytesIO(sent(batches())), spec=other)
    with pytest.raises(fmcodec.SpecMismatchError, match="another spec"):
        receiver.receive()
    # What only steers the encoder is no difference.
    receiver = Receiver(io.BytesIO(sent(batches())), spec=SPEC.replace(effort=3, block_shape=None))
    assert receiver.receive() is not None
    assert receiver.spec == CodecSpec(step=1)


def test_what_cannot_be_sent_leaves_the_stream_as_it_is() -> None:
    file = io.BytesIO()
    with Sender(file, SPEC) as sender:
        for wrong in (np.zeros((3, 4), np.uint8), np.zeros((3, 4, 4)), np.full((3, 4, 4), np.nan, np.float32)):
            with pytest.raises((ValueError, TypeError)):
                sender.send(wrong)
        with pytest.raises(ValueError, match="must have values"):
            sender.send(np.zeros((3, 0, 4), np.uint8))
        assert file.getvalue() == b""
        sender.send(batches()[0])
    with pytest.raises(ValueError, match="closed"):
        sender.send(batches()[0])
    assert file.getvalue() == sent(batches(1))


def test_an_error_of_the_sender_is_no_end() -> None:
    file = io.BytesIO()
    with pytest.raises(KeyError), Sender(file, SPEC) as sender:
        sender.send(batches()[0])
        raise KeyError
    receiver = Receiver(io.BytesIO(file.getvalue()))
    assert receiver.receive() is not None
    with pytest.raises(fmcodec.TruncatedStreamError, match="the sender has not closed it"):
        receiver.receive()


# --- sockets


@pytest.fixture
def pair() -> Iterator[tuple[socket.socket, socket.socket]]:
    """Two connected sockets."""
    left, right = socket.socketpair()
    with left, right:
        yield left, right


def test_a_silent_sender_is_late(pair: tuple[socket.socket, socket.socket]) -> None:
    left, right = pair
    receiver = Receiver(right, timeout=TIMEOUT)
    with pytest.raises(fmcodec.LinkTimeoutError, match="0 of its bytes"):
        receiver.receive()
    with pytest.raises(TimeoutError):
        receiver.receive()
    # Nothing was lost by waiting.
    with Sender(left, SPEC) as sender:
        sender.send(batches()[0])
    assert [same(x, batches()[0]) for x in receiver] == [True]


def test_the_timeout_of_the_socket_itself(pair: tuple[socket.socket, socket.socket]) -> None:
    left, right = pair
    right.settimeout(TIMEOUT)
    left.sendall(sent(batches())[:60])
    receiver = Receiver(right)
    with pytest.raises(fmcodec.LinkTimeoutError, match="60 of its bytes"):
        receiver.receive()
    left.sendall(sent(batches())[60:])
    with pytest.raises(fmcodec.CorruptStreamError, match="out of step"):
        receiver.receive()


def test_a_frame_in_drops_is_late(pair: tuple[socket.socket, socket.socket]) -> None:
    left, right = pair
    is_over = threading.Event()

    def drip() -> None:
        for byte in sent(batches()):
            left.send(bytes([byte]))
            if is_over.wait(TIMEOUT / 10):
                return

    thread = threading.Thread(target=drip)
    thread.start()
    with pytest.raises(fmcodec.LinkTimeoutError):
        Receiver(right, timeout=TIMEOUT).receive()
    is_over.set()
    thread.join()


def test_a_receiver_that_does_not_read(pair: tuple[socket.socket, socket.socket]) -> None:
    left, _ = pair
    noise = np.random.default_rng(0).integers(0, 256, (8, 512, 512)).astype(np.uint8)
    sender = Sender(left, CodecSpec(), timeout=TIMEOUT)
    with pytest.raises(fmcodec.LinkTimeoutError, match="did not take"):
        sender.send(noise)
    with pytest.raises(ValueError, match="closed"):
        sender.send(noise)


def test_a_receiver_that_is_gone(pair: tuple[socket.socket, socket.socket]) -> None:
    left, right = pair
    right.close()
    with pytest.raises(OSError), Sender(left, SPEC) as sender:
        for _ in range(100):
            sender.send(batches()[0])


def test_a_sender_that_is_gone(pair: tuple[socket.socket, socket.socket]) -> None:
    left, right = pair
    left.sendall(sent(batches())[:-1])
    left.close()
    receiver = Receiver(right)
    for x in batches():
        assert same(receiver.receive(), x)
    with pytest.raises(fmcodec.TruncatedStreamError, match="ends after"):
        receiver.receive()


def test_both_directions_at_once(pair: tuple[socket.socket, socket.socket]) -> None:
    # Each end sends in one thread and receives in another, on the same socket.
    arrays = [np.random.default_rng(i).integers(0, 256, (16, 64, 64)).astype(np.uint8) for i in range(20)]
    failures: list[Exception] = []

    def send(connection: socket.socket) -> None:
        with Sender(connection, CodecSpec(), timeout=10) as sender:
            for x in arrays:
                sender.send(x)

    def receive(connection: socket.socket) -> None:
        try:
            received = list(Receiver(connection, timeout=10))
            assert all(same(x, y) for x, y in zip(arrays, received, strict=True))
        except Exception as error:
            failures.append(error)

    threads = [threading.Thread(target=work, args=(end,)) for end in pair for work in (send, receive)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert not failures


@pytest.mark.parametrize("buffering", [-1, 0])
def test_pipes(buffering: int) -> None:
    reader, writer = os.pipe()
    with open(reader, "rb", buffering=buffering) as source, open(writer, "wb", buffering=buffering) as target:
        receiver = Receiver(source)
        with Sender(target, SPEC) as sender:
            for x in batches():
                sender.send(x)
                # Nothing waits in a buffer of the sender.
                assert same(receiver.receive(), x)
        assert receiver.receive() is None
        with pytest.raises(ValueError, match="timeout is for sockets"):
            Receiver(source, timeout=1)


def test_a_full_pipe_that_does_not_block_is_an_error() -> None:
    reader, writer = os.pipe()
    os.set_blocking(writer, False)
    noise = np.random.default_rng(0).integers(0, 256, (8, 256, 256)).astype(np.uint8)
    with open(reader, "rb"), open(writer, "wb", buffering=0) as target, pytest.raises(BlockingIOError):
        Sender(target, CodecSpec()).send(noise)
