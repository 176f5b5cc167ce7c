#include "generation/sampler.hpp"

#include "kernels/base/error.hpp"
#include "model/tokenizer/world_tokenizer.hpp"

#include <gtest/gtest.h>

#include <algorithm>
#include <cmath>
#include <cstddef>
#include <limits>
#include <map>
#include <numeric>
#include <string>
#include <vector>

namespace longreach::generation {
namespace {

using Logits = std::vector<float>;

constexpr float kInfinity = std::numeric_limits<float>::infinity();
constexpr float kNan = std::numeric_limits<float>::quiet_NaN();

/// Draws every token that has an equal share of top_p = 1, without penalties.
SamplerOptions plain() {
  SamplerOptions options;
  options.top_p = 1;
  options.presence = 0;
  options.frequency = 0;
  return options;
}

const model::Tokenizer& byte_tokenizer() {
  static const auto tokenizer = model::open_tokenizer("bytes");
  return *tokenizer;
}

/// How often each token comes in `n` draws that are not recorded.
std::map<base::TokenId, int> counts(const SamplerOptions& options, const Logits& logits, int n) {
  Sampler sampler(byte_tokenizer(), options);
  std::map<base::TokenId, int> count;
  for (int i = 0; i < n; ++i) ++count[sampler.sample(logits)];
  return count;
}

std::vector<base::TokenId> drawn(const SamplerOptions& options, const Logits& logits) {
  std::vector<base::TokenId> ids;
  for (const auto& [id, count] : counts(options, logits, 300)) ids.push_back(id);
  return ids;
}

using Ids = std::vector<base::TokenId>;

Logits logs(const std::vector<double>& probabilities) {
  Logits logits;
  for (const double p : probabilities) logits.push_back(static_cast<float>(std::log(p)));
  return logits;
}

TEST(Sampler, OptionsAreCheckedByTheNameOfTheCommandLine) {
  constexpr double kNanDouble = std::numeric_limits<double>::quiet_NaN();
  constexpr double kInfinityDouble = std::numeric_limits<double>::infinity();
  const std::vector<std::pair<std::string, double SamplerOptions::*>> members = {
      {"--temperature", &SamplerOptions::temperature},
      {"--top-p", &SamplerOptions::top_p},
      {"--presence-penalty", &SamplerOptions::presence},
      {"--frequency-penalty", &SamplerOptions::frequency},
      {"--penalty-decay", &SamplerOptions::decay}};
  for (const auto& [name, member] : members) {
    const bool is_penalty = name == "--presence-penalty" || name == "--frequency-penalty";
    for (const double bad : {-1.0, -1e-9, kNanDouble, kInfinityDouble, -kInfinityDouble}) {
      if (is_penalty && std::isfinite(bad)) continue;
      SamplerOptions options;
      options.*member = bad;
      try {
        validate(options);
        ADD_FAILURE() << "accepted " << name << " " << bad;
      } catch (const base::InputError& error) {
        EXPECT_EQ(std::string(error.what()).find(name + ": expected"), 0U) << error.what();
      }
      EXPECT_THROW(Sampler(byte_tokenizer(), options), base::InputError);
    }
    SamplerOptions options;
    options.*member = 0;
    EXPECT_NO_THROW(validate(options));
  }
  SamplerOptions options;
  options.decay = 1.01;
  EXPECT_THROW(validate(options), base::InputError);
  EXPECT_NO_THROW(validate(SamplerOptions{}));
}

TEST(Sampler, TemperatureZeroIsGreedyAndTiesGoToTheLowestId) {
  SamplerOptions options = plain();
  options.temperature = 0;
  EXPECT_EQ(drawn(options, {1, 3, 2, 3}), Ids{1});
  EXPECT_EQ(drawn(options, {0, 0, 0}), Ids{0});
  EXPECT_EQ(drawn(options, {kNan, -kInfinity, -5, kNan}), Ids{2});
  EXPECT_EQ(drawn(options, {1, kInfinity, kNan}), Ids{1});
  options.banned = {1, 3};
  EXPECT_EQ(drawn(options, {1, 3, 2, 3}), Ids{2});
}

TEST(Sampler, TopPKeepsTokensUntilTheSumIsReached) {
  const Logits logits = logs({0.1, 0.5, 0.15, 0.25});
  SamplerOptions options = plain();
  const std::vector<std::pair<double, Ids>> expected = {
      {0, {1}},          {0.3, {1}},         {0.49, {1}},       {0.51, {1, 3}},
      {0.74, {1, 3}},    {0.76, {1, 2, 3}},  {0.89, {1, 2, 3}}, {0.91, {0, 1, 2, 3}},
      {1, {0, 1, 2, 3}}, {1.5, {0, 1, 2, 3}}};
  for (const auto& [top_p, ids] : expected) {
    options.top_p = top_p;
    EXPECT_EQ(drawn(options, logits), ids) << top_p;
  }
}

TEST(Sampler, TiesWithTheCutoffStay) {
  SamplerOptions options = plain();
  options.top_p = 0.5;  // 1/2 is reached by the first alone
  EXPECT_EQ(drawn(options, logs({0.125, 0.5, 0.125, 0.125, 0.125})), Ids{1});
  options.top_p = 0.51;  // needs one of the four equal ones, so all of them stay
  EXPECT_EQ(drawn(options, logs({0.125, 0.5, 0.125, 0.125, 0.125})), (Ids{0, 1, 2, 3, 4}));
  options.top_p = 0;
  EXPECT_EQ(drawn(options, {2, 7, 7, 1}), (Ids{1, 2}));
}

TEST(Sampler, TopKKeepsExactlyKTokens) {
  SamplerOptions options = plain();
  options.top_k = 2;
  EXPECT_EQ(drawn(options, logs({0.1, 0.5, 0.15, 0.25})), (Ids{1, 3}));
  EXPECT_EQ(drawn(options, {1, 3, 1, 1}), (Ids{0, 1}));
  EXPECT_EQ(drawn(options, {5, 5, 5}), (Ids{0, 1}));
  options.top_k = 1;
  EXPECT_EQ(drawn(options, {1, 3, 3}), Ids{1});
  for (const std::size_t off : {0U, 3U, 100U}) {
    options.top_k = off;
    EXPECT_EQ(drawn(options, {1, 1, 1}), (Ids{0, 1, 2}));
  }
  options.top_k = 3;
  options.top_p = 0.6;  // cuts more than top_k does
  EXPECT_EQ(drawn(options, logs({0.1, 0.5, 0.15, 0.25})), (Ids{1, 3}));
}

TEST(Sampler, BannedTokensNeverCome) {
  SamplerOptions options = plain();
  options.banned = {0, 2};
  EXPECT_EQ(drawn(options, {9, 1, 9, 1}), (Ids{1, 3}));
  options.banned = {0, 1, 2, 3};
  Sampler sampler(byte_tokenizer(), options);
  EXPECT_THROW(sampler.sample(Logits{9, 1, 9, 1}), base::InputError);
  EXPECT_THROW(Sampler(byte_tokenizer(), plain()).sample(Logits{kNan, -kInfinity}),
               base::InputError);
  for (const base::TokenId outside : {-1, 4}) {
    options.banned = {outside};
    Sampler other(byte_tokenizer(), options);
    EXPECT_THROW(other.sample(Logits{9, 1, 9, 1}), base::InputError);
  }
}

TEST(Sampler, BiasIsAddedToLogits) {
  SamplerOptions options = plain();
  options.temperature = 0;
  options.bias = {{0, 1.5F}, {2, -100}};
  EXPECT_EQ(drawn(options, {1, 2, 3}), Ids{0});
  options.banned = {0};
  EXPECT_EQ(drawn(options, {1, 2, 3}), Ids{1});
  options.bias = {{3, 1}};
  EXPECT_THROW(drawn(options, {1, 2, 3}), base::InputError);
}

TEST(Sampler, NegativePenaltiesRaiseWhatWasRecorded) {
  SamplerOptions options = plain();
  options.temperature = 0;
  options.presence = -1;
  Sampler sampler(byte_tokenizer(), options);
  const Logits logits = {1, 1.5F};
  sampler.record(0);
  EXPECT_EQ(sampler.sample(logits), 0);
}

TEST(Sampler, SurvivesExtremeNumbers) {
  SamplerOptions options = plain();
  EXPECT_EQ(drawn(options, {kNan, 3e38F, -3e38F, -kInfinity}), Ids{1});
  EXPECT_EQ(drawn(options, {1, kInfinity, kNan, kInfinity}), (Ids{1, 3}));
  options.temperature = 1e-300;
  EXPECT_EQ(drawn(options, {1, 2, 1.99F}), Ids{1});
  options.temperature = 1e30;  // as good as no difference, but what has no probability never comes
  EXPECT_EQ(drawn(options, {1, 2, 50, -1000}), (Ids{0, 1, 2}));
  // The same probability as float32, but not the same logit: top_k takes the lower id, and the draw
  // must not lose it to the low temperature.
  options = plain();
  options.temperature = 1e-12;
  options.top_k = 1;
  EXPECT_EQ(drawn(options, {-5, 1e-9F, 2e-9F}), Ids{1});
}

TEST(Sampler, ASeedReproduces) {
  const Logits logits(50, 0.5F);
  SamplerOptions options = plain();
  const auto first_tokens = [&](std::uint64_t seed) {
    options.seed = seed;
    Sampler sampler(byte_tokenizer(), options);
    Ids ids;
    for (int i = 0; i < 8; ++i) ids.push_back(sampler.sample(logits));
    return ids;
  };
  EXPECT_EQ(first_tokens(7), first_tokens(7));
  EXPECT_NE(first_tokens(7), first_tokens(8));
  // The C++ standard fixes the generator's numbers x: with equal shares the token is floor(50 x /
  // 2^64).
  EXPECT_EQ(first_tokens(5489), (Ids{39, 12, 35, 47, 0, 20, 12, 1}));
}

TEST(Sampler, DrawsInProportion) {
  const std::vector<double> p = {0.05, 0.3, 0.2, 0.35, 0.1};
  constexpr int kDraws = 20000;
  for (const double temperature : {1.0, 0.5, 2.0}) {
    SamplerOptions options = plain();
    options.temperature = temperature;
    options.seed = 3;
    std::vector<double> expected;
    for (const double x : p) expected.push_back(std::pow(x, 1 / temperature));
    const double sum = std::accumulate(expected.begin(), expected.end(), 0.0);
    auto count = counts(options, logs(p), kDraws);
    double chi_square = 0;
    for (std::size_t i = 0; i < p.size(); ++i) {
      const double mean = kDraws * expected[i] / sum;
      const double off = count[static_cast<base::TokenId>(i)] - mean;
      chi_square += off * off / mean;
    }
    EXPECT_LT(chi_square, 18.5)
        << temperature;  // 4 degrees of freedom: passed by 999 of 1000 seeds
  }
}

TEST(Sampler, PenaltiesLowerWhatWasRecorded) {
  SamplerOptions options = plain();
  options.temperature = 0;
  options.presence = 1;
  options.frequency = 0.5;
  options.decay = 0.5;
  Sampler sampler(byte_tokenizer(), options);
  const auto greedy_with = [&](float rival) {
    Logits logits(256, -100.F);
    logits['x'] = 10;
    logits['y'] = rival;
    return sampler.sample(logits);
  };
  EXPECT_EQ(greedy_with(9.99F), 'x');
  sampler.record('x');  // x: 10 - (1 + 0.5 * 1) = 8.5
  EXPECT_EQ(greedy_with(8.51F), 'y');
  EXPECT_EQ(greedy_with(8.49F), 'x');
  sampler.record('x');  // x: occurrence 1.5, 10 - (1 + 0.75) = 8.25
  EXPECT_EQ(greedy_with(8.26F), 'y');
  EXPECT_EQ(greedy_with(8.24F), 'x');
  sampler.record('z');  // x: occurrence 0.75, 10 - (1 + 0.375) = 8.625
  EXPECT_EQ(greedy_with(8.63F), 'y');
  EXPECT_EQ(greedy_with(8.62F), 'x');
}

TEST(Sampler, NumbersAndBlanksGetThePresencePenaltyOnly) {
  const model::WorldTokenizer tokenizer = model::WorldTokenizer::parse(
      "1 ' ' 1\n2 '\\t' 1\n3 ' \\t' 2\n4 '0' 1\n5 '01' 2\n6 '89' 2\n7 '10' 2\n8 '42' 2\n9 '\\t0' "
      "2\n"
      "10 '  ' 2\n11 'a' 1\n12 '\\n' 1\n",
      "digits");
  const std::vector<base::TokenId> exempt = {1, 2, 3, 4, 5, 6, 9};
  SamplerOptions options = plain();
  options.temperature = 0;
  options.presence = 1;
  options.frequency = 4;
  for (base::TokenId id = 0; id < 15; ++id) {  // 0, 13 and 14 have no entry
    Sampler sampler(tokenizer, options);
    sampler.record(id);
    Logits logits(16, 0.F);
    logits[static_cast<std::size_t>(id)] = 10;  // 9 if exempt, else 5
    logits[15] = 7;
    const bool is_exempt = std::find(exempt.begin(), exempt.end(), id) != exempt.end();
    EXPECT_EQ(sampler.sample(logits), is_exempt ? id : 15) << id;
    logits[15] = is_exempt ? 9.01F : 5.01F;
    EXPECT_EQ(sampler.sample(logits), 15) << id;
  }
}

/// The steps of the specification one after the other, as slowly and plainly as they are written
/// there. Gives the probability of every token; occurrences are those the sampler should have by
/// now.
std::vector<double> specified(const SamplerOptions& options, Logits logits,
                              const std::map<base::TokenId, double>& occurrences) {
  const std::size_t n = logits.size();
  for (const base::TokenId id : options.banned) logits[static_cast<std::size_t>(id)] = -kInfinity;
  for (const auto& [id, count] : occurrences) {
    logits[static_cast<std::size_t>(id)] -=
        static_cast<float>(options.presence + count * options.frequency);
  }
  const double largest = static_cast<double>(*std::max_element(logits.begin(), logits.end()));
  std::vector<double> exponentials;
  for (const float logit : logits) {
    exponentials.push_back(std::exp(static_cast<double>(logit) - largest));
  }
  const double sum = std::accumulate(exponentials.begin(), exponentials.end(), 0.0);
  std::vector<float> p;
  for (const double e : exponentials) p.push_back(static_cast<float>(e / sum));

  std::vector<std::size_t> order(n);
  std::iota(order.begin(), order.end(), 0U);
  std::stable_sort(order.begin(), order.end(),
                   [&](std::size_t a, std::size_t b) { return p[a] > p[b]; });
  std::vector<double> kept(p.begin(), p.end());
  if (options.top_p < 1) {
    double cumulated = 0;
    float cutoff = 0;
    for (const std::size_t i : order) {
      cumulated += static_cast<double>(p[i]);
      if (static_cast<float>(cumulated) >= static_cast<float>(options.top_p)) {
        cutoff = p[i];
        break;
      }
    }
    for (std::size_t i = 0; i < n; ++i) {
      if (p[i] < cutoff) kept[i] = 0;
    }
  }
  if (options.top_k > 0) {
    for (std::size_t place = options.top_k; place < n; ++place) kept[order[place]] = 0;
  }
  for (double& x : kept) x = std::pow(x, 1 / options.temperature);
  const double total = std::accumulate(kept.begin(), kept.end(), 0.0);
  for (double& x : kept) x /= total;
  return kept;
}

TEST(Sampler, AgreesWithTheStepsOfTheSpecification) {
  for (unsigned seed = 1; seed <= 300; ++seed) {
    std::mt19937 random(seed);
    const auto below = [&](std::size_t n) { return static_cast<std::size_t>(random() % n); };
    const std::size_t n_tokens = 1 + below(seed % 10 == 0 ? 3000 : 40);
    SamplerOptions options;
    options.temperature = std::vector<double>{1, 1, 0.3, 0.8, 1.7}[below(5)];
    options.top_p = std::vector<double>{0, 0.1, 0.5, 0.85, 0.99, 1}[below(6)];
    options.top_k = std::vector<std::size_t>{0, 1, 2, 5, 40, 5000}[below(6)];
    options.presence = static_cast<double>(below(3)) / 4;
    options.frequency = static_cast<double>(below(3)) / 4;
    options.decay = std::vector<double>{0.996, 0.5, 1, 0}[below(4)];
    options.seed = seed;
    if (below(3) == 0 && n_tokens > 1)
      options.banned = {static_cast<base::TokenId>(below(n_tokens))};
    // Coarse steps make ties, fine ones make none.
    const float step = below(2) == 0 ? 0.5F : 1e-5F;
    const auto random_logits = [&] {
      Logits logits;
      for (std::size_t i = 0; i < n_tokens; ++i) {
        logits.push_back(static_cast<float>(below(step > 0.1F ? 8 : 800000)) * step);
      }
      return logits;
    };

    Sampler sampler(byte_tokenizer(), options);
    std::mt19937_64 draws(options.seed);
    std::map<base::TokenId, double> occurrences;
    for (int i = 0; i < 20; ++i) {
      const Logits logits = random_logits();
      const std::vector<double> p = specified(options, logits, occurrences);
      const double u = static_cast<double>(draws() >> 11) / 9007199254740992.0;
      const base::TokenId token = sampler.sample(logits);
      double before = 0;
      for (base::TokenId id = 0; id < token; ++id) before += p[static_cast<std::size_t>(id)];
      const double mine = p[static_cast<std::size_t>(token)];
      // The draw must fall into the token's share; its ends may differ by float32's rounding of p.
      ASSERT_GT(mine, 0) << "seed " << seed << ", draw " << i;
      ASSERT_GE(u, before - 1e-6) << "seed " << seed << ", draw " << i;
      ASSERT_LE(u, before + mine + 1e-6) << "seed " << seed << ", draw " << i;

      sampler.record(token);
      for (auto& [id, count] : occurrences) count *= options.decay;
      const bool is_exempt = token == ' ' || token == '\t' || (token >= '0' && token <= '9');
      occurrences[token] += is_exempt ? 0 : 1;
    }
  }
}

}  // namespace
}  // namespace longreach::generation
