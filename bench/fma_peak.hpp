/// What the multiply-adds of a path can do when nothing else is to be done.
#pragma once

#include <cstddef>

namespace longreach::bench {

/// Flops a second of one thread: fused multiply-adds of f32 on registers alone, with the vectors of
/// the path in use; the fastest of a few tries that last milliseconds.
double fma_peak();

}  // namespace longreach::bench
