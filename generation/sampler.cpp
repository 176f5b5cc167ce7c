#include "generation/sampler.hpp"

#include "kernels/base/error.hpp"

#include <algorithm>
#include <array>
#include <bit>
#include <cmath>
#include <functional>
#include <limits>
#include <numeric>
#include <utility>

namespace longreach::generation {
namespace {

constexpr float kNever = -std::numeric_limits<float>::infinity();

/// exp(x) for x <= 0, within a few units in the last place; 0 up to -700. The library's exp may
/// differ in the last bit from machine to machine, which would break the promise of a seed.
double portable_exp(double x) {
  constexpr double kLog2E = 1.4426950408889634;
  // ln 2 in two parts; the first has 20 trailing zero bits, so its multiples used here are exact.
  constexpr double kLn2High = 0x1.62e42fefp-1;
  constexpr double kLn2Low = 0x1.473de6af278edp-34;
  // A number added to this one is rounded to a whole one, which is then in the lowest bits of the
  // sum.
  constexpr double kRounder = 0x1.8p52;
  constexpr auto kInverseFactorials = [] {
    std::array<double, 12> inverse{1};
    double factorial = 1;
    for (std::size_t n = 1; n < inverse.size(); ++n) {
      factorial *= static_cast<double>(n);
      inverse[n] = 1 / factorial;
    }
    return inverse;
  }();
  // exp(x) = 2^k exp(r) with |r| <= ln 2 / 2, where the series of exp is exact enough after 12
  // terms.
  const double rounded = x * kLog2E + kRounder;
  const double k = rounded - kRounder;
  const double r = (x - k * kLn2High) - k * kLn2Low;
  double series = kInverseFactorials.back();
  for (std::size_t n = kInverseFactorials.size() - 1; n-- > 0;) {
    series = series * r + kInverseFactorials[n];
  }
  const double power_of_2 =
      std::bit_cast<double>((std::bit_cast<std::uint64_t>(rounded) + 1023) << 52);
  return x > -700 ? series * power_of_2 : 0;
}

/// How far a logit lies below the largest; 0 for the largest even if it is infinite.
double below(float logit, float largest) {
  return logit == largest ? 0.0 : static_cast<double>(logit) - static_cast<double>(largest);
}

/// Uniform in [0, 1): the upper 53 bits. std::uniform_real_distribution differs between libraries.
double uniform(std::mt19937_64& random) { return static_cast<double>(random() >> 11) * 0x1p-53; }

/// Numbers and blanks repeat without being repetitive. The reference asks whether the token's text
/// occurs anywhere in this string, so some pairs of digits are exempt and others are not.
bool is_exempt_from_frequency(const model::Tokenizer& tokenizer, base::TokenId token) {
  constexpr std::string_view kExempt = " \t0123456789";
  const auto bytes = tokenizer.find(token);
  return bytes && kExempt.find(*bytes) != std::string_view::npos;
}

/// The first of the probabilities in falling order at which the sum of their amounts reaches
/// `target`, or the smallest if it never does. Buckets of nearly equal ones are summed first, so
/// only one needs sorting.
template <typename AmountOf>
float falling_cutoff(std::span<const float> probabilities, float target, AmountOf amount_of) {
  // The bits of floats that are not negative rise with their value; the upper ones are the bucket.
  const auto bucket_of = [](float p) { return std::bit_cast<std::uint32_t>(p) >> 17; };
  std::vector<double> amounts(bucket_of(1.0F) + 1);
  for (const float p : probabilities) amounts[bucket_of(p)] += amount_of(p);

  double sum = 0;
  std::size_t bucket = amounts.size() - 1;
  const auto is_before = [&](double amount) {
    return amount == 0 || static_cast<float>(sum + amount) < target;
  };
  while (bucket > 0 && is_before(amounts[bucket])) sum += amounts[bucket--];

  std::vector<float> falling;
  for (const float p : probabilities) {
    if (bucket_of(p) == bucket) falling.push_back(p);
  }
  std::sort(falling.begin(), falling.end(), std::greater<>());
  for (const float p : falling) {
    sum += amount_of(p);
    if (static_cast<float>(sum) >= target) return p;
  }
  return falling.empty() ? 0 : falling.back();
}

}  // namespace

void validate(const SamplerOptions& options) {
  const auto require = [](std::string_view option, double value, double least, double largest) {
    if (value >= least && value <= largest) return;
    base::input_error("{}: expected a number from {:.3g} to {:.3g}, found {}", option, least,
                      largest, value);
  };
  constexpr auto kAny = static_cast<double>(std::numeric_limits<float>::max());
  require("--temperature", options.temperature, 0, kAny);
  require("--top-p", options.top_p, 0, kAny);
  require("--presence-penalty", options.presence, -kAny, kAny);
  require("--frequency-penalty", options.frequency, -kAny, kAny);
  require("--penalty-decay", options.decay, 0, 1);
}

Sampler::Sampler(const model::Tokenizer& tokenizer, SamplerOptions options)
    : tokenizer_(tokenizer), options_(std::move(options)), random_(options_.seed) {
  validate(options_);
}

void Sampler::penalise(std::span<const float> logits) {
  logits_.assign(logits.begin(), logits.end());
  const auto logit_of = [this](base::TokenId token, std::string_view what) -> float& {
    if (token < 0 || static_cast<std::size_t>(token) >= logits_.size()) {
      base::input_error("{} token id {} is outside the vocabulary of {} tokens", what, token,
                        logits_.size());
    }
    return logits_[static_cast<std::size_t>(token)];
  };
  for (const auto& [token, bias] : options_.bias) logit_of(token, "biased") += bias;
  for (const base::TokenId token : options_.banned) logit_of(token, "banned") = kNever;
  for (const auto& [token, count] : occurrences_) {
    LR_CHECK(static_cast<std::size_t>(token) < logits_.size());
    logits_[static_cast<std::size_t>(token)] -=
        static_cast<float>(options_.presence + count * options_.frequency);
  }
  for (float& logit : logits_) {
    if (std::isnan(logit)) logit = kNever;
  }
}

void Sampler::softmax(float largest) {
  const std::size_t n = logits_.size();
  weights_.resize(n);
  probabilities_.resize(n);
  for (std::size_t i = 0; i < n; ++i) weights_[i] = portable_exp(below(logits_[i], largest));
  const double sum = std::accumulate(weights_.begin(), weights_.end(), 0.0);
  for (std::size_t i = 0; i < n; ++i) probabilities_[i] = static_cast<float>(weights_[i] / sum);
}

void Sampler::cut_off() {
  const std::size_t n = probabilities_.size();
  float cutoff = 0;
  if (options_.top_p < 1) {
    cutoff = falling_cutoff(probabilities_, static_cast<float>(options_.top_p),
                            [](float p) { return static_cast<double>(p); });
  }
  float last_kept = 0;      // the top_k-th probability
  std::size_t n_equal = n;  // how many tokens of just that probability are among the top_k
  if (options_.top_k > 0 && options_.top_k < n) {
    last_kept = falling_cutoff(probabilities_, static_cast<float>(options_.top_k),
                               [](float) { return 1.0; });
    const auto n_larger = std::count_if(probabilities_.begin(), probabilities_.end(),
                                        [&](float p) { return p > last_kept; });
    n_equal = options_.top_k - static_cast<std::size_t>(n_larger);
  }
  for (float& p : probabilities_) {
    const bool in_top_k = p > last_kept || (p == last_kept && n_equal > 0);
    if (p == last_kept && n_equal > 0) --n_equal;
    if (p < cutoff || !in_top_k) p = 0;
  }
}

void Sampler::apply_temperature() {
  // p^(1/temperature) without the factor that all tokens share: exp(logit / temperature). Relative
  // to the largest that may be drawn, lest all of them vanish.
  float largest = kNever;
  for (std::size_t i = 0; i < logits_.size(); ++i) {
    if (probabilities_[i] > 0) largest = std::max(largest, logits_[i]);
  }
  for (std::size_t i = 0; i < logits_.size(); ++i) {
    if (probabilities_[i] > 0) {
      weights_[i] = portable_exp(below(logits_[i], largest) / options_.temperature);
    }
  }
}

base::TokenId Sampler::draw() {
  double sum = 0;
  for (std::size_t i = 0; i < weights_.size(); ++i) {
    if (!(probabilities_[i] > 0)) weights_[i] = 0;
    sum += weights_[i];
  }
  const double target = uniform(random_) * sum;
  std::size_t chosen = 0;  // ends as the last possible one if rounding lets target reach sum
  double cumulated = 0;
  for (std::size_t i = 0; i < weights_.size() && cumulated <= target; ++i) {
    cumulated += weights_[i];
    if (weights_[i] > 0) chosen = i;
  }
  return static_cast<base::TokenId>(chosen);
}

base::TokenId Sampler::sample(std::span<const float> logits) {
  LR_CHECK(!logits.empty());
  penalise(logits);
  const auto largest = std::max_element(logits_.begin(), logits_.end());  // the first of equals
  if (*largest == kNever) {
    base::input_error("no token is left to draw: each is banned, or its logit is -inf or NaN");
  }
  if (options_.temperature == 0) return static_cast<base::TokenId>(largest - logits_.begin());
  softmax(*largest);
  cut_off();
  if (options_.temperature != 1) apply_temperature();
  return draw();
}

void Sampler::record(base::TokenId token) {
  if (options_.presence == 0 && options_.frequency == 0) return;  // nothing would come of it
  for (auto& [seen, count] : occurrences_) count *= options_.decay;
  occurrences_[token] += is_exempt_from_frequency(tokenizer_, token) ? 0 : 1;
}

}  // namespace longreach::generation
