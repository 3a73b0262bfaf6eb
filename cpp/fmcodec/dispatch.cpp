// SPDX-License-Identifier: Apache-2.0
// One list of tables made on first use, and one atomic pointer to the active one.
#include "fmcodec/dispatch.h"

#include <atomic>
#include <cstdlib>

#include "fmcodec/error.h"
#include "fmcodec/kernels/registry.h"

namespace fmc {
namespace {

const std::vector<KernelTable>& tables() {
  static const std::vector<KernelTable> kTables = list_kernel_tables();
  return kTables;
}

const KernelTable* find(const std::string& name, const char* origin) {
  std::string valid;
  for (const KernelTable& table : tables()) {
    if (name == table.isa) return &table;
    valid += (valid.empty() ? "" : ", ") + std::string(table.isa);
  }
  throw Error(ErrorCode::kArgument,
              std::string(origin) + " '" + name + "' is not available here; valid names are " + valid);
}

std::atomic<const KernelTable*> forced{nullptr};

const KernelTable* default_table() {
  const char* name = std::getenv("FMCODEC_ISA");
  return name == nullptr || *name == '\0' ? &tables().front() : find(name, "FMCODEC_ISA");
}

}  // namespace

std::vector<std::string> available_isas() {
  std::vector<std::string> names;
  for (const KernelTable& table : tables()) names.emplace_back(table.isa);
  return names;
}

void force_isa(const std::string& name) {
  forced.store(name.empty() ? nullptr : find(name, "instruction set"), std::memory_order_relaxed);
}

const KernelTable& kernels() {
  if (const KernelTable* table = forced.load(std::memory_order_relaxed)) return *table;
  static const KernelTable* const kDefault = default_table();
  return *kDefault;
}

}  // namespace fmc
