"""Published rates of feature map coders, to be drawn beside measured ones of the same network."""

from __future__ import annotations

import re

import msgspec


class PublishedPoint(msgspec.Struct, frozen=True, kw_only=True):
    """One published result.

    Parameters
    ----------
    system
        Who published it.
    network
        Name without anything but small letters and digits.
    bits_per_value
        As published, or 8 over the published ratio.
    top1_difference
        Change of top-1 accuracy in points; None where it is not known.
    note
        Where the number comes from, and what it counts.
    """

    system: str
    network: str
    bits_per_value: float
    top1_difference: float | None
    note: str


# Top-1 and bits per value with 8-bit weights, as plotted in the authors' repository (graphs.py): Huffman codes, without
# tables. The first number of each network is its accuracy with floats.
FMTC_CURVES = {
    "resnet18": (69.76, ((69.73, 4.24), (69.5, 4.0), (69.25, 3.53), (68.7, 3.18), (67.7, 2.83))),
    "resnet50": (76.12, ((76.12, 4.17), (75.9, 4.06), (75.3, 3.28), (74.4, 2.83))),
    "resnet101": (77.37, ((77.34, 4.0), (77.0, 3.5), (76.5, 3.4), (75.0, 2.95))),
    "inceptionv3": (77.45, ((77.43, 4.34), (77.2, 3.9), (77.0, 3.43), (76.13, 3.2))),
    "mobilenetv2": (71.8, ((71.77, 3.85), (71.4, 3.4), (70.7, 3.35), (63.0, 2.6))),
}
FMTC_NOTE = "Chmiel et al., arXiv 1905.10830, figure data of the authors' repository; Huffman bits, 8-bit weights"

# Ratios to 8 bits as their abstracts state them.
RATIOS = (
    ("DCT-CM", "resnet50", 2.9, None, "Shi et al., arXiv 2106.12850: average ratio 2.9, loss not known"),
    ("TECO", "resnet50", 2.31, None, "Shi et al., TNNLS 35(12): ratio 2.31, trained, accuracy kept"),
    ("EBPC", "mobilenetv2", 2.2, 0.0, "Cavigelli et al., arXiv 1908.11645: ratio 2.2, lossless; taken to be of 8 bits"),
    ("EBPC", "resnet34", 2.4, 0.0, "Cavigelli et al., arXiv 1908.11645: ratio 2.4, lossless; taken to be of 8 bits"),
    ("EBPC", "vgg16", 4.0, 0.0, "Cavigelli et al., arXiv 1908.11645: ratio 4.0, lossless; taken to be of 8 bits"),
)

PUBLISHED = (
    *(
        PublishedPoint(
            system="FMTC",
            network=network,
            bits_per_value=bits,
            top1_difference=round(accuracy - baseline, 2),
            note=FMTC_NOTE,
        )
        for network, (baseline, points) in FMTC_CURVES.items()
        for accuracy, bits in points
    ),
    *(
        PublishedPoint(system=system, network=network, bits_per_value=8 / ratio, top1_difference=difference, note=note)
        for system, network, ratio, difference, note in RATIOS
    ),
)


def published_points(network: str) -> list[PublishedPoint]:
    """The points of a network; its name may hold more than the family: ``torch_resnet-18`` is ``resnet18``."""
    plain = re.sub(r"[^a-z0-9]", "", network.lower())
    return [point for point in PUBLISHED if re.search(rf"{point.network}(?!\d)", plain)]
