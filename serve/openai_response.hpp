/// From the events of requests to the JSON of the OpenAI interface.
#pragma once

#include "generation/request.hpp"
#include "serve/openai_request.hpp"

#include <cstddef>
#include <cstdint>
#include <optional>
#include <span>
#include <string>
#include <string_view>
#include <vector>

namespace longreach::serve {

/// A token where the interface names one: its text; bytes:\xNN.. for one that is no UTF-8, and a
/// spelling of its own for one without text, so that different tokens have different names.
std::string token_name(base::TokenId token, const ServedModel& served);

/// The answer to a CompletionRequest, as its events come.
class CompletionResponse {
 public:
  /// Tokens, prompts counted once however many texts each gets.
  struct Usage {
    std::size_t n_prompt = 0, n_cached = 0, n_generated = 0;
  };

  /// `served` must outlive it; id and created are those of the answer.
  CompletionResponse(CompletionRequest request, const ServedModel& served, std::string id,
                     std::int64_t created);

  /// Takes an event of the text of that number (see requests_of) and returns what there is to send
  /// by now: of a stream, events "data: ..\n\n", "data: [DONE]\n\n" last; else the whole object
  /// once all texts are there. `seconds` have passed since the request came.
  std::string take(std::size_t index, const generation::Event& event, double seconds);

  bool streams() const { return request_.streams; }
  /// Whether all texts have ended.
  bool is_complete() const { return n_left_ == 0; }
  /// What made a text fail, if one did.
  const std::optional<std::string>& failure() const { return failure_; }
  const Usage& usage() const { return usage_; }

 private:
  /// A text, or what of it was not sent yet.
  struct Text {
    std::string text;
    // Lists of JSON without their brackets; of chat answers only the first is used, for objects.
    std::string tokens, token_logprobs, top_logprobs, text_offsets;
    std::string evidence,
        token_evidence;            ///< The same: passages, and a list of them for each token.
    std::size_t n_characters = 0;  ///< Of all tokens so far.
    bool is_counted = false;       ///< Its cached tokens are in usage_.
    bool at_start = true;          ///< Nothing but blanks has come.
    bool has_role = false;         ///< A chunk has said whose it is.
    std::string_view finish_reason = {};

    std::size_t n_bytes() const {
      return text.size() + tokens.size() + token_logprobs.size() + top_logprobs.size() +
             text_offsets.size() + evidence.size() + token_evidence.size();
    }
  };

  void take(std::size_t index, const generation::PromptProgress& progress);
  void take(std::size_t, const generation::Saved&) {}
  void take(std::size_t index, const generation::PromptLogprobs& logprobs);
  void take(std::size_t index, const generation::NewToken& token);
  void take(std::size_t index, const generation::Finished& finished);
  void add_text(Text& text, std::string_view more);
  /// The token's entry among those of logprobs; none are known of a prompt's first token.
  void add_token(Text& text, base::TokenId token, const generation::Logprobs* logprobs);
  /// Appends the logprobs of a text, which are held nowhere else then.
  void append_logprobs(std::string& json, Text& text) const;
  /// The passages, without brackets.
  std::string passages_json(std::size_t index, std::span<const generation::Passage> passages) const;
  /// Appends the end of a choice, in the same way.
  void append_evidence(std::string& json, Text& text) const;
  /// The beginning of every object: {"id":..,"model":.., without its end.
  std::string head(std::string_view object) const;
  std::string usage_json() const;
  std::string progress_chunk(std::size_t index, const generation::PromptProgress& progress,
                             double seconds) const;
  /// A chunk with what was not sent of a text.
  std::string chunk(std::size_t index);
  std::string whole();

  CompletionRequest request_;
  const ServedModel& served_;
  std::string id_;
  std::int64_t created_;
  std::vector<Text> texts_;
  std::size_t n_left_;
  std::optional<std::string> failure_;
  Usage usage_;
};

}  // namespace longreach::serve
