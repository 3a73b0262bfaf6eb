#!/usr/bin/env bash
# Which lines and branches the tests run, of the C++ core and of the Python package, by file.
#
#     pip install -c constraints.txt ".[test,coverage]"
#     tests/coverage.sh                        # all tests, some minutes
#     tests/coverage.sh tests/test_codec.py    # any arguments of pytest
set -euo pipefail
cd "$(dirname "$0")/.."

cmake --preset coverage -Dpybind11_DIR="$(python -m pybind11 --cmakedir)"
cmake --build build/coverage
# The package as it is here, with the extension that counts.
package=build/coverage/package/fmcodec
mkdir -p "$package"
for file in python/fmcodec/*; do
  [ "$file" = python/fmcodec/_core ] || ln -sfn "$PWD/$file" "$package/"
done
ln -sfn "$PWD"/build/coverage/_core*.so "$package/"
find build/coverage -name '*.gcda' -delete
coverage erase

PYTHONPATH="$PWD/build/coverage/package${PYTHONPATH:+:$PYTHONPATH}" coverage run -m pytest -q "$@" || failed=1
coverage combine -q
coverage report
# Kernels are compiled once per instruction set, and templates once per type: a line counts if any of them ran it.
# Branches that only an exception takes are left out; the compiler makes one for every call.
gcovr --root . --filter cpp/fmcodec --filter cpp/bindings --object-directory build/coverage --merge-lines \
  --exclude-throw-branches --exclude-unreachable-branches --json build/coverage/cpp.json --txt build/coverage/cpp.txt \
  --print-summary
cat build/coverage/cpp.txt
gcovr --root . --add-tracefile build/coverage/cpp.json --merge-lines --txt-metric branch
exit "${failed:-0}"
