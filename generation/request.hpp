/// A request: a prompt and what is wanted of it; and the events that report what comes of it.
#pragma once

#include "generation/passages.hpp"
#include "generation/sampler.hpp"
#include "kernels/base/types.hpp"

#include <cstddef>
#include <functional>
#include <optional>
#include <string>
#include <string_view>
#include <variant>
#include <vector>

namespace longreach::generation {

/// So many intervals between saved states are in memory: chunks move to files when the state after
/// theirs is saved.
inline constexpr std::size_t kStatesInMemory = 2;

/// Where a session is saved, and when: whenever it holds `every` tokens more of the prompt, and at
/// the end, when all generated tokens have been read, too. What is known of the prompt's beginning
/// is saved as it is, at all lengths where it is kept.
struct Saving {
  std::size_t every = 0;
  std::size_t context = 0;  ///< Of the engine's.
  std::size_t n_saved = 0;  ///< Tokens that the context holds of the prompt already.
};

/// What is wanted.
struct Request {
  std::vector<base::TokenId> prompt;  ///< One token at least.
  std::size_t n_new = 0;              ///< Tokens to generate at most; 0: the prompt is only read.
  SamplerOptions sampler = {};
  std::vector<std::string> stop_strings = {};   ///< None empty. End the text, not part of it.
  std::vector<base::TokenId> stop_tokens = {};  ///< The same, beside the model's end token.
  /// With every generated token its logarithm of probability and that of so many most probable
  /// ones.
  std::optional<std::size_t> n_top_logprobs = {};
  /// With every token of the prompt from this index on (1 at least, as the first token has none)
  /// the same.
  std::optional<std::size_t> prompt_logprobs_from = {};
  bool hashes_logits = false;   ///< Of all rows that are used, in order.
  bool wants_evidence = false;  ///< Of generated tokens; needs dist::Engine::has_evidence().
  /// Lengths of first parts of the prompt that other prompts are likely to begin with, too.
  std::vector<std::size_t> shared_lengths = {};
  std::optional<Saving> saving = {};
  std::size_t initial_state = 0;                ///< See dist::Engine::new_session.
  int priority = 0;                             ///< Higher ones leave the queue first.
  std::optional<double> deadline_seconds = {};  ///< Ends it so long after it was submitted.
};

/// A token and the natural logarithm of its probability under the model's own distribution, before
/// temperature, cut-offs and penalties.
struct TokenLogprob {
  base::TokenId token = 0;
  double logprob = 0;
};

/// Of one position: the token that stands there, and the most probable ones, best first, ties by
/// lower id.
struct Logprobs {
  TokenLogprob own;
  std::vector<TokenLogprob> top;
};

/// Why a request ended.
enum class FinishReason {
  kEndToken,    ///< The model's.
  kStopToken,   ///< One of the request's.
  kStopString,  ///< The same.
  kLength,      ///< As many tokens as were wanted; of a prompt that is only read, all of it.
  kDeadline,
  kCancelled,
  kFailed,  ///< See Finished::error. What was saved before stays.
};

/// A part of the prompt was read.
struct PromptProgress {
  std::size_t n_read = 0;    ///< Tokens, those that were known included.
  std::size_t n_shared = 0;  ///< Of these, known from others.
};

/// A state is saved.
struct Saved {
  std::size_t n_tokens = 0;  ///< Of the session.
};

/// A token of the prompt whose logprobs are wanted.
struct PromptLogprobs {
  std::size_t position = 0;  ///< Of the token.
  Logprobs logprobs;
};

/// A token was generated.
struct NewToken {
  base::TokenId token = 0;
  std::string text;  ///< What is certain by now (text_stream.hpp).
  std::optional<Logprobs> logprobs;
  std::vector<Passage> evidence = {};  ///< If asked for: what the query that chose it looked at.
};

/// Nothing comes after this.
struct Finished {
  FinishReason reason = FinishReason::kLength;
  std::string text = {};                        ///< The rest.
  std::optional<base::TokenId> end_token = {};  ///< The end or stop token that ended it.
  std::optional<Logprobs> end_logprobs = {};    ///< Its own.
  std::string logits_sha256 = {};               ///< If asked for; hexadecimal.
  std::vector<Passage> evidence = {};           ///< If asked for: of all generated tokens.
  std::string error = {};                       ///< One sentence, if it failed.
};

using Event = std::variant<PromptProgress, Saved, PromptLogprobs, NewToken, Finished>;

/// Takes the events of a request, in order. May submit and cancel requests.
using EventSink = std::function<void(const Event&)>;

/// "stop" or "length", as the OpenAI interface says; "deadline", "cancelled" or "error".
std::string_view name_of(FinishReason reason);

}  // namespace longreach::generation
