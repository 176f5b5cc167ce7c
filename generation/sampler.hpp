/// The next token from a position's logits, as the reference sampler chooses it.
#pragma once

#include "kernels/base/types.hpp"
#include "model/tokenizer/tokenizer.hpp"

#include <cstddef>
#include <cstdint>
#include <random>
#include <span>
#include <unordered_map>
#include <utility>
#include <vector>

namespace longreach::generation {

/// What the user may choose. The defaults are the released package's.
struct SamplerOptions {
  double temperature = 1;  ///< 0: the most probable token, the lowest id among equals.
  double top_p = 0.85;     ///< From 1 on: no cutoff.
  std::size_t top_k = 0;   ///< 0: no limit.
  double presence = 0.2;   ///< Taken from the logit of every token generated before.
  double frequency = 0.2;  ///< Taken from it once more per (decayed) occurrence.
  double decay = 0.996;    ///< What each later token leaves of an occurrence, 0 .. 1.
  std::uint64_t seed = 0;
  std::vector<base::TokenId> banned;                       ///< Never chosen.
  std::vector<std::pair<base::TokenId, float>> bias = {};  ///< Added to logits; none twice.
};

/// Errors: InputError naming the option as on the command line (--temperature, --top-p, ..) if a
/// number is not finite, a decay above 1, or one that is no penalty negative.
void validate(const SamplerOptions& options);

/// Draws the tokens of one generated text; it remembers them for the penalties. One thread at a
/// time.
///
/// Source: model-spec, section 8, steps 1 to 7. Numerics: as there in float32, but exponentials,
/// sums and the draw in double, from operations that IEEE 754 defines to the last bit, and from
/// std::mt19937_64, which the C++ standard defines: a seed gives the same tokens on every machine
/// whose logits are the same.
///
/// Where we decide otherwise or the source leaves it open:
///  - top_p >= 1 cuts nothing off; in the reference it often turns greedy, by a float32 rounding;
///  - temperature 0 never draws: among equal logits the lowest id wins;
///  - top_k keeps exactly k tokens: among equals those with the lowest ids;
///  - a NaN logit counts as -infinity;
///  - a token without an entry in the vocabulary is penalised like any other, not exempt.
class Sampler {
 public:
  /// The tokenizer tells which tokens are exempt from the frequency penalty and must outlive the
  /// sampler. Errors: as validate().
  Sampler(const model::Tokenizer& tokenizer, SamplerOptions options);

  /// A token for these logits (vocabulary); does not record it.
  /// Errors: InputError if a banned or biased id is not below the vocabulary's size, or if no token
  /// is left to draw.
  base::TokenId sample(std::span<const float> logits);

  /// Notes a generated token for the penalties: of all but the one that ends the text (step 7).
  void record(base::TokenId token);

 private:
  /// Step 1: fills logits_ from the given ones.
  void penalise(std::span<const float> logits);
  /// Step 3: fills probabilities_, and weights_ with what they are proportional to.
  void softmax(float largest);
  /// Steps 4 and 5: sets the probabilities of tokens that may not be drawn to 0.
  void cut_off();
  /// Step 6, its first half: changes weights_.
  void apply_temperature();
  /// Step 6, its second half: a token whose probability is not 0, by weights_.
  base::TokenId draw();

  const model::Tokenizer& tokenizer_;
  SamplerOptions options_;
  std::mt19937_64 random_;
  std::unordered_map<base::TokenId, double> occurrences_;
  // Scratch, one number per token.
  std::vector<float> logits_;
  std::vector<float> probabilities_;
  std::vector<double> weights_;
};

}  // namespace longreach::generation
