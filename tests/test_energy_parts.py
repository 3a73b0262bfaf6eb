"""DRAM parts: the values of their sources, and errors in files of the user."""

from __future__ import annotations

from importlib import resources
from pathlib import Path

import msgspec
import pytest

from fmcodec import FmcodecError
from fmcodec.energy import Memory, load_part, part_names
from fmcodec.energy.dram import command_energy
from fmcodec.energy.parts import parse_part
from fmcodec.energy.scaling import scaled_part

# VDD, then IDD0, 2P, 2N, 3P, 3N, 4R, 4W, 5B, 6 in mA.
CURRENTS = {
    "ddr3-1066-x16": (1.5, 75, 20, 42, 50, 60, 220, 180, 205, 22),
    "ddr3-1333-x16": (1.5, 80, 20, 45, 55, 65, 240, 200, 210, 22),
    "ddr3-1600-x16": (1.5, 90, 20, 50, 60, 70, 280, 225, 220, 22),
    "ddr3-1600-x8": (1.5, 55, 32, 32, 38, 38, 157, 125, 235, 20),
    "ddr4-2400-x16": (1.2, 80, 25, 34, 41, 47, 243, 228, 280, 30),
    "ddr4-2400-x8": (1.2, 48, 25, 34, 37, 43, 135, 123, 250, 30),
    "ddr4-3200-x8": (1.2, 57, 25, 37, 43, 52, 168, 150, 250, 30),
    "hbm2-x128": (1.2, 65, 28, 40, 40, 55, 390, 500, 250, 31),
}


def text_of(name: str) -> str:
    return (resources.files("fmcodec.energy") / "parts" / f"{name}.toml").read_text(encoding="ascii")


@pytest.mark.parametrize("name", CURRENTS)
def test_currents_of_the_sources(name: str) -> None:
    rail = load_part(name).rails[0]
    fields = ("volts", "idd0", "idd2p", "idd2n", "idd3p", "idd3n", "idd4r", "idd4w", "idd5b", "idd6")
    assert tuple(getattr(rail, field) for field in fields) == CURRENTS[name]


def test_rails() -> None:
    assert set(part_names()) == {*CURRENTS, "lpddr4-3200-x16"}
    lpddr4 = load_part("lpddr4-3200-x16")
    assert [(rail.name, rail.volts, rail.idd4r, rail.idd4w) for rail in lpddr4.rails] == [
        ("VDD1", 1.8, 2.25, 2.25),
        ("VDD2", 1.1, 275, 210),
        ("VDDQ", 1.1, 150, 55),
    ]
    pump = load_part("ddr4-2400-x16").rails[1]
    assert (pump.name, pump.volts, pump.idd0, pump.idd3n) == ("VPP", 2.5, 4, 3)


def test_times_of_the_data_sheet() -> None:
    t = load_part("ddr3-1066-x16").timing
    assert t.trcd * t.tck_ns == t.trp * t.tck_ns == 13.125
    assert (t.tras * t.tck_ns, (t.tras + t.trp) * t.tck_ns) == (37.5, 50.625)
    assert (t.trfc, t.trefi, t.tfaw, t.trrd_s, t.tck_ns * t.trefi) == (139, 4160, 27, 6, 7800)


@pytest.mark.parametrize("name", part_names())
def test_files_name_their_source_and_what_is_assumed(name: str) -> None:
    part = load_part(name)
    assert len(part.source) > 20
    assert "assumption" in part.notes["range"]
    assert Memory(part=part).capacity_bytes >= 128 << 20


def test_a_part_of_your_own(tmp_path: Path) -> None:
    path = tmp_path / "mine.toml"
    path.write_text(text_of("ddr3-1066-x16").replace("idd4r = 220.0", "idd4r = 210.0"))
    assert load_part(path).rails[0].idd4r == 210.0
    path.write_text("name = ")
    with pytest.raises(FmcodecError, match=r"mine\.toml: not a valid part"):
        load_part(path)
    with pytest.raises(FmcodecError, match="no file"):
        load_part(tmp_path / "none.toml")
    with pytest.raises(FmcodecError, match="take one of ddr3-1066-x16"):
        load_part("ddr9")


@pytest.mark.parametrize(
    ("old", "new", "message"),
    [
        ("tfaw = 27\n", "", "missing required field `tfaw`"),
        ("tfaw = 27", "tfaw = 27\ntxyz = 3", "unknown field `txyz`"),
        ("tfaw = 27", 'tfaw = "27 ns"', "Expected `int`"),
        ("tfaw = 27", "tfaw = 0", r"timing\.tfaw must be 1 to 1048576 clocks, not 0"),
        ("tck_ns = 1.875", "tck_ns = -1.0", r"timing\.tck_ns must be 0\.05 to 100"),
        ("tck_ns = 1.875", "tck_ns = nan", r"timing\.tck_ns must be 0\.05 to 100, not nan"),
        ("tras = 20", "tras = 3", "tras must not be shorter"),
        ("trefi = 4160", "trefi = 200", "trefi must be at least twice"),
        ("twtr_l = 4", "twtr_l = 3", "twtr_l must not be shorter"),
        ("tccd_s = 4", "tccd_s = 2", "tccd_s must be at least half"),
        ("width = 16", "width = 12", r"organisation\.width must be a power of two, not 12"),
        ("width = 16", "width = 2", r"organisation\.width must be 4 to 1024"),
        ("burst_length = 8", "burst_length = 128", r"organisation\.burst_length must be 2 to 64"),
        ("page_bytes = 2048", "page_bytes = 8", r"organisation\.page_bytes must be 16"),
        ("banks_per_group = 8", "banks_per_group = 128", "at most 64 banks"),
        ("rows = 32768", "rows = 0", r"organisation\.rows must be 1"),
        ("volts = 1.5", "volts = 15.0", r"rails\.VDD\.volts must be 0\.1 to 5"),
        ("idd0 = 75.0", "idd0 = -75.0", r"rails\.VDD\.idd0 must be 0 to 5000"),
        ("idd4r = 220.0", "idd4r = 50.0", r"rails\.VDD\.idd4r must not be below idd3n"),
        ("read = 4.6", "read = 4600.0", r"pins\.read must be 0 to 200"),
        ("low = 0.7", "low = 1.7", r"range\.low must be 0\.01 to 1"),
        ('"timing.cwl"', '"timing.cwx"', r"notes: the part has no timing\.cwx"),
        ('"timing.cwl"', '"rails.VDE.idd0"', r"notes: the part has no rails\.VDE\.idd0"),
        ('"timing.cwl"', '"colour"', "notes: the part has no colour"),
    ],
)
def test_errors_say_what_is_wrong(old: str, new: str, message: str) -> None:
    text = text_of("ddr3-1066-x16")
    assert old in text
    with pytest.raises(FmcodecError, match=message) as error:
        parse_part(text.replace(old, new, 1))
    assert "\n" not in str(error.value)


def test_no_supply() -> None:
    with pytest.raises(FmcodecError, match="at least one supply"):
        msgspec.structs.replace(load_part("ddr3-1066-x16"), rails=(), notes={})


def test_energy_goes_with_the_square_of_the_voltage() -> None:
    part = load_part("ddr3-1600-x16")
    low = scaled_part(part, volts={"VDD": 1.35})
    assert low.timing == part.timing
    for term, scaled in zip(command_energy(part, part.rails[0]), command_energy(low, low.rails[0]), strict=True):
        assert scaled == pytest.approx(term * 0.81)


def test_a_slower_clock_keeps_the_energy_of_commands() -> None:
    """DDR3-1600 at the clock of DDR3-1066: standby current falls with the clock, the charge of commands stays."""
    part = load_part("ddr3-1600-x16")
    slow = scaled_part(part, tck_ns=1.875)
    assert slow.rails[0].idd3n == pytest.approx(70 * 1.25 / 1.875)
    for term, scaled in zip(command_energy(part, part.rails[0]), command_energy(slow, slow.rails[0]), strict=True):
        assert scaled == pytest.approx(term)
    # 13.75 ns are 8 clocks of 1.875 ns, 260 ns 139; refresh must come at least as often; a burst is 4 clocks.
    t = slow.timing
    assert (t.trcd, t.trfc, t.trefi, t.tccd_s, t.tck_ns) == (8, 139, 4160, 4, 1.875)


def test_errors_of_scaling() -> None:
    part = load_part("ddr3-1600-x16")
    with pytest.raises(FmcodecError, match="no rail 'VPP'"):
        scaled_part(part, volts={"VPP": 2.5})
    with pytest.raises(FmcodecError, match="tck_ns must not be below"):
        scaled_part(part, tck_ns=1.0)
