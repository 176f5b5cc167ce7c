/// Time mix and channel mix of a step of several sequences against their formulas in double,
/// sequence by sequence and token by token.
#include "model/blocks/channel_mix.hpp"
#include "model/blocks/linear_product.hpp"
#include "model/blocks/residual_block.hpp"
#include "model/blocks/sparse_attention.hpp"
#include "model/blocks/time_mix.hpp"
#include "partition/cost.hpp"
#include "tests/support/bounded.hpp"
#include "tests/support/compare.hpp"
#include "tests/support/random.hpp"

#include <gtest/gtest.h>

#include <algorithm>
#include <array>
#include <cmath>
#include <span>
#include <vector>

namespace longreach::model {
namespace {

using base::MatView;
using kernels::kHeadSize;
using test::apply;
using test::Bounded;
using test::sum_of;

constexpr std::size_t kHeads = 2, kChannels = kHeads * kHeadSize, kHidden = 192, kRank = 32;
/// Rows of the step by sequence: a lone one between longer ones; few, as bounds grow with each
/// token.
constexpr std::array<std::size_t, 3> kSegments{2, 1, 3};
constexpr std::size_t kRows = 6;

using Channels = std::vector<Bounded>;

/// A random matrix (n_out, n_in), as it is and packed.
struct Matrix {
  Matrix(test::Random& random, std::size_t n_out, std::size_t n_in)
      : rows(n_out),
        cols(n_in),
        values(random.normal(n_out * n_in, 0, 1 / std::sqrt(static_cast<float>(n_in)))) {}

  kernels::PackedMatrix packed(kernels::ThreadPool& pool) const {
    return {
        {reinterpret_cast<const std::byte*>(values.data()), base::DType::kF32, rows, cols, cols, 1},
        base::WeightFormat::kF32,
        pool};
  }
  Channels times(const Channels& x) const {
    Channels y;
    for (std::size_t row = 0; row < rows; ++row) {
      y.push_back(sum_of(cols, [&](std::size_t i) {
        // A product is rounded with the sum it is added to.
        const double weight = values[row * cols + i], term = weight * x[i].value;
        return Bounded(term, std::abs(weight) * x[i].error, term, 1);
      }));
    }
    return y;
  }

  std::size_t rows, cols;
  std::vector<float> values;
};

ModelConfig config() {
  ModelConfig sizes;
  sizes.vocab_size = 256;
  sizes.n_embd = kChannels;
  sizes.n_head = kHeads;
  sizes.ffn_size = kHidden;
  sizes.n_rwkv = 1;
  sizes.low_ranks = {{kRank, kRank, kRank, kRank}};
  sizes.factor_ranks.emplace("blocks.0.ffn.value.weight", kRank);
  return sizes;
}

Step step_of_all() {
  std::vector<Segment> segments;
  for (std::size_t s = 0; s < kSegments.size(); ++s) {
    segments.push_back(
        {static_cast<std::uint32_t>(s), static_cast<std::uint32_t>(kSegments[s]), 7 * s});
  }
  return Step(std::move(segments));
}

/// Random input of the step, and what both mixes are run with.
class Mixes : public ::testing::Test {
 protected:
  Mixes() : x_(random_.normal(kRows * kChannels)) {
    context_.extents = shard_extents(config_, {0, 1});
  }

  Channels row(std::span<const float> rows, std::size_t t) const {
    const auto numbers = rows.subspan(t * kChannels, kChannels);
    return {numbers.begin(), numbers.end()};
  }
  MatView<const float> x() const { return {x_.data(), kRows, kChannels}; }
  MatView<float> view(std::vector<float>& rows) const { return {rows.data(), kRows, kChannels}; }

  /// x + (before - x) * mix.
  static Channels shifted(const Channels& x, const Channels& before, const Vector& mix) {
    Channels y;
    for (std::size_t c = 0; c < kChannels; ++c) {
      y.push_back(x[c] + (before[c] - x[c]) * Bounded(mix[c]));
    }
    return y;
  }

  /// Within the bound of each number, none of which may be so large that anything would pass.
  void expect_near(std::span<const float> got, const Channels& want, double largest_bound) const {
    std::vector<double> values;
    for (const Bounded& number : want) values.push_back(number.value);
    EXPECT_TRUE(test::near(got, values, [&](std::size_t i) { return want[i].error; }));
    for (const Bounded& number : want) EXPECT_LT(number.error, largest_bound);
  }

  test::Random random_;
  ModelConfig config_ = config();
  AttentionConfig attention_;
  Weights weights_;
  kernels::ThreadPool pool_{2};
  NoExchange exchange_;
  Observer no_observer_;
  Workspace workspace_{config_, 2};
  Context context_{config_, attention_, weights_, workspace_, pool_, exchange_, {}, &no_observer_};
  Step step_ = step_of_all();
  std::vector<float> x_, out_ = std::vector<float>(kRows * kChannels);
};

TEST_F(Mixes, ChannelMixIsItsFormula) {
  const Matrix key(random_, kHidden, kChannels), value(random_, kChannels, kHidden);
  const ChannelMixWeights weights{
      random_.uniform(kChannels, 0, 1), {key.packed(pool_)}, {value.packed(pool_)}};
  std::vector<std::vector<float>> shifts;
  for (std::size_t s = 0; s < kSegments.size(); ++s) shifts.push_back(random_.normal(kChannels));
  Channels want;
  for (std::size_t s = 0, t = 0; s < kSegments.size(); ++s) {
    Channels before(shifts[s].begin(), shifts[s].end());
    for (const std::size_t end = t + kSegments[s]; t < end; ++t) {
      const Channels now = row(x_, t);
      Channels hidden = key.times(shifted(now, before, weights.x_k));
      for (Bounded& h : hidden)
        h = h.value + h.error > 0 ? Bounded{std::max(h.value, 0.0), h.error, 0, 0} : 0;
      for (Bounded& h : hidden) h = h * h;
      const Channels y = value.times(hidden);
      want.insert(want.end(), y.begin(), y.end());
      before = now;
    }
  }
  std::vector<std::vector<float>*> states;
  for (auto& shift : shifts) states.push_back(&shift);
  channel_mix(context_, weights, step_, x(), states, view(out_));
  expect_near(out_, want, 0.001);
  for (std::size_t s = 0, t = 0; s < kSegments.size(); ++s) {
    t += kSegments[s];
    EXPECT_TRUE(test::same_bits(shifts[s], x().row(t - 1))) << s;
  }
}

/// Both ways of multiplying by inputs that are mostly zeros, on every count of rows.
TEST_F(Mixes, LinearProductOfFactorsIsThatOfBoth) {
  const Matrix first(random_, kRank, kHidden), second(random_, kChannels, kRank);
  std::vector<float> hidden = random_.normal(kRows * kHidden);
  for (std::size_t i = 0; i < hidden.size(); ++i) {
    if (i % 5 != 0) hidden[i] = 0;
  }
  for (const auto inputs : {kernels::Inputs::kAny, kernels::Inputs::kManyZero}) {
    const LinearWeights weights{second.packed(pool_), first.packed(pool_)};
    for (std::size_t n = 1; n <= kRows; ++n) {
      Channels want;
      for (std::size_t t = 0; t < n; ++t) {
        const Channels x(hidden.begin() + static_cast<std::ptrdiff_t>(t * kHidden),
                         hidden.begin() + static_cast<std::ptrdiff_t>((t + 1) * kHidden));
        const Channels y = second.times(first.times(x));
        want.insert(want.end(), y.begin(), y.end());
      }
      std::vector<float> y(n * kChannels);
      linear_product(context_, {hidden.data(), n, kHidden}, weights, {y.data(), n, kChannels},
                     inputs);
      expect_near(y, want, 0.001);
    }
  }
}

/// Low-rank factors as they multiply, and the bias.
struct LowRank {
  explicit LowRank(test::Random& random)
      : bias(random.normal(kChannels)),
        first(random, kRank, kChannels),
        second(random, kChannels, kRank) {}

  LowRankWeights packed(kernels::ThreadPool& pool) const {
    return {bias, first.packed(pool), second.packed(pool)};
  }
  template <typename Function>
  Channels of(const Channels& x, Function&& activation, double slope) const {
    Channels inner = first.times(x);
    for (Bounded& number : inner) number = apply(activation, slope, number);
    return second.times(inner);
  }

  Vector bias;
  Matrix first, second;
};

double sigmoid(double x) { return 1 / (1 + std::exp(-x)); }
double same(double x) { return x; }

/// A time mix's weights as the formulas read them.
struct TimeMixCase {
  explicit TimeMixCase(test::Random& random)
      : receptance(random, kChannels, kChannels),
        key(random, kChannels, kChannels),
        value(random, kChannels, kChannels),
        output(random, kChannels, kChannels),
        decay(random),
        rate(random),
        residual(random),
        gate(random) {
    for (Vector* mix : {&x_r, &x_w, &x_k, &x_v, &x_a, &x_g}) *mix = random.uniform(kChannels, 0, 1);
    k_k = random.uniform(kChannels, 0.6F, 1.1F);
    k_a = random.uniform(kChannels, 0.6F, 1.2F);
    r_k = random.normal(kChannels, 0, 0.2F);
    norm = {random.uniform(kChannels, 0.5F, 1.2F), random.normal(kChannels)};
  }

  RwkvBlockWeights packed(kernels::ThreadPool& pool) const {
    RwkvBlockWeights w;
    w.x_r = x_r, w.x_w = x_w, w.x_k = x_k, w.x_v = x_v, w.x_a = x_a, w.x_g = x_g;
    w.receptance.matrix = receptance.packed(pool), w.key.matrix = key.packed(pool);
    w.value.matrix = value.packed(pool), w.output.matrix = output.packed(pool);
    w.decay = decay.packed(pool), w.rate = rate.packed(pool);
    w.residual = residual.packed(pool), w.gate = gate.packed(pool);
    w.k_k = k_k, w.k_a = k_a, w.r_k = r_k, w.ln_x = norm;
    return w;
  }

  Matrix receptance, key, value, output;
  LowRank decay, rate, residual, gate;
  Vector x_r, x_w, x_k, x_v, x_a, x_g, k_k, k_a, r_k;
  Norm norm;
};

/// The state of a head in the formulas: [value channel][key channel].
using HeadState = std::vector<std::vector<Bounded>>;

/// One token of one head (model-spec section 2): what comes out before the output product.
Channels head_output(const TimeMixCase& weights, std::size_t head, const Channels& r,
                     const Channels& w, const Channels& k, const Channels& v, const Channels& a,
                     const Channels& g, HeadState& state) {
  const auto at = [head](const auto& channels, std::size_t i) {
    return Bounded(channels[head * kHeadSize + i]);
  };
  Channels kappa, k_used, y;
  for (std::size_t j = 0; j < kHeadSize; ++j) kappa.push_back(at(k, j) * at(weights.k_k, j));
  const Bounded squares = sum_of(kHeadSize, [&](std::size_t j) { return kappa[j] * kappa[j]; });
  const Bounded scale = apply([](double x) { return 1 / std::sqrt(x); },
                              0.5 / std::pow(squares.value - squares.error, 1.5), squares);
  for (std::size_t j = 0; j < kHeadSize; ++j) {
    kappa[j] = kappa[j] * scale;
    k_used.push_back(at(k, j) * (Bounded(1) + (at(a, j) - 1) * at(weights.k_a, j)));
  }
  for (std::size_t i = 0; i < kHeadSize; ++i) {
    const Bounded removed =
        sum_of(kHeadSize, [&](std::size_t j) { return state[i][j] * kappa[j]; });
    for (std::size_t j = 0; j < kHeadSize; ++j) {
      state[i][j] = state[i][j] * at(w, j) - removed * (at(a, j) * kappa[j]) + at(v, i) * k_used[j];
    }
    y.push_back(sum_of(kHeadSize, [&](std::size_t j) { return state[i][j] * at(r, j); }));
  }
  const Bounded mean =
      sum_of(kHeadSize, [&](std::size_t i) { return y[i] * Bounded(1.0 / kHeadSize); });
  const Bounded variance = sum_of(kHeadSize,
                                  [&](std::size_t i) {
                                    return (y[i] - mean) * (y[i] - mean) * Bounded(1.0 / kHeadSize);
                                  }) +
                           Bounded(64e-5);
  const Bounded inverse = apply([](double x) { return 1 / std::sqrt(x); },
                                0.5 / std::pow(variance.value - variance.error, 1.5), variance);
  const Bounded bonus =
      sum_of(kHeadSize, [&](std::size_t j) { return at(r, j) * k_used[j] * at(weights.r_k, j); });
  for (std::size_t i = 0; i < kHeadSize; ++i) {
    y[i] = ((y[i] - mean) * inverse * at(weights.norm.weight, i) + at(weights.norm.bias, i) +
            bonus * at(v, i)) *
           at(g, i);
  }
  return y;
}

TEST_F(Mixes, TimeMixIsItsFormula) {
  for (const auto residual : {ValueResidual::kDefines, ValueResidual::kUses}) {
    const TimeMixCase c(random_);
    std::vector<RwkvState> states(kSegments.size());
    for (RwkvState& state : states) {
      state.att_shift = random_.normal(kChannels);
      state.wkv = base::Buffer<float>(kHeads * kernels::kHeadStateSize);
      std::ranges::copy(random_.normal(state.wkv.size(), 0, 0.3F), state.wkv.span().begin());
    }
    std::vector<float> v_first = random_.normal(kRows * kChannels);
    const std::vector<float> v_first_before = v_first;
    Channels want, want_v_first, want_states;
    for (std::size_t s = 0, t = 0; s < kSegments.size(); ++s) {
      Channels before(states[s].att_shift.begin(), states[s].att_shift.end());
      std::vector<HeadState> heads(kHeads, HeadState(kHeadSize, Channels(kHeadSize)));
      const auto number = [&](std::size_t head, std::size_t i, std::size_t j) -> const float& {
        return states[s].wkv.span()[head * kernels::kHeadStateSize + j * kHeadSize + i];
      };
      for (std::size_t head = 0; head < kHeads; ++head) {
        for (std::size_t i = 0; i < kHeadSize; ++i) {
          for (std::size_t j = 0; j < kHeadSize; ++j) heads[head][i][j] = number(head, i, j);
        }
      }
      for (const std::size_t end = t + kSegments[s]; t < end; ++t) {
        const Channels now = row(x_, t);
        const auto mixed = [&](const Vector& mix) { return shifted(now, before, mix); };
        const Channels r = c.receptance.times(mixed(c.x_r)), k = c.key.times(mixed(c.x_k));
        Channels v = c.value.times(mixed(c.x_v));
        Channels w = c.decay.of(
            mixed(c.x_w), [](double x) { return std::tanh(x); }, 1);
        Channels a = c.rate.of(mixed(c.x_a), same, 1);
        const Channels g = c.gate.of(mixed(c.x_g), sigmoid, 0.25);
        const Channels share = c.residual.of(mixed(c.x_v), same, 1);
        for (std::size_t i = 0; i < kChannels; ++i) {
          if (residual == ValueResidual::kDefines) {
            want_v_first.push_back(v[i]);
          } else {
            v[i] = v[i] + (Bounded(v_first_before[t * kChannels + i]) - v[i]) *
                              apply(sigmoid, 0.25, Bounded(c.residual.bias[i]) + share[i]);
          }
          w[i] = apply([](double x) { return std::exp(-std::exp(-0.5) * sigmoid(x)); }, 0.16,
                       Bounded(c.decay.bias[i]) + w[i]);
          a[i] = apply(sigmoid, 0.25, Bounded(c.rate.bias[i]) + a[i]);
        }
        Channels y;
        for (std::size_t head = 0; head < kHeads; ++head) {
          const Channels part = head_output(c, head, r, w, k, v, a, g, heads[head]);
          y.insert(y.end(), part.begin(), part.end());
        }
        const Channels output = c.output.times(y);
        want.insert(want.end(), output.begin(), output.end());
        before = now;
      }
      for (std::size_t head = 0; head < kHeads; ++head) {
        for (std::size_t j = 0; j < kHeadSize; ++j) {
          for (std::size_t i = 0; i < kHeadSize; ++i) want_states.push_back(heads[head][i][j]);
        }
      }
    }
    std::vector<RwkvState*> pointers;
    for (RwkvState& state : states) pointers.push_back(&state);
    const RwkvBlockWeights packed = c.packed(pool_);
    const MatView<float> y = workspace_.y.first(kRows);
    time_mix(context_, packed, step_, x(), residual, view(v_first), pointers, y);
    output_product(context_, packed.output, y, view(out_));
    expect_near(out_, want, 0.2);
    if (residual == ValueResidual::kDefines) {
      expect_near(v_first, want_v_first, 0.001);
    } else {
      EXPECT_TRUE(test::same_bits(v_first, v_first_before));
    }
    std::vector<float> got_states;
    for (const RwkvState& state : states) {
      got_states.insert(got_states.end(), state.wkv.data(), state.wkv.data() + state.wkv.size());
    }
    expect_near(got_states, want_states, 0.01);
    for (std::size_t s = 0, t = 0; s < kSegments.size(); ++s) {
      t += kSegments[s];
      EXPECT_TRUE(test::same_bits(states[s].att_shift, x().row(t - 1))) << s;
    }
  }
}

/// What a token of a block costs many cores: it is counted in plans (partition/cost.hpp).
class Jobs : public Mixes {
 protected:
  template <typename BlockWeights>
  void add_rest(BlockWeights& weights) {
    for (Norm* norm : {&weights.ln1, &weights.ln2}) *norm = TimeMixCase(random_).norm;
    weights.channel_mix = {random_.uniform(kChannels, 0, 1),
                           {Matrix(random_, kHidden, kChannels).packed(pool_)},
                           {Matrix(random_, kChannels, kHidden).packed(pool_)}};
  }
  /// Jobs of a block with one row.
  template <typename BlockWeights, typename Mix>
  std::size_t count(const BlockWeights& weights, Mix&& mix) {
    std::vector<float> row = random_.normal(kChannels), shift(kChannels);
    std::vector<float>* const shifts[] = {&shift};
    const std::size_t before = pool_.n_jobs();
    residual_block(context_, weights, one_, {row.data(), 1, kChannels}, shifts, nullptr, mix);
    return pool_.n_jobs() - before;
  }

  const Step one_{{Segment{0, 1, 0}}};
};

TEST_F(Jobs, OfOneRowOfAnRwkvBlockAreFew) {
  RwkvBlockWeights weights = TimeMixCase(random_).packed(pool_);
  add_rest(weights);
  RwkvState state;
  state.att_shift.resize(kChannels);
  state.wkv = base::Buffer<float>(kHeads * kernels::kHeadStateSize);
  RwkvState* const states[] = {&state};
  std::vector<float> v_first = random_.normal(kChannels);
  const auto n_jobs = count(weights, [&](auto in, MatView<float> y) {
    time_mix(context_, weights, one_, in, ValueResidual::kUses, {v_first.data(), 1, kChannels},
             states, y);
  });
  EXPECT_EQ(n_jobs, partition::kBlockJobs);
}

TEST_F(Jobs, OfOneRowOfASparseBlockAreFew) {
  attention_.chunk_size = 4;
  SparseBlockWeights weights;
  for (LinearWeights* linear :
       {&weights.receptance, &weights.key, &weights.value, &weights.output}) {
    linear->matrix = Matrix(random_, kChannels, kChannels).packed(pool_);
  }
  add_rest(weights);
  KvCache cache(kHeads, attention_.chunk_size, attention_.kv, exchange_);
  constexpr std::size_t kCached = 42;  // so that the next row closes no chunk
  std::vector<float> cached = random_.normal(kCached * kChannels);
  const MatView<const float> rows(cached.data(), kCached, kChannels);
  cache.append(rows, rows, pool_);
  const SegmentCache caches[] = {{&cache, 0, 1}};
  const auto n_jobs = count(weights, [&](MatView<float> in, MatView<float> y) {
    sparse_attention(context_, weights, caches, in, nullptr, y);
  });
  EXPECT_EQ(n_jobs, partition::kBlockJobs);
}

}  // namespace
}  // namespace longreach::model
