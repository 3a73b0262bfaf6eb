// SPDX-License-Identifier: Apache-2.0
#include "fmcodec/band_lists.h"

namespace fmc {

void BandLists::assign(const std::vector<uint8_t>& number_of_band, size_t count) {
  begin_.assign(count + 1, 0);
  for (const uint8_t number : number_of_band) ++begin_[number + 1u];
  for (size_t number = 0; number < count; ++number) begin_[number + 1] += begin_[number];
  std::vector<size_t> next(begin_.begin(), begin_.end() - 1);
  bands_.resize(number_of_band.size());
  for (size_t band = 0; band < number_of_band.size(); ++band)
    bands_[next[number_of_band[band]]++] = static_cast<uint32_t>(band);
}

}  // namespace fmc
