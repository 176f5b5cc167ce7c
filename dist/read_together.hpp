/// How fast all ranks together read memory: what shares of bandwidth are of.
#pragma once

#include "dist/communicator.hpp"
#include "kernels/parallel.hpp"

#include <cstddef>

namespace longreach::dist {

/// Lets all ranks read n_bytes of memory each, at once and several times. Returns the bytes a
/// second of all ranks together in the fastest pass; a pass lasts until its last rank is done.
/// Collective: the same n_bytes on all ranks. Errors: std::bad_alloc, which the other ranks do not
/// know of.
double read_together(Communicator& world, kernels::ThreadPool& pool, std::size_t n_bytes);

}  // namespace longreach::dist
