#!/usr/bin/env bash
# A big-endian machine: runs the NumPy reference on the goldens under qemu, and shows that the core refuses to compile.
#
#     apt-get install -y g++-s390x-linux-gnu qemu-user
#     dpkg --add-architecture s390x && apt-get update
#     tests/s390x.sh
set -euo pipefail
cd "$(dirname "$0")/.."

root=$PWD/build/s390x
python=$root/debian/usr/bin/python3.11
if ! [ -e "$python" ]; then  # Python 3.11, as Debian 12 has it
  mkdir -p "$root/packages" "$root/debian"
  (cd "$root/packages" && apt-get download {python3.11-minimal,libpython3.11-minimal,libpython3.11-stdlib}:s390x \
    {libpython3.11-dev,python3-numpy,libblas3,liblapack3,libgfortran5,libgcc-s1,libstdc++6,libc6}:s390x \
    {zlib1g,libexpat1,libffi8,libssl3,libbz2-1.0,liblzma5}:s390x)
  for package in "$root"/packages/*.deb; do dpkg -x "$package" "$root/debian"; done
fi
modules=$root/modules
if ! [ -e "$modules/msgspec/_core.so" ]; then
  pip download --quiet --no-deps --no-binary msgspec --dest "$root/packages" msgspec==0.20.0
  mkdir -p "$modules"
  tar -x -z --strip-components 2 -C "$modules" -f "$root/packages/msgspec-0.20.0.tar.gz" msgspec-0.20.0/src/msgspec
  s390x-linux-gnu-gcc -O1 -w -shared -fPIC -I"$root"/debian/usr/include{/python3.11,} \
    "$modules/msgspec/_core.c" -o "$modules/msgspec/_core.so"
fi
# What the reference needs of the package, without the core.
mkdir -p "$modules/fmcodec"
ln -sfn "$PWD"/python/fmcodec/{basis,errors,spec}.py "$PWD/python/fmcodec/reference" "$modules/fmcodec/"
touch "$modules/fmcodec/__init__.py" "$modules/fmcodec/_core.py"

libraries=$root/debian/usr/lib/s390x-linux-gnu
qemu-s390x -L "$root/debian" -E "PYTHONHOME=$root/debian/usr" -E PYTHONDONTWRITEBYTECODE=1 \
  -E "PYTHONPATH=$modules:$root/debian/usr/lib/python3/dist-packages" \
  -E "LD_LIBRARY_PATH=$libraries/blas:$libraries/lapack" "$python" tests/golden/check_reference.py

{ s390x-linux-gnu-g++ -std=c++20 -fsyntax-only -Icpp cpp/fmcodec/dispatch.cpp 2>&1 || true; } |
  grep --only-matching 'static assertion failed: fmcodec needs a little-endian machine'
