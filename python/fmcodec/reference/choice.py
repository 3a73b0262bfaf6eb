"""How the encoder chooses predicted bands, modes and tables (docs/format.md, sections 10.2 to 10.6 and 10.9)."""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import NamedTuple

import numpy as np

from fmcodec.reference.bits import BitArray, BitWriter, IntArray
from fmcodec.reference.classes import (
    COUNTED_WEIGHT,
    Item,
    Measure,
    choose_classes,
    class_width,
    log2_fixed,
    numbered_classes,
)
from fmcodec.reference.entropy import (
    RESIDUAL_MINIMUM,
    TOKEN_COUNT,
    Code,
    fits,
    mask_bytes,
    residuals_from_symbols,
    smallest_shift,
    stream_minimum,
    token_minimum,
    tokens_from_symbols,
)
from fmcodec.reference.lattice import ordered_phases
from fmcodec.reference.lengths import grouped_lengths, limited_lengths
from fmcodec.reference.rans import TOTAL, frequencies_of, lane_count, weights_of
from fmcodec.reference.tables import (
    CONTEXT_COUNT,
    MASK_TABLES,
    ones_of_64,
    scan_order,
    standard_mask_tables,
    write_mask_table,
    write_table,
    write_weight_table,
)
from fmcodec.spec import CodecSpec, TableClass, Tables

EXACT_EFFORT = 3
# Section 10.9.
MOST_CLASSES, FEW_CLASSES = 32, 4
CLASSES_OF_EFFORT = {1: FEW_CLASSES, 2: 8}
LARGEST_BUCKET = 31
BUCKETS = LARGEST_BUCKET + 1
LEAST_SAMPLE = 128
SAMPLE_PERIOD = 256
SAMPLE_RUN = {1: 64, 2: 64, 3: SAMPLE_PERIOD}
SAMPLE_STRIDE = {1: 4, 2: 1, 3: 1}
OWN_MASK_SYMBOLS = {1: 65536, 2: 65536, 3: 0}
POOLING_EFFORT = 1

# Section 10.2: k(a), eighths of a bit for a magnitude.
_EIGHTHS = np.array([math.floor(8 * math.log2(1 + (a if a < 16 else a // 16 * 16 + 8)) + 0.5) for a in range(256)])


def bucket_of_band(count: int, magnitude_sum: int) -> int:
    """Section 10.3: half-octaves of the mean magnitude."""
    if magnitude_sum == 0:
        return 0
    half_octaves = (log2_fixed(magnitude_sum) - log2_fixed(count) + 524288) // 32768
    return min(max(1 + half_octaves, 1), LARGEST_BUCKET)


def _split_cost(count: int, nonzero: int) -> int:
    """Section 10.2: which of the symbols are not 0, in units of 2^-16 bits."""
    terms = [n * log2_fixed(n) if n else 0 for n in (count, nonzero, count - nonzero)]
    return terms[0] - terms[1] - terms[2]


def sequence_cost(numbers: IntArray, *, is_signed: bool) -> int:
    """Section 10.2: a guess of the bits of symbols or residuals, in units of 2^-16 bits."""
    nonzero = int(np.count_nonzero(numbers))
    magnitude_bits = 8192 * int(_EIGHTHS[np.abs(numbers)].sum())
    return _split_cost(numbers.size, nonzero) + magnitude_bits + (65536 * nonzero if is_signed else 0)


def predicted_bands(blocks: Sequence[IntArray], spec: CodecSpec) -> BitArray:
    """Section 10.2: which bands are predicted; blocks are kept bands by rows by columns."""
    minimum = token_minimum(spec)
    none = np.zeros(len(blocks[0]), dtype=np.bool_)
    if not all(fits(block, 0, minimum) for block in blocks):
        return none
    symbols = _sampled_below_first_row(blocks, SAMPLE_RUN[spec.effort])
    residuals = _sampled_below_first_row([residuals_from_symbols(block) for block in blocks], SAMPLE_RUN[spec.effort])
    if spec.effort == POOLING_EFFORT:
        stride = SAMPLE_STRIDE[spec.effort]
        return none | _pays_prediction(residuals[::stride], symbols[::stride], minimum)
    return np.array([_pays_prediction(d, s, minimum) for d, s in zip(residuals, symbols, strict=True)])


def _pays_prediction(residuals: IntArray, symbols: IntArray, minimum: int) -> bool:
    """Section 10.2: whether residuals are so much cheaper than the symbols."""
    residual_cost, cost = sequence_cost(residuals, is_signed=True), sequence_cost(symbols, is_signed=minimum < 0)
    return symbols.size >= LEAST_SAMPLE and 16 * residual_cost < 15 * cost


def _sampled_below_first_row(blocks: Sequence[IntArray], sample_run: int) -> IntArray:
    """Section 10.2: bands by the positions of the sample, in all blocks."""
    below = [block[:, 1:].reshape(len(block), -1) for block in blocks]
    return np.concatenate([rows[:, np.arange(rows.shape[1]) % SAMPLE_PERIOD < sample_run] for rows in below], axis=1)


class CostedTables(NamedTuple):
    """Tables, and the bits of their class section and of all blocks."""

    tables: Tables
    bits: int


def bucket_of_bands(blocks: Sequence[IntArray], predicted: BitArray, spec: CodecSpec) -> IntArray:
    """Section 10.3: the bucket of each band; blocks are kept bands by positions, with residuals of predicted bands."""
    bands = np.concatenate(blocks, axis=1)
    if spec.effort == POOLING_EFFORT:
        minimums = [stream_minimum(token_minimum(spec), is_predicted=is_predicted) for is_predicted in predicted]
        buckets = [smallest_shift(band, minimum) for band, minimum in zip(bands, minimums, strict=True)]
    else:
        buckets = [bucket_of_band(bands.shape[1], magnitude) for magnitude in np.abs(bands).sum(axis=1).tolist()]
    return np.asarray(buckets, dtype=np.int64) + BUCKETS * predicted.astype(np.int64)


def bucket_items(
    blocks: Sequence[IntArray], bucket_of: IntArray, symbol_range: tuple[int, int], spec: CodecSpec
) -> dict[int, Item]:
    """Section 10.3: the non-empty buckets with their shifts and counts; blocks are kept bands by positions.

    Buckets from 32 on are those of predicted bands, for which the blocks hold residuals. ``symbol_range`` is that of
    the symbols.
    """
    symbols = np.concatenate(blocks, axis=1)
    samples = [block[:, np.arange(block.shape[1]) % SAMPLE_PERIOD < SAMPLE_RUN[spec.effort]] for block in blocks]
    items = {}
    for bucket in np.unique(bucket_of).tolist():
        members = symbols[bucket_of == bucket]
        is_predicted = bucket >= BUCKETS
        shift = smallest_shift(members, stream_minimum(token_minimum(spec), is_predicted=is_predicted))
        histogram = np.zeros(TOKEN_COUNT, dtype=np.int64)
        masks = np.zeros(TOKEN_COUNT, dtype=np.int64)
        zeros = 0
        for sample in samples:
            counted = sample[bucket_of == bucket][:: SAMPLE_STRIDE[spec.effort]].reshape(-1)
            histogram += np.bincount(tokens_from_symbols(counted, shift), minlength=TOKEN_COUNT)
            zeros += int((counted == 0).sum())
            masks += np.bincount(mask_bytes(counted[: counted.size // 8 * 8]), minlength=TOKEN_COUNT)
        smallest, largest = int(members.min()), int(members.max())
        if is_predicted and spec.effort == POOLING_EFFORT:
            extent = symbol_range[1] - symbol_range[0]
            smallest, largest = min(-extent, symbol_range[0]), max(extent, symbol_range[1])
            if smallest < RESIDUAL_MINIMUM or largest >= RESIDUAL_MINIMUM + TOKEN_COUNT:
                smallest, largest = RESIDUAL_MINIMUM, RESIDUAL_MINIMUM + TOKEN_COUNT - 1
        items[bucket] = Item(shift, members.size, smallest, largest, histogram, is_predicted, zeros, masks)
    return items


def context_items(blocks: Sequence[IntArray]) -> dict[int, Item]:
    """Section 10.9: the contexts that occur with their histograms; blocks are kept bands by rows by columns."""
    symbols, contexts = (
        np.concatenate(parts)
        for parts in zip(*(phase for block in blocks for phase in ordered_phases(block)), strict=True)
    )
    items = {}
    for context in np.unique(contexts).tolist():
        members = symbols[contexts == context]
        histogram = np.bincount(tokens_from_symbols(members, 0), minlength=TOKEN_COUNT)
        items[context] = Item(0, members.size, int(members.min()), int(members.max()), histogram)
    return items


def fitted_lengths(histogram: IntArray, spec: CodecSpec) -> tuple[int, ...]:
    """Section 10.6: the code lengths of a histogram, cut after the last used token."""
    lengths_of = grouped_lengths if spec.effort < EXACT_EFFORT else limited_lengths
    return tuple(np.trim_zeros(lengths_of(histogram, spec.max_code_length), "b").tolist())


def fitted_table(histogram: IntArray, order: Sequence[int], spec: CodecSpec) -> tuple[tuple[int, ...], int, int]:
    """Section 10.6: the code lengths of a histogram, the bits of all its tokens, and those of the table."""
    lengths = fitted_lengths(histogram, spec)
    writer = BitWriter()
    write_table(writer, lengths, order)
    return lengths, Code(lengths).bit_count(histogram), len(writer)


def nearest_mask_table(ones: int, total: int) -> int:
    """Section 10.6: the standard mask table whose share of ones is nearest."""
    number = 0
    while number + 1 < MASK_TABLES and 128 * ones > (ones_of_64(number) + ones_of_64(number + 1)) * total:
        number += 1
    return number


def expected_mask_bits(number: int, symbol_count: int) -> int:
    """Section 10.6: bits of the masks of a class and of their table if symbols are as the standard table supposes."""
    share = ones_of_64(number)
    bits: int = sum(
        share ** mask.bit_count() * (64 - share) ** (8 - mask.bit_count()) * length
        for mask, length in enumerate(standard_mask_tables()[number])
    )
    return (bits * -(-symbol_count // 8) >> 48) + 6


def choose_mode(item: Item, spec: CodecSpec) -> tuple[TableClass, int]:
    """Section 10.6: mode and tables of a smoothed class, and its bits; without counts of masks only standard ones."""
    zeros, total = item.zeros, int(item.histogram.sum())
    if zeros == total and item.shift == 0:
        return TableClass(mode="zero"), 0
    order = scan_order(stream_minimum(token_minimum(spec), is_predicted=item.is_predicted))
    if not may_be_masked(item):
        return _plain_class(item, order, spec)
    nonzero_histogram = item.histogram.copy()
    nonzero_histogram[0] -= zeros
    value_lengths, token_bits, table_bits = fitted_table(nonzero_histogram, order, spec)
    low_bits = item.shift * (item.symbol_count * (total - zeros) // total)
    masked_bits = item.symbol_count * token_bits // total + low_bits + table_bits
    number = nearest_mask_table(total - zeros, total)
    mask_lengths = standard_mask_tables()[number]
    if item.mask_count == 0:
        masked_bits += expected_mask_bits(number, item.symbol_count)
    else:
        standard_bits = mask_bits(item, mask_lengths)
        own_lengths = fitted_lengths(item.masks, spec)
        own_bits = mask_bits(item, own_lengths)
        if own_bits < standard_bits:
            mask_lengths = own_lengths
        masked_bits += min(own_bits, standard_bits)
    masked = TableClass(
        mode="masked",
        shift=item.shift,
        predicted=item.is_predicted,
        value_lengths=value_lengths,
        mask_lengths=mask_lengths,
    )
    if 2 * zeros < total:
        plain, plain_bits = _plain_class(item, order, spec)
        if plain_bits <= masked_bits:
            return plain, plain_bits
    return masked, masked_bits


def _plain_class(item: Item, order: Sequence[int], spec: CodecSpec) -> tuple[TableClass, int]:
    value_lengths, token_bits, table_bits = fitted_table(item.histogram, order, spec)
    bits = item.symbol_count * token_bits // int(item.histogram.sum()) + table_bits + item.shift * item.symbol_count
    plain = TableClass(mode="plain", shift=item.shift, predicted=item.is_predicted, value_lengths=value_lengths)
    return plain, bits


def may_be_masked(item: Item) -> bool:
    """Section 10.6: whether both zeros and others occur, zeros in one of 64 symbols."""
    total = int(item.histogram.sum())
    return 0 < item.zeros < total and 64 * item.zeros >= total


def mask_bits(item: Item, lengths: Sequence[int]) -> int:
    """Section 10.6: bits of all masks and of their table."""
    writer = BitWriter()
    write_mask_table(writer, lengths)
    return item.mask_count * Code(lengths).bit_count(item.masks) // int(item.masks.sum()) + len(writer)


def _choose_modes(
    class_map: IntArray, classes: Sequence[Item], blocks: Sequence[IntArray], spec: CodecSpec
) -> CostedTables:
    """Sections 10.5 and 10.6: the modes of the classes of a map; blocks are kept bands by rows by columns, and hold
    residuals for predicted bands."""
    chosen = []
    for number, item in enumerate(classes):
        smoothed = item.smoothed()
        if may_be_masked(smoothed) and item.symbol_count >= OWN_MASK_SYMBOLS[spec.effort]:
            if spec.effort == EXACT_EFFORT:
                masks = np.concatenate([mask_bytes(block[class_map == number].reshape(-1)) for block in blocks])
                counts = np.bincount(masks, minlength=TOKEN_COUNT)
                smoothed = smoothed._replace(masks=counts, mask_count=masks.size)
            else:
                counts = COUNTED_WEIGHT * item.masks + 1
                smoothed = smoothed._replace(masks=counts, mask_count=-(-item.symbol_count // 8))
        chosen.append(choose_mode(smoothed, spec))
    map_bits = len(class_map) * class_width(len(classes))
    table_classes = tuple(table_class for table_class, _ in chosen)
    return CostedTables(
        Tables(class_map=tuple(class_map.tolist()), classes=table_classes),
        map_bits + sum(bits for _, bits in chosen),
    )


def choose_tables(blocks: Sequence[IntArray], spec: CodecSpec) -> Tables:
    """Sections 10.2 to 10.6 and 10.9: the tables of a group; blocks are kept bands by rows by columns."""
    predicted = predicted_bands(blocks, spec)
    if spec.effort < EXACT_EFFORT:
        return _choose_band_tables(blocks, spec, predicted, CLASSES_OF_EFFORT[spec.effort]).tables
    candidates = [_choose_band_tables(blocks, spec, predicted, most) for most in (MOST_CLASSES, FEW_CLASSES)]
    if predicted.any():
        candidates.append(_choose_band_tables(blocks, spec, np.zeros_like(predicted), MOST_CLASSES))
    if all(fits(block, 0, token_minimum(spec)) for block in blocks):
        candidates.append(_choose_neighbour_tables(blocks, token_minimum(spec)))
    return min(candidates, key=lambda candidate: candidate.bits).tables


def _choose_neighbour_tables(blocks: Sequence[IntArray], minimum: int) -> CostedTables:
    """Section 10.9: tables of contexts."""
    chosen = choose_classes(context_items(blocks), CONTEXT_COUNT, Measure(True, minimum), MOST_CLASSES)
    bits = CONTEXT_COUNT * class_width(len(chosen)) + sum(32 * lane_count(block.size) for block in blocks)
    classes = []
    for _, item in chosen:
        weights = weights_of(item.histogram)
        frequencies = frequencies_of(weights).tolist()
        writer = BitWriter()
        write_weight_table(writer, weights, scan_order(minimum))
        pairs = zip(item.histogram.tolist(), frequencies, strict=True)
        bits += sum(h * (log2_fixed(TOTAL) - log2_fixed(frequency)) for h, frequency in pairs if h) // 65536
        bits += len(writer)
        classes.append(TableClass(mode="rans", weights=weights))
    class_map = numbered_classes(chosen, CONTEXT_COUNT)
    return CostedTables(Tables(model="neighbours", class_map=tuple(class_map.tolist()), classes=tuple(classes)), bits)


def _choose_band_tables(
    blocks: Sequence[IntArray], spec: CodecSpec, predicted: BitArray, most_classes: int
) -> CostedTables:
    """Sections 10.3 to 10.6: tables of bands, some of them predicted."""
    symbol_range = min(int(block.min()) for block in blocks), max(int(block.max()) for block in blocks)
    blocks = [np.where(predicted.reshape(-1, 1, 1), residuals_from_symbols(block), block) for block in blocks]
    by_position = [block.reshape(len(block), -1) for block in blocks]
    bucket_of = bucket_of_bands(by_position, predicted, spec)
    items = bucket_items(by_position, bucket_of, symbol_range, spec)
    measure = Measure(spec.effort == EXACT_EFFORT, token_minimum(spec))
    chosen = choose_classes(items, len(blocks[0]), measure, most_classes)
    class_map = numbered_classes(chosen, 2 * BUCKETS)[bucket_of]
    return _choose_modes(class_map, [item for _, item in chosen], blocks, spec)
