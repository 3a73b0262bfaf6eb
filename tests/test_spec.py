"""Every check of specs, tables and bases: the last value that is allowed, and the first that is not."""

from __future__ import annotations

import math
import struct
from typing import Any

import numpy as np
import pytest

from fmcodec import Basis, CodecSpec, TableClass, Tables, _core, decode, encode
from fmcodec.spec import binary32, native_spec, spec_of_native

KLT = CodecSpec(
    bits=4, transform="klt", transform_size=2, basis=Basis(means=(0, 15), rows=bytes(4), entry_bits=8), zero_point=0
)
FIELDS: dict[str, Any] = {
    "dct": {"transform": "dct", "transform_size": 8},
    "klt": {name: getattr(KLT, name) for name in ("bits", "transform", "transform_size", "basis")},
}

ALLOWED: list[dict[str, Any]] = [
    {"step": 2.0**-64},
    {"step": 2.0**64},
    {"bits": 2},
    {"bits": 16},
    {"zero_point": 0},
    {"zero_point": 255},
    *({"transform": name, "transform_size": size} for name in ("dct", "hadamard") for size in (4, 8, 16, 32)),
    {**FIELDS["dct"], "kept_bands": 1},
    {**FIELDS["dct"], "kept_bands": 8},
    {"band_steps": (1, 65535)},
    {"permutation": tuple(range(65536))},
    *({"spatial_size": size} for size in (1, 2, 4, 8)),
    {"spatial_size": 2, "bits": 14},
    {"spatial_size": 2, "exact_zeros": True},
    {**FIELDS["dct"], "exact_zeros": True},
    *({"code_layout": "serial", "word_bits": size} for size in (8, 16, 32, 64)),
    {"dead_zone": 0.5},
    {"dead_zone": 1.0},
    {"dead_zone": (0.5, 1.0)},
    {"max_code_length": 8},
    {"max_code_length": 15},
    {"effort": 1},
    {"effort": 3},
    {"block_shape": (1, 1)},
    {"nonfinite": "raise"},
    {"nonfinite": "clamp"},
    FIELDS["klt"],
    {**FIELDS["klt"], "bits": 15},
]


@pytest.mark.parametrize("fields", ALLOWED, ids=range(len(ALLOWED)))
def test_what_is_allowed(fields: dict[str, Any]) -> None:
    spec = CodecSpec(**fields)
    assert all(getattr(spec, name) == value for name, value in fields.items() if name != "kept_bands")
    # The core holds what a decoder needs, and no less.
    again = spec_of_native(native_spec(spec))
    steer = {"dead_zone", "max_code_length", "effort", "block_shape", "nonfinite"}
    assert again == spec.replace(**{name: getattr(CodecSpec(), name) for name in steer})


REFUSED: list[tuple[dict[str, Any], str]] = [
    ({"step": np.nextafter(np.float32(2.0**-64), np.float32(0))}, "step must be a number from 2"),
    ({"step": np.nextafter(np.float32(2.0**64), np.float32(np.inf))}, "step must be a number from 2"),
    ({"step": 1e300}, "not inf"),
    ({"step": math.nan}, "step must be a number from 2"),
    ({"bits": 1}, "bits must be 2 to 16, not 1"),
    ({"bits": 17}, "bits must be 2 to 16, not 17"),
    ({"zero_point": -1}, "zero_point must be 0 to 255, not -1"),
    ({"zero_point": 256}, "zero_point must be 0 to 255, not 256"),
    ({"zero_point": 16, "bits": 4}, "zero_point must be 0 to 15, not 16"),
    ({"transform": "fft"}, "transform must be one of identity, dct, hadamard, klt, not 'fft'"),
    ({"transform_size": 2}, "transform_size of 'identity' must be 1, not 2"),
    ({"transform": "dct", "transform_size": 2}, "transform_size of 'dct' must be 4, 8, 16, 32, not 2"),
    ({"transform": "hadamard", "transform_size": 64}, "must be 4, 8, 16, 32, not 64"),
    ({**FIELDS["dct"], "kept_bands": 0}, "kept_bands must be 1 to 8, not 0"),
    ({**FIELDS["dct"], "kept_bands": 9}, "kept_bands must be 1 to 8, not 9"),
    ({"band_steps": ()}, "band_steps must not be empty"),
    ({"band_steps": (5, 0)}, "band_steps must be 1 to 65535, not 0"),
    ({"band_steps": (5, 65536)}, "band_steps must be 1 to 65535, not 65536"),
    ({"permutation": (0, 0)}, "each channel number once"),
    ({"permutation": (1, 2)}, "each channel number once"),
    ({"permutation": tuple(range(65537))}, "at most 65536 channels"),
    ({"spatial_size": 3}, "spatial_size must be 1, 2, 4, 8, not 3"),
    ({"spatial_size": 2, "bits": 15}, "bits must be 2 to 14, not 15"),
    ({"exact_zeros": True}, "exact_zeros needs a transform"),
    ({"code_layout": "random"}, "code_layout must be one of wavelet, serial, not 'random'"),
    ({"code_layout": "serial", "word_bits": 24}, "word_bits must be 8, 16, 32, 64, not 24"),
    ({"word_bits": 16}, "it must stay 32 here"),
    ({"dead_zone": 0.49}, "dead_zone must be 0.5 to 1, not 0.49"),
    ({"dead_zone": 1.01}, "dead_zone must be 0.5 to 1, not 1.01"),
    ({"dead_zone": math.nan}, "dead_zone must be 0.5 to 1, not nan"),
    ({"dead_zone": ()}, "dead_zone must not be empty"),
    ({"dead_zone": (0.5, 0.49)}, "dead_zone must be 0.5 to 1, not 0.49"),
    ({"max_code_length": 7}, "max_code_length must be 8 to 15, not 7"),
    ({"max_code_length": 16}, "max_code_length must be 8 to 15, not 16"),
    ({"effort": 0}, "effort must be 1 to 3, not 0"),
    ({"effort": 4}, "effort must be 1 to 3, not 4"),
    ({"block_shape": (0, 1)}, "two positive numbers"),
    ({"block_shape": (1,)}, "two positive numbers"),
    ({"block_shape": (1, 1, 1)}, "two positive numbers"),
    ({"nonfinite": "zero"}, "nonfinite must be 'raise' or 'clamp', not 'zero'"),
    ({"transform": "klt"}, "transform 'klt' needs a basis"),
    ({"basis": KLT.basis}, "basis is for transform 'klt', not 'identity'"),
    ({**FIELDS["klt"], "bits": 16}, "bits must be 2 to 15, not 16"),
    ({**FIELDS["klt"], "transform_size": 0}, "transform_size must be 1 to 65535, not 0"),
    ({**FIELDS["klt"], "transform_size": 65536}, "transform_size must be 1 to 65535, not 65536"),
    ({**FIELDS["klt"], "transform_size": 3}, "must divide the 2 channels"),
    ({**FIELDS["klt"], "kept_bands": 1}, "rows of the basis must have 2 bytes, not 4"),
    ({**FIELDS["klt"], "bits": 3}, "means of the basis must be levels, 0 to 7"),
    ({**FIELDS["klt"], "zero_point": 1}, "means of the basis must be levels, -1 to 14"),
]


@pytest.mark.parametrize(("fields", "message"), REFUSED, ids=range(len(REFUSED)))
def test_what_is_refused(fields: dict[str, Any], message: str) -> None:
    with pytest.raises(ValueError, match=message):
        CodecSpec(**fields)


@pytest.mark.parametrize("name", ["bits", "zero_point", "effort", "spatial_size", "word_bits", "max_code_length"])
def test_integers_are_integers(name: str) -> None:
    value = getattr(CodecSpec(), name)
    assert type(getattr(CodecSpec(**{name: np.int8(value)}), name)) is int
    with pytest.raises(TypeError):
        CodecSpec(**{name: float(value)})


def test_what_equals_a_default_is_the_default() -> None:
    assert CodecSpec(permutation=()).permutation is None
    spec = CodecSpec(**FIELDS["dct"], kept_bands=8, band_steps=[1], block_shape=[3, np.int64(4)])
    assert (spec.kept_bands, spec.band_steps, spec.block_shape) == (None, (1,), (3, 4))
    assert spec.kept_band_count == 8 and spec.replace(kept_bands=3).kept_band_count == 3
    assert "band_steps" not in spec.to_json()


# --- ranges


def test_for_range() -> None:
    assert CodecSpec.for_range(0.0, 255.0) == CodecSpec(step=1.0)
    assert CodecSpec.for_range(-1.0, 2.0, bits=2) == CodecSpec(step=1.0, bits=2, zero_point=1)
    # The interval is widened to 0 on either side.
    assert CodecSpec.for_range(51.0, 255.0).level_range == (0, 255)
    assert CodecSpec.for_range(-255.0, -51.0).level_range == (-255, 0)
    # Nothing but zeros, or what no step is small enough for.
    assert CodecSpec.for_range(0.0, 0.0, effort=1) == CodecSpec(effort=1)
    assert CodecSpec.for_range(0.0, 255 * 2.0**-64).step == 2.0**-64
    assert CodecSpec.for_range(0.0, 254 * 2.0**-64).step == 1.0
    for low, high in ((0.0, math.inf), (-math.inf, 0.0), (math.nan, 1.0), (-1e308, 1e308)):
        with pytest.raises(ValueError, match="the range must be finite"):
            CodecSpec.for_range(low, high)


def test_binary32() -> None:
    assert binary32(0.1) == float(np.float32(0.1)) != 0.1
    largest = struct.unpack("<f", b"\xff\xff\x7f\x7f")[0]
    assert binary32(largest) == largest and binary32(2 * largest) == math.inf


# --- tables


def lengths(count: int, length: int) -> tuple[int, ...]:
    """Code lengths that are all alike."""
    return (length,) * count


PLAIN: dict[str, Any] = {"mode": "plain", "value_lengths": (1,)}
MASKED: dict[str, Any] = {"mode": "masked", "value_lengths": (0, 1), "mask_lengths": (1, 1)}

ALLOWED_CLASSES: list[dict[str, Any]] = [
    {"mode": "zero"},
    {**PLAIN, "shift": 13},
    {**PLAIN, "predicted": True},
    MASKED,
    {**MASKED, "predicted": True},
    {**MASKED, "shift": 13},
    {**MASKED, "shift": 1, "value_lengths": (1,)},
    {"mode": "plain", "value_lengths": lengths(256, 8)},
    {"mode": "plain", "value_lengths": (1, *range(2, 15), 15, 15)},
    {"mode": "plain", "value_lengths": (0, 0, 1)},  # a code of one token
    {"mode": "rans", "weights": (1,)},
    {"mode": "rans", "weights": (0,) * 255 + (1,)},
    {"mode": "rans", "weights": (0b111 << 12,)},
]
REFUSED_CLASSES: list[tuple[dict[str, Any], str]] = [
    ({**PLAIN, "shift": -1}, "shift must be 0 to 13, not -1"),
    ({**PLAIN, "shift": 14}, "shift must be 0 to 13, not 14"),
    ({**MASKED, "shift": 14}, "shift must be 0 to 13, not 14"),
    ({"mode": "zero", "shift": 1}, "shift must be 0 in mode 'zero', not 1"),
    ({**MASKED, "shift": 1, "predicted": True}, "shift must be 0 in a predicted class, not 1"),
    ({"mode": "zero", "predicted": True}, "predicted must be False in mode 'zero'"),
    ({"mode": "rans", "weights": (1,), "predicted": True}, "predicted must be False in mode 'rans'"),
    ({**PLAIN, "shift": 1, "predicted": True}, "shift must be 0 in a predicted class, not 1"),
    ({"mode": "zero", "value_lengths": (1,)}, "value_lengths must be empty in this mode"),
    ({**PLAIN, "mask_lengths": (1,)}, "mask_lengths must be empty in this mode"),
    ({**PLAIN, "weights": (1,)}, "weights must be empty in this mode"),
    ({"mode": "plain"}, "value_lengths must be 1 to 256 lengths of 0 to 15, the last not 0"),
    ({"mode": "plain", "value_lengths": (1, 0)}, "the last not 0"),
    ({"mode": "plain", "value_lengths": (0, *lengths(256, 8))}, "1 to 256 lengths"),
    ({"mode": "plain", "value_lengths": (1, *range(2, 16), 16, 16)}, "lengths of 0 to 15"),
    ({"mode": "plain", "value_lengths": (-1, 1)}, "lengths of 0 to 15"),
    ({"mode": "plain", "value_lengths": (2,)}, "complete prefix code"),
    ({"mode": "plain", "value_lengths": (1, 2)}, "complete prefix code"),
    ({"mode": "plain", "value_lengths": (1, 1, 1)}, "complete prefix code"),
    ({**MASKED, "value_lengths": (1, 1)}, "value_lengths.0. must be 0 in mode 'masked'"),
    ({**MASKED, "mask_lengths": ()}, "mask_lengths must be 1 to 256 lengths"),
    ({"mode": "rans"}, "weights must be 1 to 256 numbers"),
    ({"mode": "rans", "weights": (0,) * 256 + (1,)}, "weights must be 1 to 256 numbers"),
    ({"mode": "rans", "weights": (1, 0)}, "the last not 0"),
    ({"mode": "rans", "weights": (-1, 1)}, "numbers of 0 to 32767"),
    ({"mode": "rans", "weights": (1 << 15,)}, "numbers of 0 to 32767"),
    ({"mode": "rans", "weights": (1 << 15, 1)}, "numbers of 0 to 32767"),
    ({"mode": "rans", "weights": (0b1001,)}, "at most three significant bits"),
    ({"mode": "rans", "weights": (1, 0b10010, 1)}, "at most three significant bits"),
]


@pytest.mark.parametrize("fields", ALLOWED_CLASSES, ids=range(len(ALLOWED_CLASSES)))
def test_classes_that_are_allowed(fields: dict[str, Any]) -> None:
    assert all(getattr(TableClass(**fields), name) == value for name, value in fields.items())


@pytest.mark.parametrize(("fields", "message"), REFUSED_CLASSES, ids=range(len(REFUSED_CLASSES)))
def test_classes_that_are_refused(fields: dict[str, Any], message: str) -> None:
    with pytest.raises(ValueError, match=message):
        TableClass(**fields)


def test_maps_of_classes() -> None:
    zero, rans = TableClass(mode="zero"), TableClass(mode="rans", weights=(1,))
    assert len(Tables(class_map=(31,), classes=(zero,) * 32).classes) == 32
    assert Tables(class_map=(), classes=(zero,)).class_map == ()
    steps = (0,) * 50 + (1,) * 47
    for class_map in (steps, (0,) * 96 + (1,)):
        assert Tables(model="neighbours", class_map=class_map, classes=(rans, rans)).class_map == class_map
    for message, fields in (
        ("classes must be 1 to 32 entries, not 0", {"class_map": (), "classes": ()}),
        ("classes must be 1 to 32 entries, not 33", {"class_map": (), "classes": (zero,) * 33}),
        ("class_map must name classes 0 to 0", {"class_map": (0, 1), "classes": (zero,)}),
        ("class_map must name classes 0 to 0", {"class_map": (-1, 0), "classes": (zero,)}),
        ("mode must be 'rans' with model 'neighbours'", {"class_map": (0,), "classes": (rans,)}),
        ("mode must be 'rans' with model 'neighbours'", {"class_map": (0, 1), "classes": (zero, rans)}),
        ("mode must be 'rans' with model 'neighbours'", {"model": "neighbours", "class_map": (0,), "classes": (zero,)}),
        ("must have 97 entries, not 96", {"model": "neighbours", "class_map": (0,) * 96, "classes": (rans,)}),
        ("in the order", {"model": "neighbours", "class_map": (1,) * 97, "classes": (rans, rans)}),
        ("in the order", {"model": "neighbours", "class_map": (0,) * 97, "classes": (rans, rans)}),
        ("in the order", {"model": "neighbours", "class_map": (*steps[:-1], 0), "classes": (rans, rans)}),
        ("in the order", {"model": "neighbours", "class_map": (0, 2, *steps[2:]), "classes": (rans,) * 3}),
    ):
        with pytest.raises(ValueError, match=message):
            Tables(**fields)  # type: ignore[arg-type]


# --- bases


def test_limits_of_a_basis() -> None:
    for fields in (
        {"fraction_bits": 1},
        {"fraction_bits": 14},
        {"means": (-(2**15), 2**15 - 1)},
        {"entry_bits": 8},
    ):
        basis = Basis(**{"means": (0,), "rows": b"\x01\x02", **fields})
        assert Basis.from_bytes(basis.to_bytes(), len(basis.means)) == basis
    for fields, message in (
        ({"fraction_bits": 0}, "fraction_bits must be 1 to 14, not 0"),
        ({"fraction_bits": 15}, "fraction_bits must be 1 to 14, not 15"),
        ({"entry_bits": 12}, "entry_bits must be 8 or 16, not 12"),
        ({"means": ()}, "means must be one number of 16 bits or more"),
        ({"means": (0, 2**15)}, "means must be one number of 16 bits or more"),
        ({"means": (-(2**15) - 1, 0)}, "means must be one number of 16 bits or more"),
    ):
        with pytest.raises(ValueError, match=message):
            Basis(**{"means": (0,), "rows": b"", **fields})


def test_bases_of_floating_point_rows() -> None:
    # As many fraction bits as let the largest entry fit, 12 at most.
    assert Basis.from_array([[7.99]], [0]).fraction_bits == 12
    assert Basis.from_array([[8.0]], [0]).fraction_bits == 11
    assert Basis.from_array([[1.0]], [0], entry_bits=8).fraction_bits == 6
    assert Basis.from_array([[0.0]], [0]).fraction_bits == 12
    exact = Basis.from_array([[127 / 64, -127 / 64]], [3, -4], entry_bits=8, fraction_bits=6)
    assert (exact.rows, exact.means) == (b"\x7f\x81", (3, -4))
    with pytest.raises(ValueError, match="entries do not fit 8 bits with 6 fraction bits"):
        Basis.from_array([[128 / 64]], [0], entry_bits=8, fraction_bits=6)
    with pytest.raises(ValueError, match="means must be 4 numbers, not 3"):
        Basis.from_array(np.zeros((2, 1, 2)), [0, 0, 0])


def encode_unchecked(native: _core.Spec, channels: int = 2, **fields: Any) -> bytes:
    """By the core, with fields that Python has not checked."""
    for name, value in fields.items():
        setattr(native, name, value)
    return _core.encode(np.ones((channels, 4, 4), np.float32), 1, native, False, 1, True)


def test_the_core_refuses_what_python_refuses_before() -> None:
    def encoded(**fields: Any) -> bytes:
        return encode_unchecked(native_spec(CodecSpec(step=0.5, bits=4, zero_point=0)), **fields)

    klt = {"transform": 3, "transform_size": 2, "kept_bands": 2}
    for fields in ({"step": 2.0**-64}, {"step": 2.0**64}, {"bits": 2}, {"bits": 16}, {"zero_point": 15}):
        assert encoded(**fields)
    for message, fields in (
        ("step is outside 2.-64 to 2.64", {"step": float(np.nextafter(np.float32(2.0**64), np.float32(np.inf)))}),
        ("step is outside 2.-64 to 2.64", {"step": float(np.nextafter(np.float32(2.0**-64), np.float32(0)))}),
        ("bits is outside 2 to 16", {"bits": 1}),
        ("bits is outside 2 to 16", {"bits": 17}),
        ("zero_point is above 2.bits - 1", {"zero_point": 16}),
        ("transform_size does not fit the transform", {"transform_size": 0}),
        ("transform_size does not fit the transform", {"transform_size": 4}),
        ("transform_size does not fit the transform", {**klt, "transform_size": 2**16}),
        ("transform_size does not fit the transform", {**klt, "transform_size": 0}),
        ("kept_bands is outside 1 to transform_size", {"kept_bands": 0}),
        ("kept_bands is outside 1 to transform_size", {"kept_bands": 2}),
        ("spatial_size must be 1, 2, 4 or 8", {"spatial_size": 3}),
        ("spatial_size must be 1, 2, 4 or 8", {"spatial_size": 16}),
        ("bits must be at most 14 with a spatial transform", {"bits": 15, "spatial_size": 2}),
        ("exact_zeros needs a transform", {"exact_zeros": True}),
        ("the basis does not fit the levels or the 2 channels", klt),
        ("band_steps must hold at least one step", {"band_steps": []}),
        ("band_steps must hold at least one step, none of them 0", {"band_steps": [1, 0]}),
        ("dead_zone must hold at least one number", {"dead_zone": []}),
        ("word_bits must be 8, 16, 32 or 64", {"word_bits": 24}),
        ("permutation has 3 entries for 2 channels", {"permutation": [0, 1, 2]}),
        ("permutation must hold each channel once", {"permutation": [1, 1]}),
        ("permutation must hold each channel once", {"permutation": [0, 2]}),
    ):
        with pytest.raises(ValueError, match=message):
            encoded(**fields)


def test_largest_basis() -> None:
    channels = 2**16 - 1
    rows = np.zeros((1, channels))
    rows[0, [0, -1]] = 0.5
    basis = Basis.from_array(rows, (0,) * channels)
    spec = CodecSpec(transform="klt", transform_size=channels, kept_bands=1, basis=basis)
    x = np.zeros((channels, 1, 3), np.uint8)
    x[0], x[-1] = [[2, 4, 6]], [[4, 4, 4]]
    decoded = decode(encode(x, spec))
    assert decoded[[0, -1], 0].tolist() == [[2, 2, 3], [2, 2, 3]] and not decoded[1:-1].any()


def test_the_core_refuses_a_basis_of_another_spec() -> None:
    def encoded(mean: int = 0, **fields: Any) -> bytes:
        native = native_spec(CodecSpec(step=0.5, bits=15, zero_point=1))
        native.transform, native.transform_size, native.kept_bands = 3, 2, 2
        native.set_basis(Basis(means=(0, mean), rows=bytes(8)).to_bytes(), 2)
        return encode_unchecked(native, **fields)

    for mean in (-1, 2**15 - 2):
        assert encoded(mean)
    others: list[dict[str, Any]] = [
        {"mean": -2},
        {"mean": 2**15 - 1},
        {"channels": 3},
        {"channels": 4},
        {"bits": 16},
        {"transform_size": 1, "kept_bands": 1},
        {"kept_bands": 1},
        {"transform_size": 4},
    ]
    for fields in others:
        with pytest.raises(ValueError, match=r"the basis does not fit the levels or the . channels of the tensor"):
            encoded(**fields)


def test_the_core_refuses_a_basis_that_does_not_fit() -> None:
    native = _core.Spec()
    native.transform_size, native.kept_bands = 2, 2
    basis = Basis(means=(0, 0), rows=bytes(8)).to_bytes()
    native.set_basis(basis, 2)
    assert native.basis() == (basis, 2)
    for data, channels in ((basis[:-1], 2), (basis + b"\0", 2), (b"", 2), (basis, 3), (basis, 4)):
        with pytest.raises(ValueError, match="the basis does not fit the channels"):
            native.set_basis(data, channels)
