"""CodecSpec: the parameters of every stage of the codec, as an immutable value.

The fields up to ``tables`` are what a decoder must know (docs/format.md, section 2.4); the others steer the encoder
only.
"""

from __future__ import annotations

import itertools
import json
import math
import operator
import struct
from collections.abc import Iterable, Mapping
from typing import Any, Literal

import msgspec

from fmcodec import _core
from fmcodec.basis import Basis

Transform = Literal["identity", "dct", "hadamard", "klt"]
ClassModel = Literal["bands", "neighbours"]
ClassMode = Literal["zero", "plain", "masked", "rans"]
CodeLayout = Literal["wavelet", "serial"]

# In the order of their codes in docs/format.md.
TRANSFORMS: tuple[Transform, ...] = ("identity", "dct", "hadamard", "klt")
CLASS_MODELS: tuple[ClassModel, ...] = ("bands", "neighbours")
CLASS_MODES: tuple[ClassMode, ...] = ("zero", "plain", "masked", "rans")
CODE_LAYOUTS: dict[CodeLayout, int] = {"wavelet": 1, "serial": 2}
CONTEXT_COUNT = 97
WORD_SIZES = (8, 16, 32, 64)
DEFAULT_WORD_BITS = 32
TRANSFORM_SIZES = {"identity": (1,), "dct": (4, 8, 16, 32), "hadamard": (4, 8, 16, 32)}
MOST_KLT_CHANNELS = 65535
MOST_KLT_BITS = 15
SPATIAL_SIZES = (1, 2, 4, 8)
MOST_SPATIAL_BITS = 14


class TableClass(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True, omit_defaults=True):
    """One class of bands or contexts, and its tables (docs/format.md, sections 6 to 8).

    ``value_lengths`` and ``mask_lengths`` are code lengths by token, 0 for tokens that are not used, cut after the last
    used token. In a ``predicted`` class tokens stand for the difference from the row above. Mode ``"rans"``, the only
    one of contexts, has ``weights`` instead, cut likewise: shares of the symbols, of which the three highest bits
    count.
    """

    mode: ClassMode
    shift: int = 0
    predicted: bool = False
    value_lengths: tuple[int, ...] = ()
    mask_lengths: tuple[int, ...] = ()
    weights: tuple[int, ...] = ()

    def __post_init__(self) -> None:
        if not 0 <= self.shift <= 13:
            raise ValueError(f"shift must be 0 to 13, not {self.shift}")
        if self.shift and self.mode not in ("plain", "masked"):
            raise ValueError(f"shift must be 0 in mode {self.mode!r}, not {self.shift}")
        if self.predicted and self.mode not in ("plain", "masked"):
            raise ValueError(f"predicted must be False in mode {self.mode!r}")
        if self.predicted and self.shift:
            raise ValueError(f"shift must be 0 in a predicted class, not {self.shift}")
        _check_lengths("value_lengths", self.value_lengths, is_used=self.mode in ("plain", "masked"))
        _check_lengths("mask_lengths", self.mask_lengths, is_used=self.mode == "masked")
        _check_weights(self.weights, is_used=self.mode == "rans")
        if self.mode == "masked" and self.value_lengths[0] and not self.shift:
            raise ValueError("value_lengths[0] must be 0 in mode 'masked' without a shift: zeros are in the mask")


class Tables(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """Static code tables, made by calibration (`TableStatistics`): which class codes a symbol, and the classes.

    With the model ``"bands"``, ``class_map`` holds the class of every kept band; with ``"neighbours"`` that of each of
    the 97 contexts (docs/format.md, section 7.4).
    """

    model: ClassModel = "bands"
    class_map: tuple[int, ...]
    classes: tuple[TableClass, ...]

    def __post_init__(self) -> None:
        if not 1 <= len(self.classes) <= 32:
            raise ValueError(f"classes must be 1 to 32 entries, not {len(self.classes)}")
        if self.class_map and not 0 <= min(self.class_map) <= max(self.class_map) < len(self.classes):
            raise ValueError(f"class_map must name classes 0 to {len(self.classes) - 1}")
        if any((table_class.mode == "rans") != (self.model == "neighbours") for table_class in self.classes):
            raise ValueError("mode must be 'rans' with model 'neighbours', and only there")
        if self.model == "neighbours":
            self._check_contexts()

    def _check_contexts(self) -> None:
        if len(self.class_map) != CONTEXT_COUNT:
            raise ValueError(f"class_map must have {CONTEXT_COUNT} entries, not {len(self.class_map)}")
        steps = {right - left for left, right in itertools.pairwise(self.class_map)}
        if self.class_map[0] != 0 or not steps <= {0, 1} or self.class_map[-1] != len(self.classes) - 1:
            raise ValueError("class_map must number the classes in the order of the contexts")


class CodecSpec(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True, omit_defaults=True, dict=True):
    """How a tensor is coded. Immutable, hashable, picklable; ``to_json`` and ``from_json`` round-trip exactly.

    Parameters
    ----------
    step
        Quantization step in units of the input; kept as the nearest binary32, 2**-64 to 2**64.
    zero_point
        Number of levels below zero: levels run from ``-zero_point`` to ``2**bits - 1 - zero_point``.
    bits
        Width of a level, 2 to 16 (at most 8 for int8 and uint8 input).
    transform, transform_size
        ``"identity"``; ``"dct"`` or ``"hadamard"``, the integer DCT-II or Walsh-Hadamard transform over 4, 8, 16 or 32
        neighbouring channels; ``"klt"``, with a ``basis``, over groups of any size that divides the number of channels.
    kept_bands
        Zonal mask: how many of the ``transform_size`` frequencies or components are kept; None keeps all. With
        ``"klt"`` this is the rank.
    band_steps
        Integer step of each band on top of ``step``: one entry for all, one per frequency, or one per channel.
        A fine ``step`` with coarse ``band_steps`` quantizes in the transform domain.
    permutation
        Order in which channels enter the transform, None for their own order.
    spatial_size
        1, or 2, 4 or 8: what the channel transform gives is transformed over cells of so many rows and columns by the
        integer DCT-II.
    exact_zeros
        Whether levels of 0 stay 0 whatever transforms make of them, as after a ReLU: one flag per value is coded beside
        the bands (docs/format.md, section 4.5). Only with a channel or spatial transform.
    basis
        Matrix and means of the transform ``"klt"``, None for the others.
    code_layout
        How Huffman codes stand in the stream: ``"wavelet"``, node by node along the code tree, which vector
        instructions read fast; or ``"serial"``, one after the other, as hardware packs them. `relayout` converts
        frames. Tables with contexts from neighbours have no such codes.
    word_bits
        With ``"serial"``: the codes of a block fill whole words of 8, 16, 32 or 64 bits.
    tables
        Static code tables, or None to derive tables from the tensor and send them in the stream.
    dead_zone
        Half the width of the interval of coefficients that becomes 0, in band steps: 0.5 (plain rounding) to 1. One
        number for all bands, or several as in ``band_steps``: `TableStatistics.dead_zone` makes them from samples.
    max_code_length
        Longest code the encoder makes, 8 to 15 bits.
    effort
        How hard the encoder looks for fewer bits: 1 (fastest) to 3 (smallest); docs/entropy.md says what each does.
    block_shape
        Rows and columns of a block, None to choose by size; rounded up to whole cells. Blocks decode alone.
    nonfinite
        ``"raise"`` refuses NaN and infinity, ``"clamp"`` codes NaN as 0 and infinities as the nearest level.

    Raises
    ------
    ValueError
        A value is out of its range or contradicts another one.

    Examples
    --------
    >>> spec = CodecSpec(step=0.05, bits=8)
    >>> CodecSpec.from_json(spec.to_json()) == spec
    True
    """

    step: float = 1.0
    zero_point: int = 0
    bits: int = 8
    transform: Transform = "identity"
    transform_size: int = 1
    kept_bands: int | None = None
    band_steps: tuple[int, ...] = (1,)
    permutation: tuple[int, ...] | None = None
    spatial_size: int = 1
    exact_zeros: bool = False
    basis: Basis | None = None
    code_layout: CodeLayout = "wavelet"
    word_bits: int = DEFAULT_WORD_BITS
    tables: Tables | None = None
    dead_zone: float | tuple[float, ...] = 0.5
    max_code_length: int = 12
    effort: int = 2
    block_shape: tuple[int, int] | None = None
    nonfinite: Literal["raise", "clamp"] = "raise"

    def __post_init__(self) -> None:
        for name in ("zero_point", "bits", "transform_size", "spatial_size", "word_bits", "max_code_length", "effort"):
            self._normalize(name, operator.index(getattr(self, name)))
        self._normalize("step", binary32(self.step))
        self._normalize("dead_zone", _dead_zone(self.dead_zone))
        self._normalize("band_steps", _integers(self.band_steps))
        if self.permutation is not None:
            self._normalize("permutation", _integers(self.permutation) or None)
        if self.kept_bands is not None:
            kept = operator.index(self.kept_bands)
            self._normalize("kept_bands", None if kept == self.transform_size else kept)
        if self.block_shape is not None:
            self._normalize("block_shape", _integers(self.block_shape))

        if not 2.0**-64 <= self.step <= 2.0**64:
            raise ValueError(f"step must be a number from 2**-64 to 2**64, not {self.step}")
        _check_range("bits", self.bits, 2, 16)
        _check_range("zero_point", self.zero_point, 0, 2**self.bits - 1)
        if self.transform not in TRANSFORMS:
            raise ValueError(f"transform must be one of {', '.join(TRANSFORMS)}, not {self.transform!r}")
        if self.transform == "klt":
            self._check_basis()
        elif self.basis is not None:
            raise ValueError(f"basis is for transform 'klt', not {self.transform!r}")
        elif self.transform_size not in TRANSFORM_SIZES[self.transform]:
            sizes = ", ".join(map(str, TRANSFORM_SIZES[self.transform]))
            raise ValueError(f"transform_size of {self.transform!r} must be {sizes}, not {self.transform_size}")
        _check_range("kept_bands", self.kept_band_count, 1, self.transform_size)
        if not self.band_steps:
            raise ValueError("band_steps must not be empty")
        _check_range("band_steps", min(self.band_steps), 1, 65535)
        _check_range("band_steps", max(self.band_steps), 1, 65535)
        if self.permutation is not None and sorted(self.permutation) != list(range(len(self.permutation))):
            raise ValueError("permutation must hold each channel number once")
        if self.permutation is not None and len(self.permutation) > 65536:
            raise ValueError("permutation must have at most 65536 channels")
        if self.code_layout not in CODE_LAYOUTS:
            raise ValueError(f"code_layout must be one of {', '.join(CODE_LAYOUTS)}, not {self.code_layout!r}")
        if self.spatial_size not in SPATIAL_SIZES:
            raise ValueError(f"spatial_size must be {', '.join(map(str, SPATIAL_SIZES))}, not {self.spatial_size}")
        if self.spatial_size > 1:
            _check_range("bits", self.bits, 2, MOST_SPATIAL_BITS)
        if self.exact_zeros and self.transform == "identity" and self.spatial_size == 1:
            raise ValueError("exact_zeros needs a transform: without one, levels of 0 stay 0 anyway")
        if self.word_bits not in WORD_SIZES:
            raise ValueError(f"word_bits must be {', '.join(map(str, WORD_SIZES))}, not {self.word_bits}")
        if self.code_layout == "wavelet" and self.word_bits != DEFAULT_WORD_BITS:
            raise ValueError(f"word_bits is for code_layout 'serial'; it must stay {DEFAULT_WORD_BITS} here")
        if not self.dead_zones:
            raise ValueError("dead_zone must not be empty")
        for dead_zone in self.dead_zones:
            if not 0.5 <= dead_zone <= 1.0:
                raise ValueError(f"dead_zone must be 0.5 to 1, not {dead_zone}")
        _check_range("max_code_length", self.max_code_length, 8, 15)
        _check_range("effort", self.effort, 1, 3)
        if self.block_shape is not None and (len(self.block_shape) != 2 or min(self.block_shape) < 1):
            raise ValueError(f"block_shape must be two positive numbers, not {self.block_shape}")
        if self.nonfinite not in ("raise", "clamp"):
            raise ValueError(f"nonfinite must be 'raise' or 'clamp', not {self.nonfinite!r}")
        restore_defaults(self)

    def _check_basis(self) -> None:
        if self.basis is None:
            raise ValueError("transform 'klt' needs a basis: fmcodec.klt_spec makes a spec with one")
        _check_range("bits", self.bits, 2, MOST_KLT_BITS)
        _check_range("transform_size", self.transform_size, 1, MOST_KLT_CHANNELS)
        channels = len(self.basis.means)
        if channels % self.transform_size:
            raise ValueError(f"transform_size must divide the {channels} channels of the basis")
        size_bytes = channels * self.kept_band_count * self.basis.entry_bits // 8
        if len(self.basis.rows) != size_bytes:
            raise ValueError(f"rows of the basis must have {size_bytes} bytes, not {len(self.basis.rows)}")
        low, high = self.level_range
        if not low <= min(self.basis.means) <= max(self.basis.means) <= high:
            raise ValueError(f"means of the basis must be levels, {low} to {high}")

    def _normalize(self, name: str, value: Any) -> None:
        msgspec.structs.force_setattr(self, name, value)

    @property
    def kept_band_count(self) -> int:
        """Frequencies kept of each full transform group."""
        return self.transform_size if self.kept_bands is None else self.kept_bands

    @property
    def dead_zones(self) -> tuple[float, ...]:
        """``dead_zone`` as a tuple, of one entry or several."""
        return self.dead_zone if isinstance(self.dead_zone, tuple) else (self.dead_zone,)

    @property
    def level_range(self) -> tuple[int, int]:
        """Smallest and largest level."""
        return -self.zero_point, 2**self.bits - 1 - self.zero_point

    @classmethod
    def for_range(cls, low: float, high: float, *, bits: int = 8, **fields: Any) -> CodecSpec:
        """Spec whose levels cover the interval from min(low, 0) to max(high, 0) with ``bits`` bits.

        >>> CodecSpec.for_range(0.0, 6.0).step
        0.0235294122248888
        """
        low, high = min(float(low), 0.0), max(float(high), 0.0)
        top = 2**bits - 1
        step = (high - low) / top
        if not math.isfinite(step):
            raise ValueError(f"the range must be finite, not {low} to {high}")
        if step < 2.0**-64:
            return cls(step=1.0, bits=bits, **fields)
        zero_point = min(top, max(0, round(-low / step)))
        return cls(step=step, zero_point=zero_point, bits=bits, **fields)

    def replace(self, **changes: Any) -> CodecSpec:
        """A copy with some fields changed, validated anew."""
        return msgspec.structs.replace(self, **changes)

    def to_json(self) -> str:
        """JSON text; fields that have their default are left out."""
        return msgspec.json.encode(self).decode()

    @classmethod
    def from_json(cls, text: str | bytes) -> CodecSpec:
        """The spec of `to_json`. Unknown fields and wrong values raise ValueError (msgspec.ValidationError)."""
        return msgspec.json.decode(text, type=cls)

    def to_dict(self) -> dict[str, Any]:
        """What `to_json` writes, as dicts, lists, texts and numbers, to be a part of another JSON file."""
        fields: dict[str, Any] = json.loads(self.to_json())
        return fields

    @classmethod
    def from_dict(cls, fields: Mapping[str, Any]) -> CodecSpec:
        """The spec of `to_dict`, with the errors of `from_json`."""
        return cls.from_json(json.dumps(dict(fields)))


def restore_defaults(struct: msgspec.Struct) -> None:
    """Puts default objects where values equal them, as after pickling or parsing.

    msgspec leaves out fields that are their default, not those that equal it, and files must not depend on that.
    """
    defaults = struct.__struct_defaults__
    for name, default in zip(struct.__struct_fields__[-len(defaults) :], defaults, strict=True):
        value = getattr(struct, name)
        if value is not default and type(value) is type(default) and value == default:
            msgspec.structs.force_setattr(struct, name, default)


def native_spec(spec: CodecSpec) -> _core.Spec:
    """The core's form of a spec, made once per object."""
    if not isinstance(spec, CodecSpec):
        raise TypeError(f"spec must be a CodecSpec, not {type(spec).__name__}")
    native: _core.Spec | None = spec.__dict__.get("_native")
    if native is None:
        native = _core.Spec()
        for name in (
            "step",
            "zero_point",
            "bits",
            "transform_size",
            "spatial_size",
            "exact_zeros",
            "max_code_length",
            "effort",
        ):
            setattr(native, name, getattr(spec, name))
        native.word_bits = spec.word_bits
        native.code_layout = CODE_LAYOUTS[spec.code_layout]
        native.transform = TRANSFORMS.index(spec.transform)
        native.kept_bands = spec.kept_band_count
        native.band_steps = list(spec.band_steps)
        native.dead_zone = list(spec.dead_zones)
        native.permutation = list(spec.permutation or ())
        if spec.basis is not None:
            native.set_basis(spec.basis.to_bytes(), len(spec.basis.means))
        native.block_rows, native.block_columns = spec.block_shape or (0, 0)
        native.clamps_nonfinite = spec.nonfinite == "clamp"
        if spec.tables is not None:
            classes = [
                (CLASS_MODES.index(c.mode), int(c.predicted), c.shift, c.value_lengths, c.mask_lengths, c.weights)
                for c in spec.tables.classes
            ]
            native.set_tables(CLASS_MODELS.index(spec.tables.model), spec.tables.class_map, classes)
        spec.__dict__["_native"] = native
    return native


def spec_of_native(native: _core.Spec) -> CodecSpec:
    """The spec a frame holds, as a CodecSpec."""
    tables, basis = native.tables(), native.basis()
    return CodecSpec(
        step=native.step,
        zero_point=native.zero_point,
        bits=native.bits,
        transform=TRANSFORMS[native.transform],
        transform_size=native.transform_size,
        kept_bands=native.kept_bands,
        spatial_size=native.spatial_size,
        exact_zeros=native.exact_zeros,
        band_steps=tuple(native.band_steps),
        permutation=tuple(native.permutation) or None,
        basis=None if basis is None else Basis.from_bytes(*basis),
        code_layout=next(name for name, code in CODE_LAYOUTS.items() if code == native.code_layout),
        word_bits=native.word_bits,
        tables=None if tables is None else tables_of_native(tables),
    )


def tables_of_native(
    tables: tuple[int, list[int], list[tuple[int, int, int, list[int], list[int], list[int]]]],
) -> Tables:
    """The core's form of tables as a `Tables`."""
    model, class_map, classes = tables
    return Tables(
        model=CLASS_MODELS[model],
        class_map=tuple(class_map),
        classes=tuple(
            TableClass(
                mode=CLASS_MODES[mode],
                shift=shift,
                predicted=bool(predicted),
                value_lengths=tuple(values),
                mask_lengths=tuple(masks),
                weights=tuple(weights),
            )
            for mode, predicted, shift, values, masks, weights in classes
        ),
    )


def binary32(value: float) -> float:
    """The nearest IEEE 754 binary32 number, as the stream holds it."""
    try:
        return float(struct.unpack("<f", struct.pack("<f", float(value)))[0])
    except OverflowError:
        return math.inf


def _dead_zone(dead_zone: float | Iterable[float]) -> float | tuple[float, ...]:
    """A number, also in place of a tuple of one."""
    numbers = tuple(map(float, dead_zone)) if isinstance(dead_zone, Iterable) else (float(dead_zone),)
    return numbers[0] if len(numbers) == 1 else numbers


def _integers(values: Iterable[Any]) -> tuple[int, ...]:
    return tuple(operator.index(value) for value in values)


def _check_range(name: str, value: int, low: int, high: int) -> None:
    if not low <= value <= high:
        raise ValueError(f"{name} must be {low} to {high}, not {value}")


def leading_bits(weight: int) -> int:
    """The three highest bits of a weight; the others become 0 (docs/format.md, section 8.2)."""
    low = max(0, weight.bit_length() - 3)
    return weight >> low << low


def _check_weights(weights: tuple[int, ...], *, is_used: bool) -> None:
    if not is_used and weights:
        raise ValueError("weights must be empty in this mode")
    if not is_used:
        return
    if not weights or len(weights) > 256 or not weights[-1] or not 0 <= min(weights) <= max(weights) < 2**15:
        raise ValueError("weights must be 1 to 256 numbers of 0 to 32767, the last not 0")
    if any(weight != leading_bits(weight) for weight in weights):
        raise ValueError("weights must have at most three significant bits")


def _check_lengths(name: str, lengths: tuple[int, ...], *, is_used: bool) -> None:
    if not is_used:
        if lengths:
            raise ValueError(f"{name} must be empty in this mode")
        return
    if not lengths or len(lengths) > 256 or not lengths[-1] or not all(0 <= length <= 15 for length in lengths):
        raise ValueError(f"{name} must be 1 to 256 lengths of 0 to 15, the last not 0")
    used = [length for length in lengths if length]
    if used != [1] and sum(2.0**-length for length in used) != 1.0:
        raise ValueError(f"{name} must be a complete prefix code (Kraft's sum 1)")
