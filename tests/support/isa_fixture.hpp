/// Runs a test on every instruction-set path this CPU has.
#pragma once

#include "kernels/simd/isa.hpp"

#include <gtest/gtest.h>

#include <string>

namespace longreach::test {

class EveryIsa : public testing::TestWithParam<std::string> {
 protected:
  void SetUp() override { kernels::select_isa(GetParam()); }
  void TearDown() override { kernels::select_isa(kernels::available_isas().front()); }
};

}  // namespace longreach::test

/// Instantiates a suite derived from EveryIsa.
#define LR_ON_EVERY_ISA(suite)                                                                    \
  INSTANTIATE_TEST_SUITE_P(Isa, suite, testing::ValuesIn(::longreach::kernels::available_isas()), \
                           [](const auto& isa) { return isa.param; })
