/// The passages of a context that an answer's tokens gave weight to.
#pragma once

#include "dist/engine/logits_return.hpp"
#include "kernels/base/types.hpp"
#include "model/tokenizer/tokenizer.hpp"

#include <cstddef>
#include <map>
#include <span>
#include <string>
#include <vector>

namespace longreach::generation {

/// Consecutive tokens of a context.
struct Passage {
  std::size_t first = 0;  ///< Position, counted from the first token of the context.
  std::size_t n_tokens = 0;
  double weight = 0;  ///< Share of the attention of the sparse blocks' heads, 0 to 1.
  std::size_t end() const { return first + n_tokens; }
  bool operator==(const Passage&) const = default;
};

/// The text of a passage; `tokens` are those of the context, from its first one.
std::string text_of(const Passage& passage, std::span<const base::TokenId> tokens,
                    const model::Tokenizer& tokenizer);
/// {"first", "tokens", "weight", "text"}; bytes that are no UTF-8 become U+FFFD.
std::string json_of(const Passage& passage, std::span<const base::TokenId> tokens,
                    const model::Tokenizer& tokenizer);

/// Of spans that do not overlap the kMostSpans heaviest, neighbours merged into one passage:
/// heaviest first, ties by lower position. Spans of equal weight are taken by lower position.
inline constexpr std::size_t kMostSpans = 16;
std::vector<Passage> best_passages(std::vector<Passage> spans);

/// Adds up over the tokens of an answer what their queries gave weight to: the queries that chose
/// them. Whole spans of the prompt count, and of what was read before it; generated tokens do not.
class AnswerEvidence {
 public:
  /// Passages end at n_tokens, where the prompt does.
  explicit AnswerEvidence(std::size_t n_tokens) : n_tokens_(n_tokens) {}

  /// Adds a token. Returns its passages.
  std::vector<Passage> add(std::span<const dist::AttendedSpan> spans);
  /// Those of the whole answer: weights are averaged over its tokens.
  std::vector<Passage> passages() const;

 private:
  std::size_t n_tokens_, n_added_ = 0;
  std::map<std::size_t, Passage> spans_;  ///< By position; weights are sums.
};

}  // namespace longreach::generation
