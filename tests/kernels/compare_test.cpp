#include "tests/support/compare.hpp"

#include <limits>
#include <vector>

namespace longreach::test {
namespace {

constexpr float kNan = std::numeric_limits<float>::quiet_NaN();
constexpr float kInf = std::numeric_limits<float>::infinity();

bool accepts(const std::vector<float>& got, const std::vector<double>& want) {
  return bool(near(got, want, [](std::size_t) { return 1e-3; }));
}

TEST(Compare, AcceptsWhatIsWithinTheBound) {
  EXPECT_TRUE(accepts({1.0F, -2.0F}, {1.0005, -2.0005}));
  EXPECT_TRUE(accepts({}, {}));
}

TEST(Compare, FindsPlantedFaults) {
  EXPECT_FALSE(accepts({1.0F}, {-1.0}));            // wrong sign
  EXPECT_FALSE(accepts({-1.0F}, {-2.0}));           // both negative
  EXPECT_FALSE(accepts({1.0F, 2.0F}, {2.0, 1.0}));  // swapped
  EXPECT_FALSE(accepts({kNan}, {1.0}));
  EXPECT_FALSE(accepts({1.0F}, {double{kNan}}));
  EXPECT_FALSE(accepts({kInf}, {1.0}));
  EXPECT_FALSE(accepts({1.0F}, {1.0, 2.0}));
  std::vector<float> got(1'000'000, 1.0F);
  const std::vector<double> want(got.size(), 1.0);
  got[777'777] = 1.01F;
  EXPECT_FALSE(accepts(got, want));
}

TEST(Compare, SameBitsTellsZerosApart) {
  EXPECT_TRUE(same_bits(std::vector{kNan, 1.0F}, std::vector{kNan, 1.0F}));
  EXPECT_FALSE(same_bits(std::vector{0.0F}, std::vector{-0.0F}));
  EXPECT_FALSE(same_bits(std::vector{0.0F}, std::vector{0.0F, 0.0F}));
}

}  // namespace
}  // namespace longreach::test
