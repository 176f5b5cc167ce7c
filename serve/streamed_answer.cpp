#include "serve/streamed_answer.hpp"

#include "kernels/base/error.hpp"
#include "kernels/base/json.hpp"

#include <fmt/format.h>
#include <nlohmann/json.hpp>

#include <algorithm>
#include <string>

namespace longreach::serve {
namespace {

/// A field of an object; null if it is absent, or the value is no object.
const nlohmann::json& field_of(const nlohmann::json& value, const char* name) {
  static const nlohmann::json kNull;
  if (!value.is_object()) return kNull;
  const auto found = value.find(name);
  return found == value.end() ? kNull : *found;
}

std::optional<std::size_t> count_of(const nlohmann::json& usage, const char* name) {
  const auto count = base::whole_number(field_of(usage, name));
  return count ? std::optional<std::size_t>(*count) : std::nullopt;
}

/// The message of {"message": ..}, or a text; in one line. Empty if there is none.
std::string error_message(const nlohmann::json& error) {
  const nlohmann::json& message = error.is_object() ? field_of(error, "message") : error;
  if (!message.is_string()) return {};
  std::string line = message.get<std::string>();
  std::ranges::replace_if(
      line, [](unsigned char c) { return c < ' ' || c == 0x7f; }, ' ');
  return line;
}

}  // namespace

std::optional<double> AnswerTimes::per_token() const {
  if (n_generated < 2) return std::nullopt;
  return (last - first) / static_cast<double>(n_generated - 1);
}

void StreamedAnswer::push(std::string_view bytes, double seconds) {
  stream_.push(bytes, [&](std::string_view data) { take(data, seconds); });
}

void StreamedAnswer::take(std::string_view data, double seconds) {
  if (is_complete_) return;
  if (data == "[DONE]") {
    is_complete_ = true;
    return;
  }
  const nlohmann::json chunk = base::parse_json(std::string(data), "a chunk of the answer");
  if (const nlohmann::json& error = field_of(chunk, "error"); !error.is_null()) {
    base::input_error("the answer ended in an error: {}", error_message(error));
  }
  const nlohmann::json& usage = field_of(chunk, "usage");
  if (usage.is_object()) {
    n_prompt_ = count_of(usage, "prompt_tokens");
    n_generated_ = count_of(usage, "completion_tokens");
  }
  const nlohmann::json& choices = field_of(chunk, "choices");
  if (!choices.is_array() || choices.empty()) return;
  const nlohmann::json& choice = choices.front();
  const nlohmann::json& text = field_of(choice, "text");
  last_ = seconds;
  // Some servers end a text by a chunk that has none.
  const bool has_text = text.is_string() && !text.get_ref<const std::string&>().empty();
  if (has_text || field_of(choice, "finish_reason").is_null()) arrivals_.push_back(seconds);
}

AnswerTimes StreamedAnswer::times() const {
  if (!is_complete_) base::input_error("the answer ended before its last event, [DONE]");
  if (!n_prompt_ || !n_generated_) base::input_error("the answer has no usage");
  if (*n_generated_ == 0 || !last_) base::input_error("the answer has no token");
  AnswerTimes times{*n_prompt_, *n_generated_, *last_, *last_, {}};
  // A rest of a character may make a chunk more.
  const std::size_t n = std::min(arrivals_.size(), *n_generated_);
  if (n > 0) times.first = arrivals_.front();
  for (std::size_t i = 1; i < n; ++i) times.intervals.push_back(arrivals_[i] - arrivals_[i - 1]);
  return times;
}

std::string refusal_text(unsigned status, std::string_view body) {
  std::string text = fmt::format("status {}", status);
  try {
    const nlohmann::json answer = base::parse_json(std::string(body), "the answer");
    const std::string message = error_message(field_of(answer, "error"));
    if (!message.empty()) text += fmt::format(": {}", message);
  } catch (const base::InputError&) {  // the status says enough
  }
  return text;
}

}  // namespace longreach::serve
