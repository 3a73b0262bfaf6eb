"""The measured frontier of a search: points with their policies, as a file that round-trips."""

from __future__ import annotations

from pathlib import Path

import msgspec

from fmcodec.errors import FmcodecError, UnsupportedVersionError
from fmcodec.evaluation.metrics import Estimate
from fmcodec.evaluation.result import Evaluation
from fmcodec.policy import Policy

SCHEMA_VERSION = 1


class FrontierPoint(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """One policy as measured on images that the search did not learn from; what does not apply is None.

    Parameters
    ----------
    policy
        Name of its file in the folder of the frontier.
    strategy
        What proposed it.
    bits_per_value, predicted_bits_per_value
        Of all maps together, in whole streams without what the decoder has beforehand: measured, and by calibration.
    level_bits_per_value
        Mean width of the levels before any transform: what plain quantization would store.
    peak_bits
        The largest stored map of one image.
    parameter_bytes
        What the decoder has beforehand, as it has weights: specs with the bases of their transforms.
    predicted_divergence
        Sum over the layers of what each alone does to the output; see `fmcodec.search.divergence`.
    divergence, divergence_error
        Measured with all maps coded, and its standard error; of classifiers only.
    output_psnr_db, output_ssim, output_uqi
        Likeness to the uncompressed output, of networks that give images.
    target_psnr_difference_db, target_psnr_difference_error
        Their PSNR against the target less that of the uncompressed network on the same images, and its standard error.
    top1, drop, drop_error
        Top-1 accuracy in percent, the percentage points it lies below that of the uncompressed network on the same
        images, and the standard error of this difference.
    agreement
        Percent of the images whose answer is that of the uncompressed network.
    is_best
        No other point has fewer bits and as small a divergence (or as large a PSNR).
    """

    policy: str
    strategy: str
    bits_per_value: float
    predicted_bits_per_value: float
    level_bits_per_value: float
    peak_bits: float
    parameter_bytes: int
    predicted_divergence: float
    divergence: float | None
    divergence_error: float | None
    output_psnr_db: float | None
    top1: float | None
    drop: float | None
    drop_error: float | None
    agreement: float | None
    output_ssim: float | None = None
    output_uqi: float | None = None
    target_psnr_difference_db: float | None = None
    target_psnr_difference_error: float | None = None
    is_best: bool = False

    @property
    def loss(self) -> float:
        """What is traded against bits: the measured divergence, or the negative PSNR."""
        if self.divergence is not None:
            return self.divergence
        return -(self.output_psnr_db or 0.0)

    @property
    def worst_drop(self) -> float | None:
        """The drop; without labels the percentage of answers that changed, which it cannot exceed."""
        if self.drop is not None:
            return self.drop
        return None if self.agreement is None else 100.0 - self.agreement


class Frontier(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """All points that a search measured, by rising bits.

    Parameters
    ----------
    network
        Its name.
    images
        Images on which the points were measured.
    top1
        Accuracy of the uncompressed network in percent, None without labels.
    provenance
        Calibration data with digest, versions, seed, command; as in the policies.
    points
        The points.
    """

    network: str
    images: int
    top1: float | None
    provenance: dict[str, str]
    points: tuple[FrontierPoint, ...]
    schema_version: int = SCHEMA_VERSION

    def __post_init__(self) -> None:
        if self.schema_version != SCHEMA_VERSION:
            raise UnsupportedVersionError(
                f"the frontier has schema_version {self.schema_version}; this fmcodec reads version {SCHEMA_VERSION}"
            )

    @property
    def best(self) -> tuple[FrontierPoint, ...]:
        """The points that no other one beats."""
        return tuple(point for point in self.points if point.is_best)

    def select(self, *, max_accuracy_drop: float | None = None, max_bits: float | None = None) -> FrontierPoint:
        """The point that serves best.

        Parameters
        ----------
        max_accuracy_drop
            Most percentage points that may be lost. With it, the point with the fewest bits is taken. Without labels
            see `FrontierPoint.worst_drop`. The drop is that of the measured images: mind its standard error.
        max_bits
            Most bits per value. With this alone, the point with the smallest divergence is taken.

        Raises
        ------
        ValueError
            No point is good enough, or neither limit is given.
        """
        if max_accuracy_drop is None and max_bits is None:
            raise ValueError("max_accuracy_drop or max_bits must be given")
        kept = [
            point
            for point in self.points
            if (max_bits is None or point.bits_per_value <= max_bits)
            and (max_accuracy_drop is None or _lost(point) <= max_accuracy_drop)
        ]
        if not kept:
            raise ValueError(
                f"no point has a drop of at most {max_accuracy_drop} and at most {max_bits} bits per value (None: any)"
            )
        if max_accuracy_drop is None:
            return min(kept, key=lambda point: point.loss)
        return min(kept, key=lambda point: point.bits_per_value)

    def to_json(self) -> bytes:
        """Indented JSON."""
        return msgspec.json.format(msgspec.json.encode(self), indent=2) + b"\n"

    @classmethod
    def from_json(cls, text: str | bytes) -> Frontier:
        """The frontier of `to_json`.

        Raises
        ------
        UnsupportedVersionError
            The schema version is not one this package reads.
        FmcodecError
            The text is not JSON, has an unknown or missing key, or a value of a wrong type.
        """
        try:
            return msgspec.json.decode(text, type=cls)
        except msgspec.MsgspecError as error:
            if isinstance(error.__cause__, UnsupportedVersionError):
                raise error.__cause__ from None
            raise FmcodecError(f"not a valid frontier: {error}") from error

    @classmethod
    def load(cls, path: str | Path) -> Frontier:
        """The frontier in a file."""
        return cls.from_json(Path(path).read_bytes())


def _lost(point: FrontierPoint) -> float:
    if point.worst_drop is None:
        raise ValueError("the network gives images: there is no accuracy to keep")
    return point.worst_drop


def frontier_point(
    name: str, strategy: str, policy: Policy, evaluation: Evaluation, predicted_bits: float, predicted_divergence: float
) -> FrontierPoint:
    """A point from its evaluation; ``is_best`` is set by `mark_best`."""
    answers, layers = evaluation.coded, evaluation.layers
    level_bits = sum(layer.values * policy.layers[layer.name].spec.bits for layer in layers) / evaluation.values
    difference, agreement = answers.top1_difference, answers.agreement
    change = answers.target_psnr_difference_db
    drop_error = None if difference is None else difference.standard_error
    return FrontierPoint(
        policy=f"{name}.json",
        strategy=strategy,
        bits_per_value=evaluation.bits_per_value or 0.0,
        predicted_bits_per_value=predicted_bits,
        level_bits_per_value=level_bits,
        peak_bits=max(layer.peak_bits or 0.0 for layer in layers),
        parameter_bytes=evaluation.parameter_bytes,
        predicted_divergence=predicted_divergence,
        divergence=_value(answers.kl_nats),
        divergence_error=None if answers.kl_nats is None else answers.kl_nats.standard_error,
        output_psnr_db=_value(answers.output_psnr_db),
        output_ssim=_value(answers.output_ssim),
        output_uqi=_value(answers.output_uqi),
        target_psnr_difference_db=_value(change),
        target_psnr_difference_error=None if change is None else change.standard_error,
        top1=None if answers.top1 is None else 100 * answers.top1.value,
        drop=None if difference is None else -100 * difference.value,
        drop_error=None if drop_error is None else 100 * drop_error,
        agreement=None if agreement is None else 100 * agreement.value,
    )


def _value(estimate: Estimate | None) -> float | None:
    return None if estimate is None else estimate.value


def mark_best(points: list[FrontierPoint]) -> tuple[FrontierPoint, ...]:
    """The points by rising bits, with those marked that no other one beats."""
    marked = []
    for point in points:
        own = (point.bits_per_value, point.loss)
        others = ((other.bits_per_value, other.loss) for other in points)
        is_beaten = any(bits <= own[0] and loss <= own[1] and (bits, loss) != own for bits, loss in others)
        marked.append(msgspec.structs.replace(point, is_best=not is_beaten))
    return tuple(sorted(marked, key=lambda point: (point.bits_per_value, point.policy)))
