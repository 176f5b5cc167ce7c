/// That products go by AMX where they should. Their bits cannot tell: those of int8 and int4
/// weights are the same on every path.
#include "kernels/matmul/matrix.hpp"
#include "tests/support/amx_model.hpp"
#include "tests/support/isa_fixture.hpp"
#include "tests/support/random.hpp"

#include <gtest/gtest.h>

namespace longreach::kernels {
namespace {

/// Products of tiles in a product of so many rows by a path.
std::size_t n_tile_products(std::string_view isa, base::WeightFormat format, std::size_t n_rows) {
  constexpr std::size_t kSize = 64;
  select_isa(isa);
  test::Random random;
  ThreadPool pool(1);
  const auto values = random.normal(kSize * kSize), x = random.normal(n_rows * kSize);
  const PackedMatrix weights({reinterpret_cast<const std::byte*>(values.data()), base::DType::kF32,
                              kSize, kSize, kSize, 1},
                             format, pool);
  std::vector<float> y(n_rows * kSize);
  const std::size_t before = test::AmxModel::n_products();
  multiply(pool, {x.data(), n_rows, kSize}, weights, {y.data(), n_rows, kSize});
  select_isa(available_isas().front());
  return test::AmxModel::n_products() - before;
}

TEST(AmxUse, TilesMultiplyWhereTheyArePromised) {
  using base::WeightFormat;
  for (const auto format : {WeightFormat::kInt8, WeightFormat::kInt4}) {
    EXPECT_GT(n_tile_products("amx", format, 16), 0U);
    EXPECT_EQ(n_tile_products("amx", format, 15), 0U);
  }
  EXPECT_GT(n_tile_products("amx", WeightFormat::kBf16, 1), 0U);
  EXPECT_EQ(n_tile_products("amx", WeightFormat::kF32, 16), 0U);
  for (const auto format : {WeightFormat::kBf16, WeightFormat::kInt8, WeightFormat::kInt4}) {
    EXPECT_EQ(n_tile_products(available_isas().back(), format, 16), 0U);
  }
}

}  // namespace
}  // namespace longreach::kernels
