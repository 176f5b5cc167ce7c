/// Binds this process, its threads and its memory to its share of the node, with hwloc.
#pragma once

#include "kernels/threads/parallel.hpp"
#include "launch/machine/core_share.hpp"

#include <cstddef>
#include <string>

namespace longreach::launch {

/// What was bound.
struct Bound {
  kernels::ThreadStart thread_started;  ///< Binds the thread it is called on; may be empty.
  std::string text;                     ///< "cores 0-7 of NUMA node 0, threads 8, ...".
};

/// Binds the process to its cores, each of n_threads to one of its own if there are as many, and
/// memory that is touched from now on to the NUMA node if all cores belong to one of several.
/// Nothing is bound for Holding::kFree. What the system refuses is left and named in the text.
Bound bind_process(const CoreShare& share, std::size_t n_threads);

}  // namespace longreach::launch
