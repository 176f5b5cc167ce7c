#include "kernels/decomposition/singular_values.hpp"

#include "kernels/base/error.hpp"
#include "kernels/simd/isa.hpp"

#include <dlfcn.h>
#include <stdlib.h>

#include <algorithm>
#include <array>
#include <limits>
#include <string_view>

namespace longreach::kernels {
namespace {

constexpr const char* kLibrary = "libopenblas.so.0";

/// By which of its kernels OpenBLAS comes nearest to a path.
struct PathCore {
  std::string_view isa;
  const char* name;
};

constexpr std::array kCoreTypes = {
    PathCore{"amx", "SkylakeX"},        PathCore{"avx512bf16", "SkylakeX"},
    PathCore{"avx512vnni", "SkylakeX"}, PathCore{"avx512", "SkylakeX"},
    PathCore{"avx2", "Haswell"},        PathCore{"neon", "ARMV8"},
};

template <typename Function>
Function* find_function(void* library, const char* name) {
  auto* const found = reinterpret_cast<Function*>(::dlsym(library, name));
  if (found == nullptr) base::input_error("{}: has no {}", kLibrary, name);
  return found;
}

int as_int(std::size_t n) {
  LR_CHECK(n <= static_cast<std::size_t>(std::numeric_limits<int>::max()));
  return static_cast<int>(n);
}

}  // namespace

Lapack::Lapack() {
  const std::string isa = active_isa();
  const auto* const core = std::ranges::find(kCoreTypes, std::string_view(isa), &PathCore::isa);
  constexpr int kKeep = 0, kReplace = 1;
  if (core != kCoreTypes.end()) ::setenv("OPENBLAS_CORETYPE", core->name, kKeep);
  // Debian's build with threads of its own starts them while it is loaded.
  ::setenv("OPENBLAS_NUM_THREADS", "1", kReplace);
  // Never closed, as it may hold threads and memory of its own.
  void* const library = ::dlopen(kLibrary, RTLD_NOW | RTLD_LOCAL);
  if (library == nullptr) {
    base::input_error("{}: cannot be loaded, as by Debian's package libopenblas0-serial: {}",
                      kLibrary, ::dlerror());
  }
  // That with OpenMP has as many threads as OpenMP, whatever the variable says.
  find_function<void(int)>(library, "openblas_set_num_threads")(1);
  decompose_ = find_function<Decompose>(library, "dgesdd_");
  core_type_ = find_function<CoreType>(library, "openblas_get_corename");
}

SingularValues Lapack::decompose(std::span<const double> matrix, std::size_t n_out,
                                 std::size_t n_in) const {
  LR_CHECK(n_out > 0 && n_in > 0 && matrix.size() == n_out * n_in);
  const std::size_t k = std::min(n_out, n_in);
  // All begins at a multiple of 64 bytes, so that no sum can depend on where memory lies.
  using Numbers = base::Buffer<double>;
  SingularValues result{Numbers(k), Numbers(n_out * k), Numbers(k * n_in)};
  Numbers destroyed(n_out * n_in);
  std::ranges::copy(matrix, destroyed.data());
  base::Buffer<int> int_work(8 * k);
  // LAPACK's matrices lie by columns, so it sees W^T = V diag(s) U^T: what it calls left is V,
  // whose columns are the rows of V^T, and what it calls right is U^T, whose columns are the rows
  // of U.
  const int rows = as_int(n_in), cols = as_int(n_out), n_values = as_int(k);
  const auto call = [&](double* work, int n_work) {
    int info = 0;
    decompose_("S", &rows, &cols, destroyed.data(), &rows, result.values.data(),
               result.right.data(), &rows, result.left.data(), &n_values, work, &n_work,
               int_work.data(), &info, 1);
    return info;
  };
  double best_work = 0;
  LR_CHECK(call(&best_work, -1) == 0);
  Numbers work(static_cast<std::size_t>(best_work));
  // It converges for finite numbers: dbdsdc's problems are halved until they are small.
  LR_CHECK(call(work.data(), as_int(work.size())) == 0);
  return result;
}

}  // namespace longreach::kernels
