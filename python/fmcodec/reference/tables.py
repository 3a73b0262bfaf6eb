"""Class sections, and how the encoder chooses classes and tables (docs/format.md, sections 8 and 10.2 to 10.7)."""

from __future__ import annotations

import math
from collections.abc import Iterator, Sequence
from typing import Literal, NamedTuple

import numpy as np

from fmcodec.errors import CorruptStreamError
from fmcodec.reference.bits import BitReader, BitWriter, IntArray
from fmcodec.reference.entropy import (
    LARGEST_SHIFT,
    TOKEN_COUNT,
    Code,
    limited_lengths,
    mask_bytes,
    smallest_shift,
    token_minimum,
    tokens_from_symbols,
)
from fmcodec.spec import CodecSpec, TableClass, Tables

MODES: tuple[Literal["zero", "plain", "masked"], ...] = ("zero", "plain", "masked")
FIRST_LENGTH = 4
LONGEST_LENGTH = 15
LONGEST_RUN = 16
LARGEST_BUCKET = 31
SAMPLE_PERIOD = 256
SAMPLE_RUN = 64
COUNTED_WEIGHT = 64

_FRACTIONS = [math.floor(65536 * math.log2(1 + j / 4096) + 0.5) for j in range(4096)]


def class_width(class_count: int) -> int:
    """``ceil(log2(class count))``."""
    return (class_count - 1).bit_length()


def scan_order(minimum: int, *, is_mask: bool = False) -> list[int]:
    """Section 8: the tokens in the order of the entries of a table."""
    if is_mask or minimum == 0:
        return list(range(TOKEN_COUNT))
    return [(i // 2 if i % 2 == 0 else -(i + 1) // 2) % TOKEN_COUNT for i in range(TOKEN_COUNT)]


def write_class_section(tables: Tables, minimum: int) -> bytes:
    """Section 8: the bytes of a class section."""
    writer = BitWriter()
    writer.write_fields(len(tables.classes) - 1, 5)
    writer.write_fields(tables.band_class, class_width(len(tables.classes)))
    for table_class in tables.classes:
        writer.write_fields(MODES.index(table_class.mode), 2)
        writer.write_fields(table_class.shift, 4)
        if table_class.mode == "masked":
            write_table(writer, table_class.mask_lengths, scan_order(minimum, is_mask=True))
        if table_class.mode != "zero":
            write_table(writer, table_class.value_lengths, scan_order(minimum))
    return writer.to_bytes()


def write_table(writer: BitWriter, lengths: Sequence[int], order: Sequence[int]) -> None:
    """Sections 8 and 10.7: runs of unused entries as long as possible, lengths in their shortest form."""
    entries = [lengths[token] if token < len(lengths) else 0 for token in order]
    while entries[-1] == 0:
        entries.pop()
    writer.write_fields(len(entries) - 1, 8)

    previous, i = FIRST_LENGTH, 0
    while i < len(entries):
        if entries[i]:
            _write_length(writer, entries[i], previous)
            previous = entries[i]
            i += 1
            continue
        run = 1
        while run < LONGEST_RUN and entries[i + run] == 0:
            run += 1
        writer.write([1, 1, 1, 1])
        writer.write_fields(run - 1, 4)
        i += run


def _write_length(writer: BitWriter, length: int, previous: int) -> None:
    """One length that is not 0, relative to the last one."""
    short_forms = {previous: [0], previous + 1: [1, 0], previous - 1: [1, 1, 0]}
    if length in short_forms:
        writer.write(short_forms[length])
    else:
        writer.write([1, 1, 1, 0])
        writer.write_fields(length, 4)


def read_class_section(data: bytes, band_count: int, minimum: int, offset: int = 0) -> Tables:
    """Section 8: the tables of a class section that begins at byte ``offset`` of the frame."""
    reader = BitReader(data, offset)
    class_count = 1 + reader.read_field(5)
    band_class = reader.read_fields(band_count, class_width(class_count))
    if (band_class >= class_count).any():
        raise CorruptStreamError(f"a band is in a class that is not one of {class_count}", offset)
    classes = tuple(_read_class(reader, minimum) for _ in range(class_count))
    reader.finish()
    return Tables(band_class=tuple(band_class.tolist()), classes=classes)


def _read_class(reader: BitReader, minimum: int) -> TableClass:
    offset = reader.offset
    mode, shift = reader.read_field(2), reader.read_field(4)
    if mode >= len(MODES) or shift > LARGEST_SHIFT:
        raise CorruptStreamError(f"mode {mode} or shift {shift} is not valid", offset)
    mask_lengths: tuple[int, ...] = ()
    value_lengths: tuple[int, ...] = ()
    if MODES[mode] == "masked":
        mask_lengths = read_table(reader, scan_order(minimum, is_mask=True))
    if MODES[mode] != "zero":
        value_lengths = read_table(reader, scan_order(minimum))
    try:
        return TableClass(mode=MODES[mode], shift=shift, value_lengths=value_lengths, mask_lengths=mask_lengths)
    except ValueError as error:
        raise CorruptStreamError(str(error), offset) from error


def read_table(reader: BitReader, order: Sequence[int]) -> tuple[int, ...]:
    """Section 8: the code lengths of a table by token, cut after the last used token."""
    entry_count = 1 + reader.read_field(8)
    entries: list[int] = []
    previous = FIRST_LENGTH
    while len(entries) < entry_count:
        offset = reader.offset
        length = _read_length(reader, previous)
        if length > 0:
            entries.append(length)
            previous = length
        else:
            entries += [0] * -length
        if length > LONGEST_LENGTH or length == 0 or len(entries) > entry_count:
            raise CorruptStreamError("a code length outside 1 to 15, or a run beyond the entries", offset)
    if entries[-1] == 0:
        raise CorruptStreamError("the last entry of a table is not used", reader.offset)

    lengths = [0] * TOKEN_COUNT
    for token, length in zip(order, entries, strict=False):
        lengths[token] = length
    while lengths[-1] == 0:
        lengths.pop()
    return tuple(lengths)


def _read_length(reader: BitReader, previous: int) -> int:
    """The next length, or minus the number of unused entries; 0 for the lengths that do not exist."""
    for change in (0, 1, -1):
        if not reader.read_field(1):
            return previous + change
    if not reader.read_field(1):
        return reader.read_field(4)
    return -(reader.read_field(4) + 1)


def log2_fixed(n: int) -> int:
    """Section 10: ``L(n)``, log2 in units of 2^-16."""
    exponent = n.bit_length() - 1
    return 65536 * exponent + _FRACTIONS[((n << 12) >> exponent) - 4096]


def bucket_of_band(count: int, magnitude_sum: int) -> int:
    """Section 10.2: half-octaves of the mean magnitude."""
    if magnitude_sum == 0:
        return 0
    half_octaves = (log2_fixed(magnitude_sum) - log2_fixed(count) + 524288) // 32768
    return min(max(1 + half_octaves, 1), LARGEST_BUCKET)


class Run(NamedTuple):
    """Consecutive buckets, or the class made of them: a shift, and a histogram of the tokens that are counted."""

    buckets: tuple[int, ...]
    shift: int
    symbol_count: int
    smallest: int
    largest: int
    histogram: IntArray

    @property
    def counted(self) -> int:
        """Section 10.4: ``m``, the symbols in the histogram; there are ``symbol_count`` in all."""
        return int(self.histogram.sum())

    @property
    def cost(self) -> int:
        """Section 10.4: estimated bits of the tokens and the table, in units of 2^-16 bits."""
        counts = [int(count) for count in self.histogram[self.histogram > 0]]
        log2_counted = log2_fixed(self.counted)
        token_bits = sum(count * (log2_counted - log2_fixed(count)) for count in counts)
        table_bits = 8 if len(counts) < 2 else 24 + 2 * len(counts)
        if len(counts) > 1 and self.counted <= 8 * int(self.histogram[0]):
            table_bits += 512
        return self.symbol_count * token_bits // self.counted + table_bits * 65536

    def smoothed(self) -> Run:
        """Section 10.5: a histogram in which every symbol of the class has a count, if not all were counted."""
        if self.counted == self.symbol_count:
            return self
        histogram = COUNTED_WEIGHT * self.histogram
        histogram[np.arange(self.smallest >> self.shift, (self.largest >> self.shift) + 1) % TOKEN_COUNT] += 1
        return self._replace(histogram=histogram)


def bucket_runs(blocks: Sequence[IntArray], bucket_of: IntArray, minimum: int) -> list[Run]:
    """Section 10.3: the non-empty buckets with their shifts and histograms; blocks are kept bands by positions."""
    symbols = np.concatenate(blocks, axis=1)
    positions = np.concatenate([np.arange(block.shape[1]) for block in blocks])
    counted = symbols[:, positions % SAMPLE_PERIOD < SAMPLE_RUN]
    runs = []
    for bucket in np.unique(bucket_of).tolist():
        members = symbols[bucket_of == bucket]
        shift = smallest_shift(members, minimum)
        tokens = tokens_from_symbols(counted[bucket_of == bucket], shift)
        histogram = np.bincount(tokens.reshape(-1), minlength=TOKEN_COUNT)
        runs.append(Run((bucket,), shift, members.size, int(members.min()), int(members.max()), histogram))
    return runs


def choose_classes(buckets: Sequence[Run], band_count: int) -> list[Run]:
    """Section 10.4: the cheapest division of the buckets into runs of equal shift.

    ``best[j]`` is, for the number of classes reached, the cost of the first ``j`` buckets and their last class's start.
    """
    bucket_count = len(buckets)
    joined = {
        (i, j): _join(buckets[i:j])
        for j in range(1, bucket_count + 1)
        for i in range(j)
        if len({bucket.shift for bucket in buckets[i:j]}) == 1
    }
    costs = {ends: run.cost for ends, run in joined.items()}
    best: dict[int, tuple[int, int]] = {0: (0, 0)}
    cheapest: tuple[int, list[Run]] | None = None
    starts: list[dict[int, int]] = []
    for class_count in range(1, bucket_count + 1):
        best = {
            j: min((best[i][0] + costs[i, j], i) for i in range(j) if i in best and (i, j) in costs)
            for j in range(1, bucket_count + 1)
            if any(i in best and (i, j) in costs for i in range(j))
        }
        starts.append({j: start for j, (_, start) in best.items()})
        if bucket_count not in best:
            continue
        total = best[bucket_count][0] + band_count * class_width(class_count) * 65536
        if cheapest is None or total < cheapest[0]:
            cheapest = total, [joined[ends] for ends in _trace(starts, bucket_count)]
    assert cheapest is not None
    return cheapest[1]


def _join(buckets: Sequence[Run]) -> Run:
    return Run(
        buckets=tuple(bucket.buckets[0] for bucket in buckets),
        shift=buckets[0].shift,
        symbol_count=sum(bucket.symbol_count for bucket in buckets),
        smallest=min(bucket.smallest for bucket in buckets),
        largest=max(bucket.largest for bucket in buckets),
        histogram=np.sum([bucket.histogram for bucket in buckets], axis=0),
    )


def _trace(starts: Sequence[dict[int, int]], end: int) -> Iterator[tuple[int, int]]:
    """The classes behind the best cost, first to last."""
    if starts:
        start = starts[-1][end]
        yield from _trace(starts[:-1], start)
        yield start, end


def fitted_table(histogram: IntArray, order: Sequence[int], longest: int) -> tuple[tuple[int, ...], int, int]:
    """Section 10.6: the code lengths of a histogram, the bits of all its tokens, and those of the table."""
    lengths = tuple(np.trim_zeros(limited_lengths(histogram, longest), "b").tolist())
    writer = BitWriter()
    write_table(writer, lengths, order)
    return lengths, Code(lengths).bit_count(histogram), len(writer)


def choose_mode(run: Run, streams: Sequence[IntArray], minimum: int, longest: int) -> TableClass:
    """Section 10.6: mode and tables of a smoothed class; ``streams`` are its symbols in each block of the group."""
    zeros, total = int(run.histogram[0]), int(run.histogram.sum())
    if zeros == total and run.shift == 0:
        return TableClass(mode="zero")
    order = scan_order(minimum)
    value_lengths, token_bits, table_bits = fitted_table(run.histogram, order, longest)
    plain_bits = run.symbol_count * token_bits // total + table_bits
    plain = TableClass(mode="plain", shift=run.shift, value_lengths=value_lengths)
    if run.shift or zeros == total or 64 * zeros < total or zeros == 0:
        return plain

    nonzero_histogram = run.histogram.copy()
    nonzero_histogram[0] = 0
    value_lengths, token_bits, table_bits = fitted_table(nonzero_histogram, order, longest)
    value_bits = run.symbol_count * token_bits // total + table_bits
    mask_histogram = np.bincount(np.concatenate([mask_bytes(stream) for stream in streams]), minlength=TOKEN_COUNT)
    mask_lengths, *mask_bits = fitted_table(mask_histogram, scan_order(minimum, is_mask=True), longest)
    if sum(mask_bits) + value_bits >= plain_bits:
        return plain
    return TableClass(mode="masked", value_lengths=value_lengths, mask_lengths=mask_lengths)


def choose_tables(blocks: Sequence[IntArray], spec: CodecSpec) -> Tables:
    """Sections 10.2 to 10.6: the tables of a group; blocks are kept bands by positions."""
    minimum = token_minimum(spec)
    band_count = len(blocks[0])
    position_count = sum(block.shape[1] for block in blocks)
    magnitudes = np.sum([np.abs(block).sum(axis=1) for block in blocks], axis=0).tolist()
    bucket_of = np.array([bucket_of_band(position_count, magnitude) for magnitude in magnitudes])

    band_class = np.zeros(band_count, dtype=np.int64)
    classes = []
    for number, run in enumerate(choose_classes(bucket_runs(blocks, bucket_of, minimum), band_count)):
        is_member = np.isin(bucket_of, run.buckets)
        band_class[is_member] = number
        streams = [block[is_member].reshape(-1) for block in blocks]
        classes.append(choose_mode(run.smoothed(), streams, minimum, spec.max_code_length))
    return Tables(band_class=tuple(band_class.tolist()), classes=tuple(classes))
