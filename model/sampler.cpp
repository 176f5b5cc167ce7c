#include "model/sampler.hpp"

#include "kernels/base/error.hpp"

#include <algorithm>
#include <array>
#include <bit>
#include <cmath>
#include <functional>
#include <limits>
#include <utility>

namespace longreach::model {
namespace {

constexpr float kNever = -std::numeric_limits<float>::infinity();

/// exp(x) for x <= 0, within a few units in the last place; 0 below -700. The library's exp may
/// differ in the last bit from machine to machine, which would break the promise of a seed.
double portable_exp(double x) {
  constexpr double kLog2E = 1.4426950408889634;
  // ln 2 in two parts; the first has 20 trailing zero bits, so its multiples used here are exact.
  constexpr double kLn2High = 0x1.62e42fefp-1;
  constexpr double kLn2Low = 0x1.473de6af278edp-34;
  constexpr std::array<double, 12> kInverseFactorials = [] {
    std::array<double, 12> inverse{1};
    double factorial = 1;
    for (std::size_t n = 1; n < inverse.size(); ++n) {
      factorial *= static_cast<double>(n);
      inverse[n] = 1 / factorial;
    }
    return inverse;
  }();
  if (!(x > -700)) return 0;
  // exp(x) = 2^k exp(r) with |r| <= ln 2 / 2, where the series of exp is exact enough after 12
  // terms.
  const auto k = static_cast<std::int64_t>(x * kLog2E - 0.5);
  const auto k_number = static_cast<double>(k);
  const double r = (x - k_number * kLn2High) - k_number * kLn2Low;
  double series = kInverseFactorials.back();
  for (std::size_t n = kInverseFactorials.size() - 1; n-- > 0;) {
    series = series * r + kInverseFactorials[n];
  }
  return series * std::bit_cast<double>(static_cast<std::uint64_t>(k + 1023) << 52);
}

/// How far a logit lies below the largest; 0 for the largest even if it is infinite.
double below(float logit, float largest) {
  return logit == largest ? 0.0 : static_cast<double>(logit) - static_cast<double>(largest);
}

/// Uniform in [0, 1): the upper 53 bits. std::uniform_real_distribution differs between libraries.
double uniform(std::mt19937_64& random) { return static_cast<double>(random() >> 11) * 0x1p-53; }

/// Numbers and blanks repeat without being repetitive. The reference asks whether the token's text
/// occurs anywhere in this string, so some pairs of digits are exempt and others are not.
bool is_exempt_from_frequency(const Tokenizer& tokenizer, base::TokenId token) {
  constexpr std::string_view kExempt = " \t0123456789";
  const auto bytes = tokenizer.find(token);
  return bytes && kExempt.find(*bytes) != std::string_view::npos;
}

/// The probability at the first place of the falling order where the cumulated sum reaches top_p; 0
/// if it never does. Sorts `probabilities` only as far as needed, in pieces of growing size.
float top_p_cutoff(std::vector<float>& probabilities, double top_p) {
  double sum = 0;
  std::size_t n_piece = 64;
  for (auto begin = probabilities.begin(); begin != probabilities.end(); n_piece *= 8) {
    const auto n_left = static_cast<std::size_t>(probabilities.end() - begin);
    const auto end = begin + static_cast<std::ptrdiff_t>(std::min(n_piece, n_left));
    if (end != probabilities.end()) {
      std::nth_element(begin, end, probabilities.end(), std::greater<>());
    }
    std::sort(begin, end, std::greater<>());
    for (; begin != end; ++begin) {
      sum += static_cast<double>(*begin);
      if (static_cast<float>(sum) >= static_cast<float>(top_p)) return *begin;
    }
  }
  return 0;
}

}  // namespace

void validate(const SamplerOptions& options) {
  const auto require = [](std::string_view option, double value, double largest) {
    if (value >= 0 && value <= largest) return;
    base::input_error("{}: expected a number from 0 to {:.3g}, found {}", option, largest, value);
  };
  constexpr auto kAny = static_cast<double>(std::numeric_limits<float>::max());
  require("--temperature", options.temperature, kAny);
  require("--top-p", options.top_p, kAny);
  require("--presence-penalty", options.presence, kAny);
  require("--frequency-penalty", options.frequency, kAny);
  require("--penalty-decay", options.decay, 1);
}

Sampler::Sampler(const Tokenizer& tokenizer, SamplerOptions options)
    : tokenizer_(tokenizer), options_(std::move(options)), random_(options_.seed) {
  validate(options_);
}

void Sampler::penalise(std::span<const float> logits) {
  logits_.assign(logits.begin(), logits.end());
  for (const base::TokenId token : options_.banned) {
    if (token < 0 || static_cast<std::size_t>(token) >= logits_.size()) {
      base::input_error("banned token id {} is outside the vocabulary of {} tokens", token,
                        logits_.size());
    }
    logits_[static_cast<std::size_t>(token)] = kNever;
  }
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
  double sum = 0;
  for (std::size_t i = 0; i < n; ++i) {
    weights_[i] = portable_exp(below(logits_[i], largest));
    sum += weights_[i];
  }
  for (std::size_t i = 0; i < n; ++i) probabilities_[i] = static_cast<float>(weights_[i] / sum);
}

void Sampler::cut_off() {
  const std::size_t n = probabilities_.size();
  float cutoff = 0;
  if (options_.top_p < 1) {
    falling_ = probabilities_;
    cutoff = top_p_cutoff(falling_, options_.top_p);
  }
  float last_kept = 0;      // the top_k-th probability
  std::size_t n_equal = n;  // how many tokens of just that probability are among the top_k
  if (options_.top_k > 0 && options_.top_k < n) {
    falling_ = probabilities_;
    const auto last = falling_.begin() + static_cast<std::ptrdiff_t>(options_.top_k) - 1;
    std::nth_element(falling_.begin(), last, falling_.end(), std::greater<>());
    last_kept = *last;
    n_equal = static_cast<std::size_t>(std::count(falling_.begin(), last + 1, last_kept));
  }
  for (float& p : probabilities_) {
    const bool in_top_k = p > last_kept || (p == last_kept && n_equal > 0);
    if (p == last_kept && n_equal > 0) --n_equal;
    if (p < cutoff || !in_top_k) p = 0;
  }
}

base::TokenId Sampler::draw() {
  float largest = kNever;
  for (std::size_t i = 0; i < logits_.size(); ++i) {
    if (probabilities_[i] > 0) largest = std::max(largest, logits_[i]);
  }
  // p^(1/temperature) without the factor that all tokens share: exp(logit / temperature).
  double sum = 0;
  for (std::size_t i = 0; i < logits_.size(); ++i) {
    weights_[i] = probabilities_[i] > 0
                      ? portable_exp(below(logits_[i], largest) / options_.temperature)
                      : 0.0;
    sum += weights_[i];
  }
  const double target = uniform(random_) * sum;
  std::size_t chosen = 0;
  double cumulated = 0;
  for (std::size_t i = 0; i < weights_.size() && cumulated <= target; ++i) {
    cumulated += weights_[i];
    if (weights_[i] > 0)
      chosen = i;  // stays the last possible one if rounding lets target reach sum
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
  return draw();
}

void Sampler::record(base::TokenId token) {
  for (auto& [seen, count] : occurrences_) count *= options_.decay;
  occurrences_[token] += is_exempt_from_frequency(tokenizer_, token) ? 0 : 1;
}

}  // namespace longreach::model
