// SPDX-License-Identifier: Apache-2.0
// Threads that live for one call: no pool, so nothing to break at fork and no state between calls.
#pragma once

#include <algorithm>
#include <atomic>
#include <cstddef>
#include <exception>
#include <functional>
#include <mutex>
#include <thread>
#include <vector>

namespace fmc {

inline constexpr size_t kMaxThreads = 256;  // whatever the caller asks for

// Called by the caller's thread between two pieces of its work, if not empty; what it throws ends the work.
using Poll = std::function<void()>;

// Calls work(index) for 0..count-1, each once, from up to `threads` threads. make_work() is called once per thread and
// gives the thread its own `work`. The first exception is rethrown here after all threads have stopped.
template <class MakeWork>
void for_each_index(size_t count, size_t threads, const Poll& poll, const MakeWork& make_work) {
  std::atomic<size_t> next{0};
  std::exception_ptr first_error;
  std::mutex error_mutex;
  const auto run = [&](const Poll& between) {
    try {
      auto work = make_work();
      for (size_t index; (index = next.fetch_add(1)) < count;) {
        work(index);
        if (between) between();
      }
    } catch (...) {
      next.store(count);
      const std::lock_guard lock(error_mutex);
      if (!first_error) first_error = std::current_exception();
    }
  };
  {
    std::vector<std::jthread> helpers;
    for (size_t t = 1; t < std::min({threads, count, kMaxThreads}); ++t) helpers.emplace_back(run, Poll());
    run(poll);
  }
  if (first_error) std::rethrow_exception(first_error);
}

}  // namespace fmc
