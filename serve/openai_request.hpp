/// From the JSON of the OpenAI interface to requests.
#pragma once

#include "generation/request.hpp"
#include "kernels/base/error.hpp"
#include "kernels/base/types.hpp"
#include "model/tokenizer/tokenizer.hpp"
#include "serve/chat_template.hpp"
#include "serve/context_library.hpp"

#include <cstddef>
#include <cstdint>
#include <map>
#include <optional>
#include <span>
#include <string>
#include <string_view>
#include <vector>

namespace longreach::serve {

/// Something a client asks for that it cannot have, as the interface reports it.
class ApiError : public base::InputError {
 public:
  ApiError(unsigned status, const std::string& message, std::string field = {},
           std::string code = {})
      : InputError(message), status_(status), field_(std::move(field)), code_(std::move(code)) {}

  unsigned status() const { return status_; }
  const std::string& field() const { return field_; }  ///< Of the request; empty: none.
  const std::string& code() const { return code_; }    ///< For programs; empty: none.

 private:
  unsigned status_;
  std::string field_, code_;
};

/// {"error": {"message", "type", "param", "code"}}.
std::string error_json(unsigned status, std::string_view message, std::string_view field = {},
                       std::string_view code = {});

/// What the server has to offer. The tokenizer and the library must outlive it.
struct ServedModel {
  std::string name;
  const model::Tokenizer& tokenizer;
  std::size_t vocab_size = 0;
  base::TokenId end_token = 0;
  std::size_t context_tokens = 0;  ///< Of a prompt and its answer, at most.
  std::size_t max_texts = 0;       ///< That an HTTP request may want.
  bool has_evidence = false;       ///< See dist::Engine::has_evidence.
  ChatTemplate chat = world_chat();
  const ContextLibrary* contexts =
      nullptr;  ///< That prompts may go on after; null if there are none.
  /// Initial states that requests may name, by number of the engine's.
  std::map<std::string, std::size_t> states = {};
  std::optional<base::TokenId> bos = {};  ///< Comes first in texts, not before token ids.
};

/// How the end token, which has no text, is written where tokens are named.
inline constexpr std::string_view kEndTokenText = "<|endoftext|>";

enum class Endpoint { kCompletions, kChat };

/// A checked request for one text or several.
struct CompletionRequest {
  Endpoint endpoint = Endpoint::kCompletions;
  std::vector<std::vector<base::TokenId>> prompts;  ///< One at least; none empty.
  std::size_t n = 1;                                ///< Texts for each prompt.
  std::size_t n_new = 0;                            ///< Tokens of each at most.
  generation::SamplerOptions sampler = {};          ///< Of each prompt's first text.
  std::vector<std::string> stop_strings = {};
  std::optional<std::size_t> n_top_logprobs = {};  ///< Asked for with every token.
  bool echo = false;                               ///< Texts begin with their prompts.
  bool streams = false;
  bool with_usage = false;                      ///< A stream ends with it.
  bool with_progress = false;                   ///< A stream says how much of the prompts was read.
  bool with_evidence = false;                   ///< Of the passages that answers looked at.
  std::optional<double> deadline_seconds = {};  ///< Texts end so long after they were asked for.
  std::size_t initial_state = 0;                ///< See dist::Engine::new_session.

  std::size_t n_texts() const { return prompts.size() * n; }
};

/// Reads the body of a request. Fields that are absent or null have OpenAI's defaults, but for the
/// length of chat answers (kMostChatTokens); fields that nobody knows are ignored. With
/// `ignore_eos`, an extension that other servers have, too, the end token is never drawn. Without a
/// seed, `seed` is it. Errors: ApiError.
CompletionRequest read_completion(Endpoint endpoint, std::string body, const ServedModel& served,
                                  std::uint64_t seed);

/// What a chat answer may take where the client does not say: memory for it is set aside.
inline constexpr std::size_t kMostChatTokens = 4096;

/// For the generator: texts of a prompt are consecutive. They have seeds of their own, the same
/// whatever other prompts stand beside.
std::vector<generation::Request> requests_of(const CompletionRequest& request);

/// A text to read in the background.
struct ContextText {
  std::vector<base::TokenId> tokens;  ///< One at least.
  std::string name;                   ///< May be empty.
};
/// That of {"text": text, or "prompt": text or token ids; "name"}. Errors: ApiError.
ContextText read_context(std::string body, const ServedModel& served);
/// That of {"name": text, "pinned": true or false}, each of which may be absent. Errors: ApiError.
ContextChange read_context_change(std::string body);

/// The text of tokens, with U+FFFD for what is no UTF-8; the end token has its spelling.
std::string decoded_text(std::span<const base::TokenId> tokens, const ServedModel& served);

/// The tokens of {"prompt" or "content": text}. A text may begin with the spelling of the end
/// token. Errors: ApiError.
std::vector<base::TokenId> read_tokenize(std::string body, const ServedModel& served);
/// The text of {"tokens": [..]}. Errors: ApiError.
std::string read_detokenize(std::string body, const ServedModel& served);

}  // namespace longreach::serve
