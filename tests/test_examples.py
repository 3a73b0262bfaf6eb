"""The programs in examples/ run and print what they say."""

from __future__ import annotations

import re
import subprocess
import sys
from pathlib import Path


def test_split_inference(root: Path) -> None:
    options = ["--images", "2", "--calibration", "2", "--relative-steps", "0.05", "--rounds", "1"]
    program = root / "examples" / "split_inference.py"
    result = subprocess.run([sys.executable, program, *options], capture_output=True, text=True, check=False)
    assert result.returncode == 0, result.stderr
    rows = [[cell.strip() for cell in line.split("|")[1:-1]] for line in result.stdout.splitlines()[2:]]
    coded = next(row for row in rows if row[0] == "fmcodec, step 0.05 RMS")
    by_name = {row[0]: row for row in rows}
    assert by_name["map as float32"][1] == "87,808" and by_name["photograph as it is"][1] == "150,528"
    # Answers came back over the link, for maps with fewer bytes than values.
    assert coded[3] == "100.0%" and float(coded[4]) > 0
    assert 5000 < int(re.sub(",", "", coded[1])) < 112 * 14 * 14
