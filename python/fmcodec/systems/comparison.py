"""compare(): any systems at any levels on one network and the same images."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from concurrent.futures import Executor
from pathlib import Path

import msgspec

from fmcodec.evaluation import Evaluation, Network, NetworkInputs, Samples, evaluate, require_apart
from fmcodec.evaluation.evaluate import provenance
from fmcodec.evaluation.metrics import Estimate
from fmcodec.evaluation.text import markdown_table, number_text
from fmcodec.systems import find_system
from fmcodec.systems.published import published_points

# Called with a text and a share of all work.
Report = Callable[[str, float], None]


class ComparisonPoint(msgspec.Struct, frozen=True, kw_only=True):
    """One system at one level."""

    system: str
    level: float
    evaluation: Evaluation

    @property
    def difference(self) -> Estimate:
        """What coding does to the answers: see `Comparison.measure`."""
        coded = self.evaluation.coded
        for estimate in (coded.top1_difference, coded.target_psnr_difference_db, coded.output_psnr_db):
            if estimate is not None:
                return estimate
        assert coded.kl_nats is not None
        return coded.kl_nats


class Comparison(msgspec.Struct, frozen=True, kw_only=True):
    """Points of all systems, in the order in which they were asked for.

    ``calibration`` says from which images ranges, tables and transforms were learned.
    """

    network: str
    calibration: str
    points: tuple[ComparisonPoint, ...]
    provenance: dict[str, str]

    @property
    def measure(self) -> str:
        """What the differences of the points are."""
        coded = self.points[0].evaluation.coded
        if coded.top1_difference is not None:
            return "change of top-1 accuracy, points"
        if coded.target_psnr_difference_db is not None:
            return "change of PSNR of the output against the target, dB"
        if coded.output_psnr_db is not None:
            return "PSNR of the output against the uncompressed output, dB"
        return "Kullback-Leibler divergence of the answers, nats"

    def save(self, path: str | Path) -> None:
        """Writes indented JSON."""
        Path(path).write_bytes(msgspec.json.format(msgspec.json.encode(self), indent=2) + b"\n")

    @classmethod
    def load(cls, path: str | Path) -> Comparison:
        """The comparison of `save`; msgspec.MsgspecError (a ValueError) for anything else."""
        return msgspec.json.decode(Path(path).read_bytes(), type=cls)


def compare(
    network: Network,
    calibration: Samples,
    test: Samples,
    systems: Mapping[str, Sequence[float] | None],
    *,
    batch_size: int = 8,
    threads: int = 1,
    weight_bits: int | None = None,
    workers: int = 1,
    executor: Executor | None = None,
    report: Report | None = None,
    resume: str | Path | None = None,
) -> Comparison:
    """Calibrates and evaluates systems, level by level.

    Parameters
    ----------
    network
        What is coded.
    calibration, test
        Images to learn from, and images to report on; no image may be in both.
    systems
        Names in ``SYSTEMS`` to levels; None for the levels of the system itself.
    batch_size, threads, weight_bits, workers, executor, resume
        As in `evaluate`. Calibration takes batches of the same size.
    report
        Called with what is being done, and the share of all work that is behind.

    Returns
    -------
    Comparison
        One point for each system and level.

    Raises
    ------
    ValueError
        An image is in both sets, a system is unknown or there is none, or a level is out of its range.
    """
    runs = [
        (name, float(level))
        for name, levels in systems.items()
        for level in (find_system(name).levels if levels is None else levels)
    ]
    if not runs:
        raise ValueError("there must be at least one system and level")
    require_apart(calibration, test)
    tell = report or (lambda text, share: None)
    inputs = NetworkInputs(network, calibration, batch_size)
    points = []
    for index, (name, level) in enumerate(runs):
        title = f"{name} {level:g}"
        tell(f"{title}: calibrate", index / len(runs))
        placements = find_system(name).calibrate(network, inputs, level)

        def advance(done: int, total: int, title: str = title, index: int = index) -> None:
            tell(f"{title}: evaluate", (index + done / total) / len(runs))

        evaluation = evaluate(
            network,
            placements,
            test,
            batch_size=batch_size,
            threads=threads,
            weight_bits=weight_bits,
            workers=workers,
            executor=executor,
            progress=advance,
            resume=resume,
        )
        points.append(ComparisonPoint(system=name, level=level, evaluation=evaluation))
    return Comparison(
        network=network.name,
        calibration=f"{len(calibration)} images of {calibration.name}",
        points=tuple(points),
        provenance=provenance(),
    )


RATE_COLUMNS = (
    "system",
    "level",
    "bits per value",
    "as its authors count",
    "ratio to 8 bits",
    "mean of layers",
    "largest map, kbit",
    "difference",
)
# Titles and formats of fields of `Answers`, by what networks give.
ANSWER_COLUMNS = {
    "classification": {"agreement": ("agreement", ".1%"), "kl_nats": ("KL, nats", ".4f")},
    "image": {
        "output_psnr_db": ("PSNR to uncompressed, dB", ".2f"),
        "output_ssim": ("SSIM", ".4f"),
        "output_uqi": ("UQI", ".4f"),
    },
}
PUBLISHED_COLUMNS = ("system", "bits per value", "change of top-1, points", "source")


def comparison_columns(point: ComparisonPoint) -> tuple[str, ...]:
    """Titles of a table of this point and others of the same network."""
    answers = ANSWER_COLUMNS[point.evaluation.task].values()
    return (*RATE_COLUMNS, *(title for title, _ in answers), "parameters, MB")


def comparison_row(point: ComparisonPoint) -> tuple[str, ...]:
    """One point with the columns of `comparison_columns`; what is not known is a dash."""
    result = point.evaluation
    peak = result.peak_layer
    unit, form = (1.0, ".3f") if result.coded.top1_difference is None else (100.0, "+.2f")
    return (
        point.system,
        f"{point.level:g}",
        number_text(result.bits_per_value, ".3f"),
        number_text(result.published_bits_per_value, ".3f"),
        number_text(result.ratio, ".2f"),
        number_text(result.mean_layer_ratio, ".2f"),
        number_text(None if peak is None or peak.peak_bits is None else peak.peak_bits / 1e3, ".0f"),
        _estimate_text(point.difference, unit, form),
        *(_answer_text(getattr(result.coded, name), form) for name, (_, form) in ANSWER_COLUMNS[result.task].items()),
        number_text(result.parameter_bytes / 1e6, ".2f"),
    )


def published_rows(network: str) -> list[tuple[str, ...]]:
    """The published points of a network with the columns of `PUBLISHED_COLUMNS`."""
    return [
        (point.system, f"{point.bits_per_value:.2f}", number_text(point.top1_difference, "+.2f"), point.note)
        for point in published_points(network)
    ]


def comparison_table(comparison: Comparison) -> str:
    """Markdown: one row for each point, then the published ones of the network."""
    text = (
        f"{comparison.network}, {comparison.points[0].evaluation.images} images of "
        f"{comparison.points[0].evaluation.samples}; {comparison.calibration} to calibrate. "
        f"Difference: {comparison.measure}, with standard error.\n\n"
    )
    rows = [comparison_row(point) for point in comparison.points]
    text += markdown_table(comparison_columns(comparison.points[0]), rows)
    published = published_rows(comparison.network)
    if published:
        text += "\nPublished for this network, on other images and weights:\n\n"
        text += markdown_table(PUBLISHED_COLUMNS, published)
    return text


def _estimate_text(estimate: Estimate, unit: float, form: str) -> str:
    """Value and standard error, if it is known, multiplied by ``unit``."""
    text = format(estimate.value * unit, form)
    if estimate.standard_error is None:
        return text
    return f"{text} +- {format(estimate.standard_error * unit, form.lstrip('+'))}"


def _answer_text(estimate: Estimate | None, form: str) -> str:
    return number_text(None if estimate is None else estimate.value, form)
