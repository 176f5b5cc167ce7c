#include "kernels/base/error.hpp"

#include <cstdio>
#include <cstdlib>

namespace longreach::base {

void check_failed(const char* file, int line, const char* condition) noexcept {
  std::fprintf(stderr, "longreach: bug at %s:%d: %s does not hold\n", file, line, condition);
  std::abort();
}

}  // namespace longreach::base
