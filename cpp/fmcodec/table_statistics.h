// SPDX-License-Identifier: Apache-2.0
// Histograms per band and, at effort 3, per context over any number of tensors, for static tables. Statistics of parts
// of the data add up.
#pragma once

#include <cstdint>
#include <vector>

#include "fmcodec/spec.h"
#include "fmcodec/table_choice.h"
#include "fmcodec/tables.h"
#include "fmcodec/tensor.h"

namespace fmc {

class TableStatistics {
 public:
  explicit TableStatistics(Spec spec);

  // Throws Error(kArgument) if the number of channels differs from earlier tensors; Error(kNonFinite).
  void update(const TensorView& tensor);
  void merge(const TableStatistics& other);
  // Tables with a code for every symbol seen and for those a quarter beyond the range seen: of bands or, at effort 3,
  // of contexts if what was seen takes fewer bits with them. Throws Error(kArgument) if no value was seen.
  Tables build() const;
  // Of each band the sum of the magnitudes of its symbols, and how many symbols that are.
  std::vector<uint64_t> magnitudes() const;
  uint64_t positions() const { return positions_; }
  uint64_t channels() const { return channels_; }

 private:
  // Tokens are counted at the smallest shift that fits all symbols seen; a larger symbol folds the histogram.
  struct Counts {
    SymbolRange range;
    int shift = 0;
    TokenHistogram tokens{};
    uint64_t zeros = 0;
    TokenHistogram masks{};  // of mask bytes

    template <typename Symbol>
    void count(const Symbol* symbols, size_t count);
    void add(const Counts& other, int32_t token_minimum);
    void raise_shift(int to, int32_t token_minimum);
  };
  struct Band {
    Counts symbols;
    Counts residuals;  // valid while the shift of the symbols is 0
    PredictionSample sample;
  };
  void set_channels(uint64_t channels);
  bool is_wide() const;
  CostedTables build_of_bands() const;
  CostedTables build_of_contexts() const;
  void extend(TokenStatistics& statistics, const SymbolRange& range) const;
  std::vector<bool> choose_predicted() const;

  Spec spec_;
  uint64_t channels_ = 0;
  uint64_t positions_ = 0;
  std::vector<Band> bands_;  // by band
  // Of effort 3, valid while the shifts of all bands are 0.
  std::vector<TokenHistogram> contexts_;
  uint64_t state_bits_ = 0;  // of the lanes of all blocks, if they are coded by rANS
};

}  // namespace fmc
