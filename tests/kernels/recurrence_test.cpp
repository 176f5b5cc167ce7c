#include "kernels/recurrence/recurrence.hpp"

#include "tests/support/compare.hpp"
#include "tests/support/isa_fixture.hpp"
#include "tests/support/random.hpp"

#include <gtest/gtest.h>

#include <array>
#include <cmath>
#include <limits>

namespace longreach::kernels {
namespace {

using base::MatView;
using test::Random;

constexpr std::size_t kN = kHeadSize;
constexpr double kEps = std::numeric_limits<float>::epsilon();

/// Parameters and inputs of a head for n tokens.
struct Case {
  std::size_t n_tokens;
  std::vector<float> k_k, k_a, r_k, norm_weight, norm_bias, r, w, k, v, a, g;

  Case(Random& random, std::size_t n)
      : n_tokens(n),
        k_k(random.uniform(kN, 0.6F, 1.1F)),
        k_a(random.uniform(kN, 0.6F, 1.2F)),
        r_k(random.normal(kN, 0, 0.2F)),
        norm_weight(random.uniform(kN, 0.5F, 1.2F)),
        norm_bias(random.normal(kN)),
        r(random.normal(n * kN)),
        w(random.uniform(n * kN, 0.5453F, 1)),
        k(random.normal(n * kN)),
        v(random.normal(n * kN)),
        a(random.uniform(n * kN, 0, 1)),
        g(random.normal(n * kN)) {}

  TimeMixHead head() const { return {k_k, k_a, r_k, norm_weight, norm_bias}; }
  TimeMixInputs tokens(std::size_t first, std::size_t n) const {
    const auto rows = [&](const std::vector<float>& x) {
      return MatView<const float>(x.data() + first * kN, n, kN);
    };
    return {rows(r), rows(w), rows(k), rows(v), rows(a), rows(g)};
  }
};

std::vector<float> run(const Case& c, std::span<const std::size_t> calls) {
  std::vector<float> state(kHeadStateSize), out(c.n_tokens * kN);
  std::size_t done = 0;
  for (const std::size_t n : calls) {
    time_mix_head(c.head(), c.tokens(done, n), state, {out.data() + done * kN, n, kN});
    done += n;
  }
  out.insert(out.end(), state.begin(), state.end());
  return out;
}

/// The formulas as written, in double; beside every number the size of the terms it was summed
/// from.
struct Reference {
  std::vector<double> out, bound;

  explicit Reference(const Case& c) {
    std::array<std::array<double, kN>, kN> state{}, size{};  // [value channel][key channel]
    for (std::size_t t = 0; t < c.n_tokens; ++t) {
      const auto at = [&](const std::vector<float>& x, std::size_t i) {
        return double{x[t * kN + i]};
      };
      std::array<double, kN> kappa{}, key{}, y{}, y_size{};
      double norm = 0;
      for (std::size_t j = 0; j < kN; ++j) {
        kappa[j] = at(c.k, j) * double{c.k_k[j]};
        norm += kappa[j] * kappa[j];
      }
      for (std::size_t j = 0; j < kN; ++j) {
        kappa[j] /= std::max(std::sqrt(norm), 1e-12);
        key[j] = at(c.k, j) * (1 + (at(c.a, j) - 1) * double{c.k_a[j]});
      }
      double bonus = 0, bonus_size = 0;
      for (std::size_t j = 0; j < kN; ++j) {
        bonus += at(c.r, j) * key[j] * double{c.r_k[j]};
        bonus_size += std::abs(at(c.r, j) * key[j] * double{c.r_k[j]});
      }
      for (std::size_t i = 0; i < kN; ++i) {
        double removed = 0, removed_size = 0;
        for (std::size_t j = 0; j < kN; ++j) {
          removed += state[i][j] * kappa[j];
          removed_size += size[i][j] * std::abs(kappa[j]);
        }
        for (std::size_t j = 0; j < kN; ++j) {
          const double rate = at(c.a, j) * kappa[j], add = at(c.v, i) * key[j];
          state[i][j] = state[i][j] * at(c.w, j) - removed * rate + add;
          size[i][j] = size[i][j] * at(c.w, j) + removed_size * std::abs(rate) + std::abs(add);
          y[i] += state[i][j] * at(c.r, j);
          y_size[i] += size[i][j] * std::abs(at(c.r, j));
        }
      }
      double mean = 0, variance = 0, largest = 0;
      for (std::size_t i = 0; i < kN; ++i) mean += y[i] / kN;
      for (std::size_t i = 0; i < kN; ++i) variance += (y[i] - mean) * (y[i] - mean) / kN;
      for (std::size_t i = 0; i < kN; ++i) largest = std::max(largest, y_size[i]);
      const double deviation = std::sqrt(variance + 64e-5);
      // Every token rounds a state's number some 70 times (a sum over 64 keys and a few products),
      // and what was rounded before decays with the state, so y errs by at most these roundings of
      // the size of its terms.
      const double y_error = 70 * (static_cast<double>(t) + 2) * kEps * largest / deviation;
      for (std::size_t i = 0; i < kN; ++i) {
        const double normal = (y[i] - mean) / deviation;
        const double sum =
            normal * double{c.norm_weight[i]} + double{c.norm_bias[i]} + bonus * at(c.v, i);
        out.push_back(sum * at(c.g, i));
        const double sum_error =
            y_error * (2 + std::abs(normal)) * double{c.norm_weight[i]} +
            70 * kEps * (bonus_size * std::abs(at(c.v, i)) + std::abs(sum) + 1);
        bound.push_back(sum_error * std::abs(at(c.g, i)));
      }
    }
  }
};

class Recurrence : public test::EveryIsa {};
LR_ON_EVERY_ISA(Recurrence);

TEST_P(Recurrence, AgreesWithTheFormula) {
  Random random;
  const Case c(random, 20);
  const Reference reference(c);
  const std::size_t calls[] = {20};
  const auto got = run(c, calls);
  EXPECT_TRUE(test::near(std::span(got).first(reference.out.size()), reference.out,
                         [&](std::size_t i) { return reference.bound[i]; }));
}

TEST_P(Recurrence, SplitsChangeNoBit) {
  Random random;
  const Case c(random, 30);
  const std::size_t whole[] = {30}, parts[] = {1, 7, 1, 1, 20},
                    ones[] = {1, 1, 1, 1, 1, 1, 1, 1, 1, 1, 1, 1, 1, 1, 1,
                              1, 1, 1, 1, 1, 1, 1, 1, 1, 1, 1, 1, 1, 1, 1};
  const auto want = run(c, whole);
  EXPECT_TRUE(test::same_bits(run(c, parts), want));
  EXPECT_TRUE(test::same_bits(run(c, ones), want));
}

TEST_P(Recurrence, KeyOfZerosRemovesNothing) {
  Random random;
  Case c(random, 2);
  std::fill(c.k.begin(), c.k.end(), 0.0F);
  const std::size_t calls[] = {2};
  for (const float x : run(c, calls)) EXPECT_TRUE(std::isfinite(x));
}

}  // namespace
}  // namespace longreach::kernels
