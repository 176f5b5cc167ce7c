#include "kernels/matmul/matrix.hpp"

#include "tests/support/compare.hpp"
#include "tests/support/isa_fixture.hpp"
#include "tests/support/random.hpp"
#include "tests/support/rounded.hpp"

#include <gtest/gtest.h>

#include <cmath>
#include <limits>
#include <map>

namespace longreach::kernels {
namespace {

using base::Activations;
using base::DType;
using base::MatView;
using base::ProductFormat;
using base::WeightFormat;
using test::Random;

/// A weight matrix (n_out, n_in) with its numbers in row-major order.
struct Weight {
  std::size_t n_out, n_in;
  std::vector<float> values;

  StridedMatrix view() const {
    return {reinterpret_cast<const std::byte*>(values.data()), DType::kF32, n_out, n_in, n_in, 1};
  }
  /// Rows first .. first + count - 1: the columns of the product that one of several ranks would
  /// compute.
  StridedMatrix slice(std::size_t first, std::size_t count) const {
    return {reinterpret_cast<const std::byte*>(values.data() + first * n_in),
            DType::kF32,
            count,
            n_in,
            n_in,
            1};
  }
};

/// The product in double, and the sums of the terms' magnitudes.
struct Exact {
  std::vector<double> sums, sizes;
};

Exact exact_product(std::span<const float> x, std::size_t n_rows, const Weight& w) {
  Exact exact{std::vector<double>(n_rows * w.n_out), std::vector<double>(n_rows * w.n_out)};
  for (std::size_t r = 0; r < n_rows; ++r) {
    for (std::size_t o = 0; o < w.n_out; ++o) {
      for (std::size_t k = 0; k < w.n_in; ++k) {
        const double term = double{x[r * w.n_in + k]} * double{w.values[o * w.n_in + k]};
        exact.sums[r * w.n_out + o] += term;
        exact.sizes[r * w.n_out + o] += std::abs(term);
      }
    }
  }
  return exact;
}

/// Numbers that bf16 holds exactly.
std::vector<float> bf16_numbers(Random& random, std::size_t n) {
  return test::rounded(random.normal(n));
}

std::vector<float> product(ThreadPool& pool, std::span<const float> x, std::size_t n_rows,
                           const PackedMatrix& w) {
  std::vector<float> y(n_rows * w.n_out(), std::numeric_limits<float>::quiet_NaN());
  multiply(pool, {x.data(), n_rows, w.n_in()}, w, {y.data(), n_rows, w.n_out()});
  return y;
}

/// Products of numbers with a point, without codes.
constexpr auto kOfFloats = std::span(base::kProductFormats).first<3>();

class MatrixProduct : public test::EveryIsa {};
LR_ON_EVERY_ISA(MatrixProduct);

TEST_P(MatrixProduct, AgreesWithADoubleSum) {
  Random random;
  ThreadPool pool(2);
  constexpr double kEps = static_cast<double>(std::numeric_limits<float>::epsilon());
  for (const std::size_t n_rows : {1, 2, 5, 6, 7, 13, 16, 17, 32, 33}) {
    for (const std::size_t n_in : {1, 31, 64, 255, 256, 600}) {
      for (const std::size_t n_out : {1, 31, 32, 33, 64, 65, 100, 200}) {
        const Weight w{n_out, n_in, bf16_numbers(random, n_out * n_in)};
        const auto x = random.normal(n_rows * n_in);
        for (const ProductFormat format : kOfFloats) {
          // A sum of n terms with a rounding of the product and of the sum each: n + 1 roundings at
          // most, and fewer by AMX, which sums by blocks, but cuts activations.
          const PackedMatrix packed(w.view(), format, pool);
          const bool is_rounded = format.activations == Activations::kBf16;
          const bool is_cut = packed.has_bf16_blocks() && !is_rounded;
          const double share = static_cast<double>(n_in + 1) * kEps + (is_cut ? 0x1p-17 : 0);
          const Exact exact = exact_product(is_rounded ? test::rounded(x) : x, n_rows, w);
          ASSERT_TRUE(test::near(product(pool, x, n_rows, packed), exact.sums,
                                 [&](std::size_t i) { return share * exact.sizes[i]; }))
              << text_of(format) << ": " << n_rows << " x " << n_in << " x " << n_out;
        }
      }
    }
  }
}

TEST_P(MatrixProduct, RowHasTheSameBitsWhateverIsBesideIt) {
  Random random;
  ThreadPool pool(2);
  const std::size_t n_in = 1100, n_out = 150, n_rows = 110;  // more than are taken at a time
  const Weight w{n_out, n_in, random.normal(n_out * n_in)};
  const auto x = random.normal(n_rows * n_in);
  for (const ProductFormat format : base::kProductFormats) {
    const PackedMatrix packed(w.view(), format, pool);
    const auto together = product(pool, x, n_rows, packed);
    for (const std::size_t group : {1, 2, 3, 5, 6, 7, 11, 12, 16, 17, 31, 32, 33, 47, 48, 109}) {
      for (std::size_t first = 0; first < n_rows; first += group) {
        const std::size_t n = std::min(group, n_rows - first);
        const auto part = product(pool, std::span(x).subspan(first * n_in), n, packed);
        ASSERT_TRUE(test::same_bits(part, std::span(together).subspan(first * n_out, n * n_out)))
            << text_of(format) << ", rows by " << group;
      }
    }
  }
}

TEST_P(MatrixProduct, ColumnHasTheSameBitsWhicheverRankComputesIt) {
  Random random;
  ThreadPool pool(1);
  const std::size_t n_in = 300, n_out = 170;
  const Weight w{n_out, n_in, random.normal(n_out * n_in)};
  const auto x = random.normal(n_in);
  for (const ProductFormat format : base::kProductFormats) {
    const auto whole = product(pool, x, 1, PackedMatrix(w.view(), format, pool));
    for (const std::size_t width : {1, 7, 32, 57, 64, 100}) {
      for (std::size_t first = 0; first < n_out; first += width) {
        const std::size_t n = std::min(width, n_out - first);
        const auto part = product(pool, x, 1, PackedMatrix(w.slice(first, n), format, pool));
        ASSERT_TRUE(test::same_bits(part, std::span(whole).subspan(first, n)))
            << text_of(format) << ", columns by " << width;
      }
    }
  }
}

TEST_P(MatrixProduct, ThreadsChangeNoBit) {
  Random random;
  ThreadPool one(1);
  const std::size_t n_in = 130;
  for (const std::size_t n_out : {40, 333}) {
    for (const std::size_t n_rows : {1, 9, 200}) {
      const Weight w{n_out, n_in, random.normal(n_out * n_in)};
      const auto x = random.normal(n_rows * n_in);
      for (const ProductFormat format : base::kProductFormats) {
        const PackedMatrix packed(w.view(), format, one);
        const auto want = product(one, x, n_rows, packed);
        for (const std::size_t n_threads : {2, 3, 5}) {
          ThreadPool pool(n_threads);
          EXPECT_TRUE(test::same_bits(product(pool, x, n_rows, packed), want))
              << text_of(format) << ", " << n_rows << " rows, " << n_threads << " threads";
        }
      }
    }
  }
}

/// Two matrices that multiply the same inputs, in formats of which one may be another's, and one
/// that multiplies others.
TEST_P(MatrixProduct, SharingAJobChangesNoBit) {
  Random random;
  constexpr std::size_t kIn = 100, kOtherIn = 70;
  const Weight a{130, kIn, bf16_numbers(random, 130 * kIn)};
  const Weight b{33, kIn, bf16_numbers(random, 33 * kIn)};
  const Weight c{65, kOtherIn, bf16_numbers(random, 65 * kOtherIn)};
  for (const std::size_t n_threads : {1, 2}) {
    ThreadPool pool(n_threads);
    for (const std::size_t n_rows : {1, 7, 50}) {
      const auto x = random.normal(n_rows * kIn), other = random.normal(n_rows * kOtherIn);
      for (const ProductFormat format : base::kProductFormats) {
        for (const ProductFormat second : base::kProductFormats) {
          const PackedMatrix matrices[] = {PackedMatrix(a.view(), format, pool),
                                           PackedMatrix(b.view(), second, pool),
                                           PackedMatrix(c.view(), format, pool)};
          std::vector<std::vector<float>> together;
          std::vector<Product> job;
          for (const PackedMatrix& w : matrices) {
            together.emplace_back(n_rows * w.n_out());
            const auto& inputs = w.n_in() == kIn ? x : other;
            job.push_back({{inputs.data(), n_rows, w.n_in()},
                           &w,
                           {together.back().data(), n_rows, w.n_out()}});
          }
          multiply_all(pool, job);
          for (std::size_t i = 0; i < job.size(); ++i) {
            const auto& inputs = job[i].w->n_in() == kIn ? x : other;
            ASSERT_TRUE(test::same_bits(together[i], product(pool, inputs, n_rows, matrices[i])))
                << text_of(format) << ", " << text_of(second) << ": " << n_rows << " rows, product "
                << i;
          }
        }
      }
    }
  }
}

TEST_P(MatrixProduct, Bf16StorageOfBf16NumbersIsExact) {
  if (uses_amx()) GTEST_SKIP() << "AMX cuts activations";
  Random random;
  ThreadPool pool(2);
  const std::size_t n_in = 333, n_out = 77;
  const Weight w{n_out, n_in, bf16_numbers(random, n_out * n_in)};
  const PackedMatrix bf16(w.view(), WeightFormat::kBf16, pool),
      f32(w.view(), WeightFormat::kF32, pool);
  for (const std::size_t n_rows : {8, 70}) {
    const auto x = random.normal(n_rows * n_in);
    EXPECT_TRUE(test::same_bits(product(pool, x, n_rows, bf16), product(pool, x, n_rows, f32)));
  }
}

TEST_P(MatrixProduct, ActivationsInBf16AreThoseThatWereRoundedBefore) {
  if (uses_amx()) GTEST_SKIP() << "AMX sums in another order";
  Random random;
  ThreadPool pool(2);
  const std::size_t n_in = 1100, n_out = 77;
  const Weight w{n_out, n_in, bf16_numbers(random, n_out * n_in)};
  const PackedMatrix rounding(w.view(), {WeightFormat::kBf16, Activations::kBf16}, pool),
      plain(w.view(), WeightFormat::kBf16, pool);
  for (const std::size_t n_rows : {1, 8, 70}) {
    auto x = random.normal(n_rows * n_in);
    x[n_rows * n_in - 1] = std::numeric_limits<float>::quiet_NaN();
    EXPECT_TRUE(test::same_bits(product(pool, x, n_rows, rounding),
                                product(pool, test::rounded(x), n_rows, plain)));
  }
}

TEST_P(MatrixProduct, PanelsThatLieElsewhereHaveTheSameBits) {
  Random random;
  ThreadPool pool(2);
  const std::size_t n_in = 130, n_out = 77;
  const Weight w{n_out, n_in, random.normal(n_out * n_in)};
  for (const ProductFormat format : base::kProductFormats) {
    const PackedMatrix packed(w.view(), format, pool);
    // As files have them, for which activations do not count.
    const PackedMatrix source(w.view(), format.weights, pool);
    const PanelLayout layout{format.weights, source.has_bf16_blocks()};
    ASSERT_TRUE(layout.serves(format)) << text_of(format);
    EXPECT_FALSE((PanelLayout{WeightFormat::kBf16, !uses_amx()}.serves(WeightFormat::kBf16)));
    const PackedMatrix mapped(source.panels(), n_out, n_in, layout, format.activations);
    for (const std::size_t n_rows : {1, 9, 60}) {
      const auto x = random.normal(n_rows * n_in);
      EXPECT_TRUE(
          test::same_bits(product(pool, x, n_rows, mapped), product(pool, x, n_rows, packed)))
          << text_of(format);
    }
  }
}

TEST_P(MatrixProduct, MayHaveNoColumns) {
  ThreadPool pool(2);
  const std::vector<float> x(60 * 40);
  for (const ProductFormat format : base::kProductFormats) {
    EXPECT_TRUE(
        product(pool, x, 60, PackedMatrix({nullptr, DType::kF32, 0, 40, 40, 1}, format, pool))
            .empty());
  }
}

TEST_P(MatrixProduct, WritesNothingBesideItsColumns) {
  Random random;
  ThreadPool pool(2);
  const std::size_t n_in = 40, n_out = 45, n_rows = 7, stride = 60;
  const Weight w{n_out, n_in, random.normal(n_out * n_in)};
  const auto x = random.normal(n_rows * n_in);
  for (const ProductFormat format : base::kProductFormats) {
    std::vector<float> y(n_rows * stride, 12345.0F);
    multiply(pool, {x.data(), n_rows, n_in}, PackedMatrix(w.view(), format, pool),
             MatView<float>(y.data(), n_rows, n_out, stride));
    for (std::size_t r = 0; r < n_rows; ++r) {
      for (std::size_t c = n_out; c < stride; ++c) EXPECT_EQ(y[r * stride + c], 12345.0F);
    }
  }
}

TEST(MatrixProduct, PathsWithFusedMultiplyAddAgreeInEveryBit) {
  Random random;
  ThreadPool one(1), two(2);
  for (const std::size_t n_in : {20, 500, 1100}) {  // the last more than are taken at a time
    for (const std::size_t n_out : {64, 190}) {
      const Weight w{n_out, n_in, random.normal(n_out * n_in)};
      for (const ProductFormat format : base::kProductFormats) {
        for (const std::size_t n_rows : {1, 7, 15, 16, 17, 33, 100}) {
          const auto x = random.normal(n_rows * n_in);
          std::map<std::string, std::vector<float>> results;
          for (const auto& isa : available_isas()) {
            select_isa(isa);
            const PackedMatrix packed(w.view(), format, two);
            if (isa == "portable" || (uses_amx() && packed.has_bf16_blocks())) continue;
            results[isa + " by one thread"] = product(one, x, n_rows, packed);
            results[isa + " by two threads"] = product(two, x, n_rows, packed);
          }
          select_isa(available_isas().front());
          if (results.size() < 4) GTEST_SKIP() << "this CPU has fewer than two such paths";
          for (const auto& [isa, result] : results) {
            ASSERT_TRUE(test::same_bits(result, results.begin()->second))
                << text_of(format) << " on " << isa << ": " << n_rows << " x " << n_in << " x "
                << n_out;
          }
        }
      }
    }
  }
}

TEST(PackedMatrix, ReadsEveryTypeAndBothOrders) {
  ThreadPool pool(1);
  const std::uint16_t halves[] = {0x3c00, 0x4000, 0x4200, 0x4400, 0x4500, 0x4600};  // 1 .. 6
  const StridedMatrix rows{reinterpret_cast<const std::byte*>(halves), DType::kF16, 2, 3, 3, 1};
  const StridedMatrix columns{reinterpret_cast<const std::byte*>(halves), DType::kF16, 3, 2, 1, 3};
  const std::vector<float> x{1, 10, 100};
  EXPECT_EQ(product(pool, x, 1, PackedMatrix(rows, WeightFormat::kF32, pool)),
            (std::vector<float>{321, 654}));
  EXPECT_EQ(
      product(pool, std::span(x).first(2), 1, PackedMatrix(columns, WeightFormat::kBf16, pool)),
      (std::vector<float>{41, 52, 63}));
}

/// Products of inputs of which a share is zero, by a matrix packed for that and by one that is not.
class NonzeroProduct : public test::EveryIsa {
 protected:
  void expect_same_bits(const Weight& w, ProductFormat format, std::span<const float> x,
                        std::size_t n_rows) {
    const PackedMatrix plain(w.view(), format, pool_);
    const PackedMatrix packed(w.view(), format, pool_, Inputs::kManyZero);
    const std::vector<float> expected = product(pool_, x, n_rows, plain);
    EXPECT_TRUE(test::same_bits(product(pool_, x, n_rows, packed), expected));
    std::vector<float> y(expected.size(), std::numeric_limits<float>::quiet_NaN());
    multiply_nonzero(pool_, {x.data(), n_rows, w.n_in}, packed, {y.data(), n_rows, w.n_out});
    EXPECT_TRUE(test::same_bits(y, expected));
  }

  Random random_;
  ThreadPool pool_{2};
};
LR_ON_EVERY_ISA(NonzeroProduct);

TEST_P(NonzeroProduct, HasTheBitsOfTheWholeProduct) {
  for (const ProductFormat format : kOfFloats) {
    for (const std::size_t n_rows : {1, 2, 3, 4, 5, 13, 60}) {
      for (const std::size_t n_in : {1, 31, 600, 1100}) {
        for (const std::size_t n_out : {1, 32, 33, 64, 65, 200}) {
          const Weight w{n_out, n_in, random_.normal(n_out * n_in)};
          for (const float share : {0.0F, 0.5F, 0.9F, 1.0F}) {
            auto x = random_.normal(n_rows * n_in);
            const auto chances = random_.uniform(x.size(), 0, 1);
            for (std::size_t i = 0; i < x.size(); ++i) {
              if (chances[i] < share) x[i] = 0;
            }
            SCOPED_TRACE(testing::Message() << text_of(format) << ": " << n_rows << " x " << n_in
                                            << " x " << n_out << ", zeros: " << share);
            expect_same_bits(w, format, x, n_rows);
          }
        }
      }
    }
  }
}

TEST_P(NonzeroProduct, SeesWeightsThatAreNotFinite) {
  Weight w{40, 64, random_.normal(40 * 64)};
  w.values[3 * 64 + 7] = std::numeric_limits<float>::infinity();
  std::vector<float> x(64, 0.0F);
  x[5] = 1;  // and not x[7]: zero times infinity is no number
  for (const ProductFormat format : kOfFloats) {
    expect_same_bits(w, format, x, 1);
    const PackedMatrix packed(w.view(), format, pool_, Inputs::kManyZero);
    EXPECT_FALSE(packed.may_skip_zeros());
    EXPECT_TRUE(std::isnan(product(pool_, x, 1, packed)[3]));
  }
}

TEST_P(NonzeroProduct, IsZeroWithoutASignWhereASumUnderflows) {
  const Weight w{32, 2, std::vector<float>(64, -1e-30F)};
  const std::vector<float> x{1e-30F, 0};
  for (const WeightFormat format : {WeightFormat::kF32, WeightFormat::kBf16}) {
    expect_same_bits(w, format, x, 1);
  }
}

}  // namespace
}  // namespace longreach::kernels
