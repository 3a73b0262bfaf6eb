"""Blocks: the symbols of one tile (docs/format.md, sections 7.3, 9 and 10.8): kept bands by rows by columns."""

from __future__ import annotations

import math
import struct

import numpy as np

from fmcodec.errors import CorruptStreamError
from fmcodec.reference import lattice
from fmcodec.reference.bits import BitReader, BitWriter, IntArray
from fmcodec.reference.entropy import ClassCoder, fits, symbols_from_tokens, token_minimum, tokens_from_symbols
from fmcodec.reference.rans import RansReader, RansTables, RansWriter
from fmcodec.spec import CodecSpec, Tables

KIND_CODED = 0
KIND_RAW = 1
RAW_START = struct.Struct("<BiB")
RAW_MINIMUM_LIMIT = 2**20


class BlockCoder:
    """Writes and reads the blocks of one group with the tables of the group."""

    def __init__(self, tables: Tables, spec: CodecSpec, band_count: int) -> None:
        self._minimum = token_minimum(spec)
        self._class_map = np.array(tables.class_map, dtype=np.int64)
        self._band_count = band_count
        self._coders: list[ClassCoder] = []
        self._rans: RansTables | None = None
        self._word_bits = 8
        if tables.model == "bands":
            self._coders = [ClassCoder(table_class, self._minimum, spec.code_layout) for table_class in tables.classes]
            # Section 9: class streams fill whole words.
            self._word_bits = spec.word_bits if spec.code_layout == "serial" else 8
        else:
            self._rans = RansTables([table_class.weights for table_class in tables.classes])
        self._widest_raw = spec.bits if spec.transform == "identity" else spec.bits + 4

    def write(self, symbols: IntArray) -> bytes:
        """Section 10.8: nothing if all symbols are 0, else the shorter kind before padding to words, coded if equal."""
        if not symbols.any():
            return b""
        raw = _write_raw(symbols)
        coded = self._write_neighbours(symbols) if self._rans else self._write_bands(symbols)
        if coded is None or len(coded) > len(raw):
            return raw
        return coded + bytes(-(len(coded) - 1) % (self._word_bits // 8))

    def read(self, part: bytes, rows: int, columns: int, offset: int) -> IntArray:
        """Section 9: the symbols of a block that begins at byte ``offset`` of the frame."""
        shape = self._band_count, rows, columns
        if not part:
            return np.zeros(shape, dtype=np.int64)
        if part[0] == KIND_CODED:
            return self._read_coded(part, shape, offset)
        if part[0] == KIND_RAW:
            return self._read_raw(part, shape, offset)
        raise CorruptStreamError(f"a block cannot be of kind {part[0]}", offset)

    def _write_bands(self, symbols: IntArray) -> bytes | None:
        """The coded block with classes of bands; None if a symbol has no code."""
        writer = BitWriter()
        for number, coder in enumerate(self._coders):
            members = symbols[self._class_map == number]
            if not coder.can_write(members):
                return None
            coder.write(writer, members)
        return bytes([KIND_CODED]) + writer.to_bytes()

    def _write_neighbours(self, symbols: IntArray) -> bytes | None:
        """The coded block with contexts from neighbours; None if a symbol has no code."""
        assert self._rans is not None
        if not fits(symbols, 0, self._minimum):
            return None
        writer = RansWriter(self._rans, symbols.size)
        for phase_symbols, contexts in reversed(list(lattice.ordered_phases(symbols))):
            tokens, classes = tokens_from_symbols(phase_symbols, 0), self._class_map[contexts]
            if not self._rans.frequencies[classes, tokens].all():
                return None
            writer.write(tokens, classes)
        return bytes([KIND_CODED]) + writer.to_bytes()

    def _read_coded(self, part: bytes, shape: tuple[int, int, int], offset: int) -> IntArray:
        if self._rans:
            reader = RansReader(self._rans, math.prod(shape), part[1:], offset)
            symbols = lattice.restore(shape, lambda contexts: self._read_phase(reader, contexts))
            reader.finish()
            return symbols
        bits = BitReader(part[1:], offset + 1)
        symbols = np.zeros(shape, dtype=np.int64)
        for number, coder in enumerate(self._coders):
            members = self._class_map == number
            symbols[members] = coder.read(bits, symbols[members].shape)
        bits.finish(self._word_bits)
        return symbols

    def _read_phase(self, reader: RansReader, contexts: IntArray) -> IntArray:
        """Section 7.4: the symbols of a phase."""
        return symbols_from_tokens(reader.read(self._class_map[contexts]), self._minimum)

    def _read_raw(self, part: bytes, shape: tuple[int, int, int], offset: int) -> IntArray:
        if len(part) < RAW_START.size:
            raise CorruptStreamError("a raw block is too short", offset)
        _, minimum, width = RAW_START.unpack(part[: RAW_START.size])
        if abs(minimum) > RAW_MINIMUM_LIMIT:
            raise CorruptStreamError(f"a smallest symbol of {minimum} in a raw block is out of range", offset + 1)
        if width > self._widest_raw:
            raise CorruptStreamError(f"symbols of {width} bits in a raw block are too wide", offset + 5)
        reader = BitReader(part[RAW_START.size :], offset + RAW_START.size)
        symbols: IntArray = minimum + reader.read_planes(math.prod(shape), width)
        reader.finish()
        return symbols.reshape(shape)


def _write_raw(symbols: IntArray) -> bytes:
    smallest = int(symbols.min())
    width = (int(symbols.max()) - smallest).bit_length()
    writer = BitWriter()
    writer.write_planes(symbols.reshape(-1) - smallest, width)
    return RAW_START.pack(KIND_RAW, smallest, width) + writer.to_bytes()
