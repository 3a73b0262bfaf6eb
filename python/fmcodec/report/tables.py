"""The tables of a report, for the page and as Markdown."""

from __future__ import annotations

from collections.abc import Sequence
from typing import NamedTuple

from fmcodec.energy import NetworkCost
from fmcodec.energy.plots import COLORS, layer_terms
from fmcodec.evaluation import Evaluation
from fmcodec.policy import Policy
from fmcodec.report.demo_text import db
from fmcodec.report.frontier_plot import POLICY
from fmcodec.report.layers import transform_name
from fmcodec.report.report import Report, system_name
from fmcodec.report.result import LayerResult
from fmcodec.search.text import frontier_columns, frontier_rows
from fmcodec.systems.comparison import PUBLISHED_COLUMNS, comparison_columns, comparison_row, published_rows

TITLES = {
    "systems": "Rate and answers of every system",
    "published": "Published results of this network, on other images and weights",
    "search": "Policies of the search",
    "layers": "All layers",
    "energy": "Energy of external memory",
    "sections": "What the coder writes",
    "policy": "The policy",
}


class Table(NamedTuple):
    """Columns and cells; the first ``left`` columns and those named in ``texts`` begin at the same place."""

    columns: Sequence[str]
    rows: Sequence[Sequence[str]]
    left: int = 1
    texts: Sequence[str] = ()

    def is_text(self, index: int) -> bool:
        """Whether a column holds words."""
        return index < self.left or self.columns[index] in self.texts


def layer_table(layers: Sequence[LayerResult]) -> Table:
    """Transform, bits, error, traffic and energy of every layer; the transform only if it is known."""
    has_transforms = any(layer.transform for layer in layers)
    columns = ("layer", "C x H x W", *(("transform",) if has_transforms else ()), "coded")
    rows = [
        (
            layer.name,
            " x ".join(map(str, layer.shape)),
            *((layer.transform,) if has_transforms else ()),
            layer.position,
            f"{layer.bits_per_value:.3f}",
            f"{layer.ratio:.2f}",
            db(layer.snr_db),
            f"{100 * layer.zero_share:.1f} %",
            f"{100 * layer.traffic_share:.2f} %",
            f"{1e6 * layer.dram_joules:.2f}",
            f"{1e6 * layer.baseline_dram_joules:.2f}",
        )
        for layer in layers
    ]
    numbers = ("bits/value", "ratio to 8 bits", "SNR, dB", "zeros", "share", "DRAM, uJ", "at 8 bits, uJ")
    return Table((*columns, *numbers), rows, left=len(columns))


def report_tables(report: Report) -> dict[str, Table]:
    """All tables of a report for which there are numbers, by the keys of `TITLES`."""
    tables: dict[str, Table] = {}
    if report.frontier is not None:
        tables["search"] = Table(frontier_columns(report.frontier), frontier_rows(report.frontier))
    published = published_rows(report.network) if report.lines else []
    if published:
        tables["published"] = Table(PUBLISHED_COLUMNS, published, texts=("source",))
    if report.layers:
        tables["layers"] = layer_table(report.layers)
    if report.points:
        tables["systems"] = systems_table(report)
    if report.cost is not None:
        tables["energy"] = energy_table(report.cost)
    if report.evaluation is not None:
        tables["sections"] = section_table(report.evaluation)
    if report.policy is not None:
        tables["policy"] = policy_table(report.policy)
    return tables


def systems_table(report: Report) -> Table:
    """The evaluated policy and all compared systems: rates and answers, and their energy."""
    rows = []
    for point in report.points:
        cells = comparison_row(point)
        level = "" if point.system == POLICY else cells[1]
        rows.append((cells[0], level, *cells[2:], *_energy_cells(report.cost, system_name(point))))
    return Table((*comparison_columns(report.points[0]), "DRAM, mJ", "of 8 bits"), rows)


def _energy_cells(cost: NetworkCost | None, system: str) -> tuple[str, str]:
    if cost is None or all(item.name != system for item in cost.systems):
        return "-", "-"
    return f"{1e3 * cost[system].joules:.3f}", f"{cost.ratio(system):.2f}"


def energy_table(cost: NetworkCost) -> Table:
    """Bytes, time and energy by term of every system."""
    terms = [term for term in COLORS if any(layer_terms(layer)[term] for item in cost.systems for layer in item.layers)]
    rows = []
    for system in cost.systems:
        low, high = system.joules_range
        rows.append(
            (
                system.name,
                f"{system.bytes_moved / 1e6:.3f}",
                f"{1e3 * system.seconds:.3f}",
                *(f"{1e3 * sum(layer_terms(layer)[term] for layer in system.layers):.3f}" for term in terms),
                f"{1e3 * system.joules:.3f}",
                f"{1e3 * low:.3f} to {1e3 * high:.3f}",
                f"{cost.ratio(system.name):.3f}",
            )
        )
    return Table(("system", "moved, MB", "bus, ms", *terms, "all, mJ", "low to high", "of 8 bits"), rows)


def section_table(evaluation: Evaluation) -> Table:
    """Where the bits of the streams are, all layers together."""
    names = list(dict.fromkeys(name for layer in evaluation.layers for name in layer.section_bits))
    whole = evaluation.coded_bits or 1
    rows = []
    for name in names:
        bits = sum(layer.section_bits.get(name, 0) for layer in evaluation.layers)
        if bits:
            rows.append((name, f"{bits / 8e3:.1f}", f"{100 * bits / whole:.2f} %", f"{bits / evaluation.values:.4f}"))
    rows.append(("all", f"{whole / 8e3:.1f}", "100 %", f"{whole / evaluation.values:.4f}"))
    return Table(("section", "kB, all images", "share", "bits per value"), rows)


def policy_table(policy: Policy) -> Table:
    """How each layer is coded, without bases and tables."""
    rows = []
    for name, layer in policy.layers.items():
        spec = layer.spec
        side = 0 if spec.basis is None else len(spec.basis.to_bytes())
        rows.append(
            (
                name,
                layer.where if layer.activation == "none" else f"{layer.where}, after {layer.activation}",
                transform_name(spec),
                f"{spec.step:.4g}",
                str(spec.bits),
                _range(spec.band_steps),
                str(spec.effort),
                spec.code_layout,
                "static" if spec.tables is not None else "in the stream",
                f"{side / 1e3:.1f}" if side else "",
            )
        )
    columns = ("layer", "coded at", "transform", "step", "level bits", "band steps", "effort", "codes", "tables")
    return Table((*columns, "basis, kB"), rows, left=3, texts=("codes", "tables"))


def _range(steps: Sequence[int]) -> str:
    return str(steps[0]) if len(set(steps)) == 1 else f"{min(steps)} to {max(steps)}"
