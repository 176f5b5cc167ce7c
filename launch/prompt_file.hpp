/// Files of prompts, a JSON object a line, and the lines of their results.
///
/// A prompt's line: "prompt" (text) or "tokens" (ids); perhaps "id" (text or number; default: the
/// number of the line) and, in place of the command's options, "n", "temperature", "seed", "stop"
/// (a text or a list), "logprobs". Other fields are not looked at.
#pragma once

#include "generation/request.hpp"
#include "launch/options/options.hpp"
#include "model/tokenizer/tokenizer.hpp"

#include <cstddef>
#include <cstdint>
#include <filesystem>
#include <optional>
#include <string>
#include <string_view>
#include <vector>

namespace longreach::launch {

/// A prompt, ready to be continued.
struct PromptLine {
  std::size_t number = 0;  ///< Of its line, from 1.
  std::string id;          ///< JSON.
  generation::Request request;
  /// A hash of all that decides the result, in hexadecimal.
  std::string fingerprint;
  std::string error;  ///< Why it cannot be continued, a sentence; empty if it can.
};

/// The prompts of a file; blank lines are none. What is wrong with a line is its own affair and
/// stands in it. `bos` comes first in texts, not before token ids. `settings` are what decides
/// results beside the line. Errors: InputError for a file
/// that cannot be read or has no prompts.
std::vector<PromptLine> read_prompts(const std::filesystem::path& file,
                                     const ContinuationOptions& options,
                                     const model::Tokenizer& tokenizer,
                                     std::optional<base::TokenId> bos, std::size_t vocab_size,
                                     std::string_view settings);

/// What was generated.
struct Continuation {
  std::string text;
  std::vector<base::TokenId> tokens;
  std::vector<generation::Logprobs> logprobs;  ///< Of the tokens, if they are wanted.
  std::size_t n_shared = 0;  ///< Tokens of the prompt that were known from others.
  generation::Finished finished;
};

/// {"line", "id", "fingerprint", "text", "tokens", "finish_reason", ..} without a line's end; for a
/// prompt that failed "error" in place of what was generated.
std::string result_line(const PromptLine& prompt, const Continuation& continuation, double seconds);
std::string error_line(const PromptLine& prompt, std::string_view error);

/// What a line of results says of its prompt.
struct ResultHead {
  std::size_t line = 0;
  std::string fingerprint;
  std::size_t n_tokens = 0;  ///< Generated.
  bool failed = false;
};

/// Errors: InputError naming `where`, if the text is no line of results.
ResultHead read_result(std::string_view text, std::string_view where);

/// Whether the text can be the beginning of a line of results.
bool is_cut_short(std::string_view text);

}  // namespace longreach::launch
