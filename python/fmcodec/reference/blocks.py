"""Blocks: the symbols of one tile (docs/format.md, sections 7.3, 9 and 10.8); arrays are kept bands by positions."""

from __future__ import annotations

import struct

import numpy as np

from fmcodec.errors import CorruptStreamError
from fmcodec.reference.bits import BitReader, BitWriter, IntArray
from fmcodec.reference.entropy import ClassCoder, token_minimum
from fmcodec.spec import CodecSpec, Tables

KIND_CODED = 0
KIND_RAW = 1
RAW_START = struct.Struct("<BiB")
RAW_MINIMUM_LIMIT = 2**20


class BlockCoder:
    """Writes and reads the blocks of one group with the tables of the group."""

    def __init__(self, tables: Tables, spec: CodecSpec) -> None:
        minimum = token_minimum(spec)
        band_class = np.array(tables.band_class, dtype=np.int64)
        self._band_count = len(band_class)
        self._classes = [
            (ClassCoder(table_class, minimum), np.flatnonzero(band_class == number))
            for number, table_class in enumerate(tables.classes)
        ]
        self._widest_raw = spec.bits if spec.transform == "identity" else spec.bits + 4

    def write(self, symbols: IntArray) -> bytes:
        """Section 10.8: nothing if all symbols are 0, else the shorter kind, coded if both have the same size."""
        if not symbols.any():
            return b""
        raw = _write_raw(symbols)
        if not all(coder.can_write(symbols[bands].reshape(-1)) for coder, bands in self._classes):
            return raw
        coded = self._write_coded(symbols)
        return raw if len(coded) > len(raw) else coded

    def read(self, part: bytes, position_count: int, offset: int) -> IntArray:
        """Section 9: the symbols of a block that begins at byte ``offset`` of the frame."""
        if not part:
            return np.zeros((self._band_count, position_count), dtype=np.int64)
        if part[0] == KIND_CODED:
            return self._read_coded(part, position_count, offset)
        if part[0] == KIND_RAW:
            return self._read_raw(part, position_count, offset)
        raise CorruptStreamError(f"a block cannot be of kind {part[0]}", offset)

    def _write_coded(self, symbols: IntArray) -> bytes:
        writer = BitWriter()
        for coder, bands in self._classes:
            coder.write(writer, symbols[bands].reshape(-1))
        return bytes([KIND_CODED]) + writer.to_bytes()

    def _read_coded(self, part: bytes, position_count: int, offset: int) -> IntArray:
        reader = BitReader(part[1:], offset + 1)
        symbols = np.zeros((self._band_count, position_count), dtype=np.int64)
        for coder, bands in self._classes:
            stream = coder.read(reader, len(bands) * position_count)
            symbols[bands] = stream.reshape(len(bands), position_count)
        reader.finish()
        return symbols

    def _read_raw(self, part: bytes, position_count: int, offset: int) -> IntArray:
        if len(part) < RAW_START.size:
            raise CorruptStreamError("a raw block is too short", offset)
        _, minimum, width = RAW_START.unpack(part[: RAW_START.size])
        if abs(minimum) > RAW_MINIMUM_LIMIT:
            raise CorruptStreamError(f"a smallest symbol of {minimum} in a raw block is out of range", offset + 1)
        if width > self._widest_raw:
            raise CorruptStreamError(f"symbols of {width} bits in a raw block are too wide", offset + 5)
        reader = BitReader(part[RAW_START.size :], offset + RAW_START.size)
        symbols: IntArray = minimum + reader.read_planes(self._band_count * position_count, width)
        reader.finish()
        return symbols.reshape(self._band_count, position_count)


def _write_raw(symbols: IntArray) -> bytes:
    smallest = int(symbols.min())
    width = (int(symbols.max()) - smallest).bit_length()
    writer = BitWriter()
    writer.write_planes(symbols.reshape(-1) - smallest, width)
    return RAW_START.pack(KIND_RAW, smallest, width) + writer.to_bytes()
