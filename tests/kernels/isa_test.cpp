#include "kernels/simd/isa.hpp"

#include "kernels/base/error.hpp"

#include <gtest/gtest.h>

namespace longreach::kernels {
namespace {

TEST(Isa, EachAvailablePathCanBeSelected) {
  const auto names = available_isas();
  ASSERT_FALSE(names.empty());
#if defined(__x86_64__)  // elsewhere the compiler may always use vectors, and no path does without
  EXPECT_EQ(names.back(), "portable");
#endif
  for (const auto& name : names) {
    select_isa(name);
    EXPECT_EQ(active_isa(), name);
    available_isas();  // asking what there is chooses nothing
    EXPECT_EQ(active_isa(), name);
  }
  select_isa(names.front());
}

TEST(Isa, UnknownNameIsAnErrorAndChangesNothing) {
  const auto before = active_isa();
  EXPECT_THROW(select_isa("avx1024"), base::InputError);
  EXPECT_EQ(active_isa(), before);
}

}  // namespace
}  // namespace longreach::kernels
