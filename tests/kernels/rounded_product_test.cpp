#include "kernels/matmul/rounded_product.hpp"

#include "tests/support/compare.hpp"
#include "tests/support/isa_fixture.hpp"
#include "tests/support/random.hpp"
#include "tests/support/rounded.hpp"

#include <gtest/gtest.h>

#include <algorithm>
#include <cmath>
#include <cstdint>
#include <limits>
#include <type_traits>
#include <vector>

namespace longreach::kernels {
namespace {

using test::Random;

class RoundedProduct : public test::EveryIsa {};
LR_ON_EVERY_ISA(RoundedProduct);

/// Numbers of a cache: bf16, or whole ones from -127 to 127.
template <typename T>
std::vector<T> kept_numbers(Random& random, std::size_t n) {
  std::vector<T> kept;
  for (const float number : random.normal(n)) {
    if constexpr (std::is_same_v<T, base::Bf16>) {
      kept.push_back(base::to_bf16(number));
    } else {
      kept.push_back(static_cast<T>(std::clamp(number * 60, -127.0F, 127.0F)));
    }
  }
  return kept;
}

/// Whether products of rounded x are those of x, rounded, of f32 in every bit: panels that follow
/// one another, as keys do, or whose steps are rows, as values'.
template <typename T>
void expect_sums_of_f32(Random& random, std::size_t n_rows, std::size_t n_k, std::size_t n_cols,
                        bool steps_are_rows) {
  const std::size_t n_panels = panel_count(n_cols), width = n_panels * kPanelCols;
  const std::vector<T> kept = kept_numbers<T>(random, n_k * width);
  const Panels<T> panels = steps_are_rows ? Panels<T>{kept.data(), kPanelCols, width}
                                          : Panels<T>{kept.data(), n_k * kPanelCols, kPanelCols};
  const std::vector<float> x = random.normal(n_rows * n_k), nearest = test::rounded(x);
  for (const Start start : {Start::kZero, Start::kContinue}) {
    std::vector<float> want = random.normal(n_rows * n_cols), got = want;
    panel_product({nearest.data(), n_rows, n_k}, panels, {want.data(), n_rows, n_cols}, start);
    rounded_panel_product({x.data(), n_rows, n_k}, panels, {got.data(), n_rows, n_cols}, start);
    ASSERT_TRUE(test::same_bits(got, want))
        << n_rows << " x " << n_k << " x " << n_cols << (steps_are_rows ? ", rows" : ", panels");
  }
}

TEST_P(RoundedProduct, OfPanelsHasTheSumsOfF32) {
  Random random;
  for (const std::size_t n_rows : {1, 2, 5, 6, 7, 12}) {
    for (const std::size_t n_k : {1, 2, 31, 64, 255, 256}) {
      for (const std::size_t n_cols : {1, 31, 32, 33, 64, 256}) {
        for (const bool steps_are_rows : {false, true}) {
          expect_sums_of_f32<base::Bf16>(random, n_rows, n_k, n_cols, steps_are_rows);
          expect_sums_of_f32<std::int8_t>(random, n_rows, n_k, n_cols, steps_are_rows);
          if (HasFatalFailure()) return;
        }
      }
    }
  }
}

TEST_P(RoundedProduct, NaNAndInfinityAreSeenAndStayInTheirRows) {
  Random random;
  const std::vector<base::Bf16> kept = kept_numbers<base::Bf16>(random, 3 * kPanelCols);
  const Panels<base::Bf16> panels{kept.data(), 3 * kPanelCols, kPanelCols};
  for (const float number :
       {std::numeric_limits<float>::quiet_NaN(), std::numeric_limits<float>::infinity()}) {
    std::vector<float> x = random.normal(2 * 3), got(2 * kPanelCols);
    x[2] = number;  // without a partner
    rounded_panel_product({x.data(), 2, 3}, panels, {got.data(), 2, kPanelCols}, Start::kZero);
    EXPECT_FALSE(std::isfinite(got[0]));
    EXPECT_TRUE(std::isfinite(got[kPanelCols]));
  }
}

}  // namespace
}  // namespace longreach::kernels
