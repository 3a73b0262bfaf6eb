"""Blocks: the symbols of one tile (docs/format.md, sections 7.3, 9 and 10.8): bands by rows by columns."""

from __future__ import annotations

import math
import struct

import numpy as np

from fmcodec.errors import CorruptStreamError
from fmcodec.reference import lattice
from fmcodec.reference.bits import BitReader, BitWriter, IntArray
from fmcodec.reference.entropy import (
    NO_PATCHES,
    NO_PLACES,
    TOKEN_COUNT,
    ClassCoder,
    Patches,
    symbols_from_tokens,
    token_minimum,
    tokens_from_symbols,
)
from fmcodec.reference.rans import RansReader, RansTables, RansWriter
from fmcodec.spec import CodecSpec, Tables

KIND_CODED = 0
KIND_RAW = 1
KIND_PATCHED = 2
PATCH_START = struct.Struct("<BI")
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
        self._is_static = spec.tables is not None
        self._word_bits = 8
        if tables.model == "bands":
            self._coders = [ClassCoder(table_class, self._minimum, spec.code_layout) for table_class in tables.classes]
            # Section 9: class streams fill whole words.
            self._word_bits = spec.word_bits if spec.code_layout == "serial" else 8
        else:
            self._rans = RansTables([table_class.weights for table_class in tables.classes])
        self._widest_raw = {"identity": spec.bits, "klt": 16}.get(spec.transform, spec.bits + 4)
        if spec.spatial_size > 1:
            self._widest_raw += spec.spatial_size.bit_length()

    def write(self, symbols: IntArray) -> bytes:
        """Section 10.8: nothing if all symbols are 0, else the shorter kind before padding to words, coded if equal."""
        if not symbols.any():
            return b""
        raw = _write_raw(symbols)
        coded = self._write_neighbours(symbols) if self._rans else self._write_bands(symbols)
        if coded is None or len(coded) > len(raw):
            return raw
        streams_size = len(coded) - len(_split(coded, 0)[0])
        return coded + bytes(-streams_size % (self._word_bits // 8))

    def read(self, part: bytes, rows: int, columns: int, offset: int) -> IntArray:
        """Section 9: the symbols of a block that begins at byte ``offset`` of the frame."""
        shape = self._band_count, rows, columns
        if not part:
            return np.zeros(shape, dtype=np.int64)
        if part[0] in (KIND_CODED, KIND_PATCHED):
            return self._read_coded(part, shape, offset)
        if part[0] == KIND_RAW:
            return self._read_raw(part, shape, offset)
        raise CorruptStreamError(f"a block cannot be of kind {part[0]}", offset)

    def _write_bands(self, symbols: IntArray) -> bytes | None:
        """The coded or patched block with classes of bands; None if it cannot be written."""
        writer = BitWriter()
        places, numbers, first_place = [], [], 0
        for number, coder in enumerate(self._coders):
            members = symbols[self._class_map == number]
            patches = coder.find_patches(members)
            if patches is None:
                return None
            places.append(first_place + patches.places)
            numbers.append(patches.numbers)
            first_place += members.size
            coder.write(writer, members, patches.places)
        return _head(Patches(np.concatenate(places), np.concatenate(numbers))) + writer.to_bytes()

    def _write_neighbours(self, symbols: IntArray) -> bytes | None:
        """The coded or patched block with contexts from neighbours; None if it cannot be written."""
        assert self._rans is not None
        flat = symbols.reshape(-1)
        without = flat.copy()
        places = NO_PLACES
        if self._is_static:
            has_weight = self._rans.frequencies.min(axis=0) > 0
            is_token = (flat >= self._minimum) & (flat < self._minimum + TOKEN_COUNT)
            places = np.flatnonzero(~(is_token & has_weight[flat % TOKEN_COUNT]))
            if places.size and not has_weight[0]:
                return None
            without[places] = 0
        writer = RansWriter(self._rans, symbols.size)
        for phase_symbols, contexts in reversed(list(lattice.ordered_phases(without.reshape(symbols.shape)))):
            writer.write(tokens_from_symbols(phase_symbols, 0), self._class_map[contexts])
        return _head(Patches(places, flat[places])) + writer.to_bytes()

    def _read_coded(self, part: bytes, shape: tuple[int, int, int], offset: int) -> IntArray:
        head, patches = _split(part, offset)
        if (np.diff(patches.places, prepend=-1) <= 0).any() or (patches.places >= math.prod(shape)).any():
            raise CorruptStreamError("patches are out of order or outside their block", offset)
        if self._rans:
            self._check_numbers(patches.numbers, -RAW_MINIMUM_LIMIT, RAW_MINIMUM_LIMIT, offset)
            reader = RansReader(self._rans, math.prod(shape), part[len(head) :], offset)
            restored = lattice.restore(shape, lambda contexts: self._read_phase(reader, contexts))
            reader.finish()
            restored.reshape(-1)[patches.places] = patches.numbers
            return restored
        bits = BitReader(part[len(head) :], offset + len(head))
        symbols = np.zeros(shape, dtype=np.int64)
        first_place = 0
        for number, coder in enumerate(self._coders):
            members = self._class_map == number
            member_shape = symbols[members].shape
            end_place = first_place + math.prod(member_shape)
            is_here = (patches.places >= first_place) & (patches.places < end_place)
            here = Patches(patches.places[is_here] - first_place, patches.numbers[is_here])
            lowest, highest = (0, TOKEN_COUNT - 1) if coder.is_predicted else (-RAW_MINIMUM_LIMIT, RAW_MINIMUM_LIMIT)
            self._check_numbers(here.numbers, lowest, highest, offset)
            symbols[members] = coder.read(bits, member_shape, here)
            first_place = end_place
        bits.finish(self._word_bits)
        return symbols

    @staticmethod
    def _check_numbers(numbers: IntArray, lowest: int, highest: int, offset: int) -> None:
        if ((numbers < lowest) | (numbers > highest)).any():
            raise CorruptStreamError("number of a patch is out of range", offset)

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


def _head(patches: Patches) -> bytes:
    """Section 9: the kind of a coded or patched block, and its patches."""
    if not patches.places.size:
        return bytes([KIND_CODED])
    start = PATCH_START.pack(KIND_PATCHED, patches.places.size)
    return start + patches.places.astype("<u4").tobytes() + patches.numbers.astype("<i4").tobytes()


def _split(block: bytes, offset: int) -> tuple[bytes, Patches]:
    """Section 9: what stands in front of the class streams of a block, and the patches there."""
    if block[0] == KIND_CODED:
        return block[:1], NO_PATCHES
    count = PATCH_START.unpack_from(block)[1] if len(block) >= PATCH_START.size else 0
    numbers_at = PATCH_START.size + 4 * count
    end = numbers_at + 4 * count
    if count == 0 or len(block) < end:
        raise CorruptStreamError("a patched block is too short or has no patches", offset)
    places = np.frombuffer(block[PATCH_START.size : numbers_at], dtype="<u4").astype(np.int64)
    numbers = np.frombuffer(block[numbers_at:end], dtype="<i4").astype(np.int64)
    return block[:end], Patches(places, numbers)


def _write_raw(symbols: IntArray) -> bytes:
    smallest = int(symbols.min())
    width = (int(symbols.max()) - smallest).bit_length()
    writer = BitWriter()
    writer.write_planes(symbols.reshape(-1) - smallest, width)
    return RAW_START.pack(KIND_RAW, smallest, width) + writer.to_bytes()
