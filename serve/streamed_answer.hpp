/// A streamed answer to a completion request, as a client that measures it sees it.
#pragma once

#include "serve/event_stream.hpp"

#include <cstddef>
#include <optional>
#include <string>
#include <string_view>
#include <vector>

namespace longreach::serve {

/// What an answer took; times in seconds from when it was asked for.
struct AnswerTimes {
  std::size_t n_prompt = 0;       ///< Tokens, as the server counts them.
  std::size_t n_generated = 0;    ///< The same.
  double first = 0;               ///< When the first token came.
  double last = 0;                ///< When the last one came.
  std::vector<double> intervals;  ///< Between consecutive chunks with text.

  /// Time per token after the first one; none of an answer of one token.
  std::optional<double> per_token() const;
};

/// Takes the body of an answer to one prompt, with usage in its last chunk.
///
/// A chunk counts as one token. A server may send several tokens in one chunk, or none for a token
/// that is a part of a character, so counts are taken from the usage, and times from the chunks.
class StreamedAnswer {
 public:
  /// The next bytes, which came so many seconds after the request. Errors: InputError about what is
  /// wrong, or with the server's own message.
  void push(std::string_view bytes, double seconds);

  /// Chunks with text so far.
  std::size_t n_chunks() const { return arrivals_.size(); }
  /// Whether all has come.
  bool is_complete() const { return is_complete_; }
  /// Errors: InputError, if the answer is not complete, has no token, or does not say how many.
  AnswerTimes times() const;

 private:
  void take(std::string_view data, double seconds);

  EventStream stream_;
  std::vector<double> arrivals_;  ///< Of chunks with text.
  std::optional<double> last_;    ///< Of any chunk of the text.
  std::optional<std::size_t> n_prompt_, n_generated_;
  bool is_complete_ = false;
};

/// What a server says with a status other than 200: the message in its JSON, if that is what the
/// body is; in one line.
std::string refusal_text(unsigned status, std::string_view body);

}  // namespace longreach::serve
