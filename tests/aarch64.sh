#!/usr/bin/env bash
# The same bytes on NEON: runs the fuzz targets on goldens and corpus under qemu, and here, and compares the digests.
#
#     apt-get install -y cmake ninja-build g++-aarch64-linux-gnu qemu-user
#     dpkg --add-architecture arm64 && apt-get update
#     tests/aarch64.sh
set -euo pipefail
cd "$(dirname "$0")/.."

root=build/aarch64-libraries
if ! [ -e "$root/usr/lib/aarch64-linux-gnu/libhwy.so" ]; then
  mkdir -p "$root"
  (cd "$root" && apt-get download libhwy-dev:arm64 libhwy1:arm64 && for package in *.deb; do dpkg -x "$package" .; done)
fi
cmake --preset release
cmake --build build/release --target fmcodec_replay
cmake --preset aarch64 -Dhwy_DIR="$PWD/$root/usr/lib/aarch64-linux-gnu/cmake/hwy"
cmake --build build/aarch64 --target fmcodec_replay

emulate=(qemu-aarch64 -L /usr/aarch64-linux-gnu -E "LD_LIBRARY_PATH=$root/usr/lib/aarch64-linux-gnu")
for inputs in "decode tests/golden/v7/*.fmc" "decode tests/golden/hostile/*.fmc" "parse tests/corpus/parse/*" \
  "decode tests/corpus/decode/*" "coder tests/corpus/coder/*" "round_trip tests/corpus/round_trip/*"; do
  # shellcheck disable=SC2086
  set -- $inputs
  here=$(build/release/fmcodec_replay "$@")
  there=$("${emulate[@]}" build/aarch64/fmcodec_replay "$@")
  echo "$here"
  [ "$here" = "$there" ] || { echo "aarch64: $there"; exit 1; }
done
