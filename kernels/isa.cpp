#include "kernels/isa.hpp"

#undef HWY_TARGET_INCLUDE
#define HWY_TARGET_INCLUDE "kernels/isa.cpp"
#include "kernels/base/error.hpp"

#include <fmt/ranges.h>
#include <hwy/foreach_target.h>
#include <hwy/highway.h>
#include <hwy/targets.h>

#include <algorithm>
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

/// Highway keeps the choice in one process-wide place; LONGREACH_ISA is applied to it once.
void apply_environment_once() {
  static const bool applied = [] {
    if (const char* name = std::getenv("LONGREACH_ISA")) select_isa(name);
    return true;
  }();
  static_cast<void>(applied);
}

}  // namespace

std::vector<std::string> available_isas() {
  std::vector<std::string> names;
  for (const std::int64_t target : hwy::SupportedAndGeneratedTargets()) {
    names.push_back(name_of_target(target));
  }
  return names;
}

std::string active_isa() {
  apply_environment_once();
  return name_of_target(HWY_DYNAMIC_DISPATCH(compiled_target)());
}

void select_isa(std::string_view name) {
  const std::vector<std::int64_t> targets = hwy::SupportedAndGeneratedTargets();
  const auto found = std::find_if(targets.begin(), targets.end(), [&](std::int64_t target) {
    return name_of_target(target) == name;
  });
  if (found == targets.end()) {
    base::input_error("instruction set {}: this CPU and build have {}", name,
                      fmt::join(available_isas(), ", "));
  }
  hwy::GetChosenTarget().Update(*found);
}

}  // namespace longreach::kernels
#endif
