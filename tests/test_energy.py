"""The energy formula against the rows its authors' script returns, and the operations of transforms."""

from __future__ import annotations

import pytest

from fmcodec import Basis, CodecSpec
from fmcodec.energy import LayerTraffic, Operations, network_energy, transfer_energy, transform_operations

# bits_in, bits_out, values_in, values_out, microjoule: the first five layers of ResNet-18 in cnn_power.py.
PUBLISHED_ROWS = [
    (8, 1.39278018, 12544, 802816, 78.56839528763076),
    (1.39278018, 1.66063869, 802816, 200704, 107.64033624480901),
    (1.66063869, 2.53172612, 200704, 200704, 57.96960462039175),
    (2.53172612, 2.6392746, 200704, 100352, 56.09600032602777),
    (2.6392746, 2.90623879, 100352, 100352, 38.96512575097036),
]

# Values of the 17 maps of ResNet-18 at 224 x 224: stem, then two per basic block.
RESNET18_VALUES = [802816] + [200704] * 4 + [100352] * 4 + [50176] * 4 + [25088] * 4


@pytest.mark.parametrize(("bits_in", "bits_out", "values_in", "values_out", "microjoule"), PUBLISHED_ROWS)
def test_published_rows(bits_in: float, bits_out: float, values_in: int, values_out: int, microjoule: float) -> None:
    joules = transfer_energy(bits_in, bits_out, values_in, values_out)
    assert joules * 1e6 == pytest.approx(microjoule, rel=1e-15)


@pytest.mark.parametrize(("bits", "millijoule"), [(3.991, 1.296), (5.790, 1.881), (8.0, 2.598)])
def test_resnet18_maps(bits: float, millijoule: float) -> None:
    assert sum(RESNET18_VALUES) == 2_308_096
    energy = network_energy(LayerTraffic(values, bits) for values in RESNET18_VALUES)
    # Half a unit of the last digit printed of the energy, and of the bits (0.0005 bits are 0.00016 mJ here).
    assert energy.total_joules * 1e3 == pytest.approx(millijoule, abs=5e-4 + 1.7e-4)
    assert energy.baseline_total_joules * 1e3 == pytest.approx(2.598, abs=5e-4)
    assert energy.saving == pytest.approx(1 - bits / 8, abs=1e-12)


def test_energy_per_bit() -> None:
    assert transfer_energy(1, 0, 1, 0) * 1e12 == pytest.approx(77.3921200750469, rel=1e-14)
    assert transfer_energy(0, 1, 0, 1) * 1e12 == pytest.approx(63.3208255159475, rel=1e-14)


def test_no_layers() -> None:
    energy = network_energy([])
    assert energy.total_joules == 0.0
    assert energy.saving == 0.0


def test_operations_of_transforms() -> None:
    assert transform_operations(CodecSpec(), 10) == (0, 0)
    # Two points: a sum, a difference, two products, two roundings. Four: as many for the even half, and for the odd one
    # four products and two additions, after four sums and differences.
    two, four = (2, 2 + 2), (2 + 4, 4 + 2 + 2 + 4)
    dct = CodecSpec(transform="dct", transform_size=4)
    assert transform_operations(dct, 4) == Operations(four[0] / 4, four[1] / 4)
    # Groups of 4, 2 and 1.
    assert transform_operations(dct, 7) == Operations((four[0] + two[0]) / 7, (four[1] + two[1]) / 7)
    hadamard = CodecSpec(transform="hadamard", transform_size=16)
    assert transform_operations(hadamard, 32) == Operations(1, 5)


def test_operations_of_a_klt() -> None:
    basis = Basis.from_array([[0.6, 0.8, 0.0, 0.0], [0.8, -0.6, 0.0, 0.0]], means=[0, 0, 0, 0])
    spec = CodecSpec(transform="klt", transform_size=4, kept_bands=2, basis=basis)
    # 2 x 4 products, sums with a rounding each, and four means.
    assert transform_operations(spec, 4) == Operations(2.0, (2 * 4 + 4) / 4)


def test_operations_over_cells() -> None:
    # Cells of 2 x 2: two rows and two columns for four values, each with two products and four additions.
    assert transform_operations(CodecSpec(spatial_size=2), 3) == Operations(4 * 2 / 4, 4 * 4 / 4)
    kept_half = CodecSpec(transform="hadamard", transform_size=4, kept_bands=2, spatial_size=2)
    assert transform_operations(kept_half, 8) == Operations(1 + 1.0, 3 + 2.0)
