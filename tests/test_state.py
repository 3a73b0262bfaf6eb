"""What of the core outlives a call. The module says that it needs no GIL, so each piece must stand many threads."""

from __future__ import annotations

import re
import subprocess
import sys
from pathlib import Path

import pytest
from build_folder import newest_build

STATE = {
    # Made once, under the lock that C++ takes for the first use of a static variable, and constant afterwards.
    "fmc::(anonymous namespace)::tables()::kTables",
    "fmc::dct_matrix(unsigned int)::kMatrices",
    "fmc::kernels()::kDefault",
    "fmc::list_kernel_tables()::names",
    # One for each thread.
    "fmc::(anonymous namespace)::cache()::cache",
    # Atomic.
    "fmc::(anonymous namespace)::forced",
}
# Constants with addresses in them, which the loader fills in; and what GCC adds to count lines or guard first uses.
NO_STATE = re.compile(
    r"vtable for |typeinfo (name )?for |DW\.ref\.|guard variable for |__gcov|__tls_"
    r"|fmc::N_\w+::kernel_table\(\)::kTable$"
    r"|fmc::kernel_tableHighwayDispatchTable$"
)


@pytest.mark.skipif(sys.platform != "linux", reason="reads the symbols of ELF")
def test_variables_of_the_core_are_those_of_the_list() -> None:
    archive = newest_build() / "libfmcodec.a"
    result = subprocess.run(["nm", "--demangle", archive], capture_output=True, text=True, check=True)
    symbols = re.findall(r"^[0-9a-f]+ [bBdDcCgGsS] (.+)$", result.stdout, re.MULTILINE)
    assert {symbol for symbol in symbols if not NO_STATE.search(symbol)} == STATE


def test_the_module_declares_that_it_needs_no_gil(root: Path) -> None:
    module = (root / "cpp" / "bindings" / "module.cpp").read_text(encoding="ascii")
    assert "PYBIND11_MODULE(_core, module, pybind11::mod_gil_not_used())" in module
