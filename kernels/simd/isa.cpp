#include "kernels/simd/isa.hpp"

#undef HWY_TARGET_INCLUDE
#define HWY_TARGET_INCLUDE "kernels/simd/isa.cpp"
#include "kernels/base/error.hpp"
#include "kernels/matmul/amx_product.hpp"

#include <fmt/ranges.h>
#include <hwy/foreach_target.h>
#include <hwy/highway.h>
#include <hwy/targets.h>

#include <algorithm>
#include <atomic>
#include <cstdlib>

HWY_BEFORE_NAMESPACE();
namespace longreach::kernels::HWY_NAMESPACE {

std::int64_t compiled_target() { return HWY_TARGET; }

}  // namespace longreach::kernels::HWY_NAMESPACE
HWY_AFTER_NAMESPACE();

#if HWY_ONCE
namespace longreach::kernels {
namespace {

HWY_EXPORT(compiled_target);

/// Whether the CPU multiplies and adds pairs of 16-bit integers in one instruction on 512 bits.
bool vnni_available() {
#if HWY_ARCH_X86
  return __builtin_cpu_supports("avx512vnni") != 0;
#else
  return false;
#endif
}

/// Whether it does so with pairs of bf16.
bool bf16_pairs_available() {
#if HWY_ARCH_X86
  return __builtin_cpu_supports("avx512bf16") != 0;
#else
  return false;
#endif
}

std::string name_of_target(std::int64_t target) {
  switch (target) {
    case HWY_AVX3:
      return "avx512";
    case HWY_AVX2:
      return "avx2";
    case HWY_NEON:
      return "neon";
    default:
      return target == HWY_STATIC_TARGET ? "portable" : hwy::TargetName(target);
  }
}

/// Instructions beyond the targets built: whoever wants them asks uses_..().
struct alignas(4) Extensions {  // a word, which is read at once
  bool vnni = false, bf16_pairs = false, amx = false;
};

struct Path {
  std::string name;
  std::int64_t target;  ///< Of Highway.
  Extensions extensions;
};

/// The register, fastest first.
std::vector<Path> find_paths() {
  std::vector<Path> paths;
  for (const std::int64_t target : hwy::SupportedAndGeneratedTargets()) {
    paths.push_back({name_of_target(target), target, {}});
  }
  const std::int64_t best = paths.front().target;
  const bool vnni = best == HWY_AVX3 && vnni_available();
  if (vnni) paths.insert(paths.begin(), {"avx512vnni", best, {.vnni = true}});
  if (vnni && bf16_pairs_available()) {
    paths.insert(paths.begin(), {"avx512bf16", best, {.vnni = true, .bf16_pairs = true}});
  }
  if (amx_available()) paths.insert(paths.begin(), {"amx", best, {.vnni = vnni, .amx = true}});
  return paths;
}

/// Found once: asking Highway makes it take the fastest target again.
const std::vector<Path>& available_paths() {
  static const std::vector<Path> paths = find_paths();
  return paths;
}

/// Beside the target, which Highway keeps in one process-wide place.
std::atomic<Extensions> chosen_extensions{};

void choose(std::string_view name) {
  const std::vector<Path>& paths = available_paths();
  const auto found = std::ranges::find(paths, name, &Path::name);
  if (found == paths.end()) {
    base::input_error("instruction set {}: this CPU and build have {}", name,
                      fmt::join(available_isas(), ", "));
  }
  hwy::GetChosenTarget().Update(found->target);
  chosen_extensions.store(found->extensions, std::memory_order_relaxed);
}

/// Chooses what LONGREACH_ISA names or else the fastest path, once.
void choose_first_once() {
  static const bool chosen = [] {
    const char* name = std::getenv("LONGREACH_ISA");
    choose(name != nullptr ? name : available_paths().front().name);
    return true;
  }();
  static_cast<void>(chosen);
}

}  // namespace

std::vector<std::string> available_isas() {
  std::vector<std::string> names;
  for (const Path& path : available_paths()) names.push_back(path.name);
  return names;
}

std::string active_isa() {
  if (uses_amx()) return "amx";
  if (uses_bf16_pairs()) return "avx512bf16";
  if (uses_vnni()) return "avx512vnni";
  return name_of_target(HWY_DYNAMIC_DISPATCH(compiled_target)());
}

bool uses_vnni() {
  choose_first_once();
  return chosen_extensions.load(std::memory_order_relaxed).vnni;
}

bool uses_bf16_pairs() {
  choose_first_once();
  return chosen_extensions.load(std::memory_order_relaxed).bf16_pairs;
}

bool uses_amx() {
  choose_first_once();
  return chosen_extensions.load(std::memory_order_relaxed).amx;
}

void select_isa(std::string_view name) {
  choose_first_once();  // which must not come later
  choose(name);
}

}  // namespace longreach::kernels
#endif
