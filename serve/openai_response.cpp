#include "serve/openai_response.hpp"

#include "generation/text_stream.hpp"
#include "kernels/base/utf8.hpp"

#include <fmt/format.h>
#include <nlohmann/json.hpp>

#include <algorithm>
#include <cmath>
#include <utility>

namespace longreach::serve {
namespace {

using base::TokenId;
using generation::FinishReason;
using generation::Logprobs;
using nlohmann::json;

/// Of logprobs in a stream; they are sent when there are more.
constexpr std::size_t kLongestPiece = 65536;

bool is_utf8(std::string_view bytes) {
  while (!bytes.empty()) {
    const base::Utf8Front front = base::utf8_front(bytes);
    if (front.kind != base::Utf8Kind::kCharacter) return false;
    bytes.remove_prefix(front.size_bytes);
  }
  return true;
}

std::string json_string(std::string_view text) {
  return json(text).dump(-1, ' ', false, json::error_handler_t::replace);
}

/// JSON has no word for the logarithm of 0.
std::string number(double value) { return std::isfinite(value) ? json(value).dump() : "null"; }

void append(std::string& list, std::string_view item) {
  if (!list.empty()) list += ',';
  list += item;
}

/// Characters that begin in some bytes.
std::size_t n_characters(std::string_view bytes) {
  return static_cast<std::size_t>(std::ranges::count_if(
      bytes, [](char c) { return (static_cast<unsigned char>(c) & 0xc0) != 0x80; }));
}

std::string event(std::string_view data) { return fmt::format("data: {}\n\n", data); }

}  // namespace

std::string token_name(TokenId token, const ServedModel& served) {
  if (token == served.end_token) return std::string(kEndTokenText);
  const auto bytes = served.tokenizer.find(token);
  if (!bytes) return fmt::format("token:{}", token);
  if (is_utf8(*bytes)) return std::string(*bytes);
  std::string name = "bytes:";
  for (const char c : *bytes) name += fmt::format("\\x{:02x}", static_cast<unsigned char>(c));
  return name;
}

CompletionResponse::CompletionResponse(CompletionRequest request, const ServedModel& served,
                                       std::string id, std::int64_t created)
    : request_(std::move(request)),
      served_(served),
      id_(std::move(id)),
      created_(created),
      texts_(request_.n_texts()),
      n_left_(request_.n_texts()) {
  for (const auto& prompt : request_.prompts) usage_.n_prompt += prompt.size();
  if (!request_.echo) return;
  for (std::size_t i = 0; i < texts_.size(); ++i) {
    const auto& prompt = request_.prompts[i / request_.n];
    texts_[i].text = decoded_text(prompt, served_);
    if (request_.n_top_logprobs) add_token(texts_[i], prompt.front(), nullptr);
  }
}

std::string CompletionResponse::take(std::size_t index, const generation::Event& event,
                                     double seconds) {
  std::visit([&](const auto& each) { take(index, each); }, event);
  Text& text = texts_[index];
  const bool has_ended = std::holds_alternative<generation::Finished>(event);
  if (!request_.streams) return is_complete() && has_ended ? whole() : std::string();
  std::string data;
  if (const auto* const progress = std::get_if<generation::PromptProgress>(&event)) {
    if (request_.with_progress) data += progress_chunk(index, *progress, seconds);
  }
  const bool has_text = std::holds_alternative<generation::NewToken>(event) && !text.text.empty();
  // Those of a prompt come before any text.
  const bool is_long = text.n_bytes() >= kLongestPiece;
  if (has_text || has_ended || is_long) data += chunk(index);
  if (!is_complete() || !has_ended) return data;
  if (request_.with_usage) {
    const auto* const object =
        request_.endpoint == Endpoint::kChat ? "chat.completion.chunk" : "text_completion";
    data += serve::event(head(object) + ",\"choices\":[],\"usage\":" + usage_json() + "}");
  }
  return data + serve::event("[DONE]");
}

void CompletionResponse::take(std::size_t index, const generation::PromptProgress& progress) {
  // The first event of a text says what was known; its other texts share its prompt.
  if (index % request_.n == 0 && !std::exchange(texts_[index].is_counted, true)) {
    usage_.n_cached += progress.n_shared;
  }
}

void CompletionResponse::take(std::size_t index, const generation::PromptLogprobs& logprobs) {
  add_token(texts_[index], logprobs.logprobs.own.token, &logprobs.logprobs);
}

void CompletionResponse::take(std::size_t index, const generation::NewToken& token) {
  ++usage_.n_generated;
  add_text(texts_[index], token.text);
  if (token.logprobs) add_token(texts_[index], token.token, &*token.logprobs);
  if (!request_.with_evidence) return;
  append(texts_[index].token_evidence, "[" + passages_json(index, token.evidence) + "]");
}

void CompletionResponse::take(std::size_t index, const generation::Finished& finished) {
  Text& text = texts_[index];
  add_text(text, finished.text);
  if (finished.end_logprobs) add_token(text, *finished.end_token, &*finished.end_logprobs);
  text.evidence = passages_json(index, finished.evidence);
  // Clients know no name for a text that a deadline cut off.
  text.finish_reason = generation::name_of(
      finished.reason == FinishReason::kDeadline ? FinishReason::kLength : finished.reason);
  if (finished.reason == FinishReason::kFailed) failure_ = finished.error;
  --n_left_;
}

void CompletionResponse::add_text(Text& text, std::string_view more) {
  // The template ends before the blank that an answer begins with.
  if (request_.endpoint == Endpoint::kChat && text.at_start) {
    more.remove_prefix(std::min(more.find_first_not_of(" \n"), more.size()));
  }
  if (!more.empty()) text.at_start = false;
  text.text += more;
}

void CompletionResponse::add_token(Text& text, TokenId token, const Logprobs* logprobs) {
  const auto bytes_json = [this](TokenId id) {
    std::string list;
    for (const char c : served_.tokenizer.find(id).value_or(std::string_view())) {
      append(list, fmt::to_string(static_cast<unsigned char>(c)));
    }
    return list;
  };
  const auto named = [&](const generation::TokenLogprob& each) {
    return fmt::format("\"token\":{},\"logprob\":{},\"bytes\":[{}]",
                       json_string(token_name(each.token, served_)), number(each.logprob),
                       bytes_json(each.token));
  };
  if (request_.endpoint == Endpoint::kChat) {
    std::string top;
    for (const auto& each : logprobs->top) append(top, "{" + named(each) + "}");
    append(text.tokens, fmt::format("{{{},\"top_logprobs\":[{}]}}", named(logprobs->own), top));
    return;
  }
  append(text.tokens, json_string(token_name(token, served_)));
  append(text.text_offsets, fmt::to_string(text.n_characters));
  text.n_characters += n_characters(served_.tokenizer.find(token).value_or(std::string_view()));
  if (logprobs == nullptr) {
    append(text.token_logprobs, "null");
    append(text.top_logprobs, "null");
    return;
  }
  append(text.token_logprobs, number(logprobs->own.logprob));
  std::string top;
  bool own_is_top = false;
  const auto add = [&](const generation::TokenLogprob& each) {
    append(top, json_string(token_name(each.token, served_)) + ":" + number(each.logprob));
    own_is_top |= each.token == token;
  };
  for (const auto& each : logprobs->top) add(each);
  if (!own_is_top) add(logprobs->own);
  append(text.top_logprobs, "{" + top + "}");
}

void CompletionResponse::append_logprobs(std::string& json, Text& text) const {
  if (!request_.n_top_logprobs) {
    json += "null";
    return;
  }
  char before = '{';
  const auto add = [&](std::string_view name, std::string& items) {
    json += fmt::format("{}\"{}\":[", std::exchange(before, ','), name);
    json += std::exchange(items, {});
    json += ']';
  };
  if (request_.endpoint == Endpoint::kChat) {
    add("content", text.tokens);
  } else {
    add("tokens", text.tokens);
    add("token_logprobs", text.token_logprobs);
    add("top_logprobs", text.top_logprobs);
    add("text_offset", text.text_offsets);
  }
  json += '}';
}

std::string CompletionResponse::passages_json(std::size_t index,
                                              std::span<const generation::Passage> passages) const {
  std::string list;
  for (const generation::Passage& passage : passages) {
    append(list,
           generation::json_of(passage, request_.prompts[index / request_.n], served_.tokenizer));
  }
  return list;
}

void CompletionResponse::append_evidence(std::string& json, Text& text) const {
  if (!request_.with_evidence) return;
  json += ",\"longreach\":{\"evidence\":[";
  json += text.evidence;
  json += "],\"token_evidence\":[";
  json += std::exchange(text.token_evidence, {});
  json += "]}";
}

std::string CompletionResponse::head(std::string_view object) const {
  return fmt::format("{{\"id\":\"{}\",\"object\":\"{}\",\"created\":{},\"model\":{}", id_, object,
                     created_, json_string(served_.name));
}

std::string CompletionResponse::usage_json() const {
  return fmt::format(
      "{{\"prompt_tokens\":{},\"completion_tokens\":{},\"total_tokens\":{},"
      "\"prompt_tokens_details\":{{\"cached_tokens\":{}}}}}",
      usage_.n_prompt, usage_.n_generated, usage_.n_prompt + usage_.n_generated, usage_.n_cached);
}

std::string CompletionResponse::progress_chunk(std::size_t index,
                                               const generation::PromptProgress& progress,
                                               double seconds) const {
  const auto* const object =
      request_.endpoint == Endpoint::kChat ? "chat.completion.chunk" : "text_completion";
  return event(
      head(object) +
      fmt::format(",\"choices\":[],\"longreach\":{{\"progress\":{{\"index\":{},\"total\":{}"
                  ",\"cached\":{},\"processed\":{},\"ms\":{:.0f}}}}}}}",
                  index, request_.prompts[index / request_.n].size(), progress.n_shared,
                  progress.n_read, seconds * 1e3));
}

std::string CompletionResponse::chunk(std::size_t index) {
  Text& text = texts_[index];
  if (text.finish_reason == generation::name_of(FinishReason::kFailed)) {
    return event(error_json(400, failure_.value_or("")));
  }
  const std::string reason =
      text.finish_reason.empty() ? "null" : fmt::format("\"{}\"", text.finish_reason);
  const std::string content = json_string(std::exchange(text.text, {}));
  const bool chats = request_.endpoint == Endpoint::kChat;
  std::string data = head(chats ? "chat.completion.chunk" : "text_completion") +
                     fmt::format(",\"choices\":[{{\"index\":{},", index);
  if (chats) {
    const char* const role = std::exchange(text.has_role, true) ? "" : "\"role\":\"assistant\",";
    data += fmt::format("\"delta\":{{{}\"content\":{}}}", role, content);
  } else {
    data += "\"text\":" + content;
  }
  data += ",\"logprobs\":";
  append_logprobs(data, text);
  data += ",\"finish_reason\":" + reason;
  append_evidence(data, text);
  return event(data + (request_.with_usage ? "}],\"usage\":null}" : "}]}"));
}

std::string CompletionResponse::whole() {
  const bool chats = request_.endpoint == Endpoint::kChat;
  std::string object = head(chats ? "chat.completion" : "text_completion") + ",\"choices\":[";
  std::size_t n_bytes = 0;
  for (const Text& text : texts_) n_bytes += text.n_bytes();
  object.reserve(object.size() + n_bytes);
  for (std::size_t i = 0; i < texts_.size(); ++i) {
    Text text = std::move(texts_[i]);  // what is written need not be held twice
    object += fmt::format("{}{{\"index\":{},", i == 0 ? "" : ",", i);
    if (chats) {
      object += "\"message\":{\"role\":\"assistant\",\"content\":" + json_string(text.text) +
                ",\"refusal\":null}";
    } else {
      object += "\"text\":" + json_string(text.text);
    }
    object += ",\"logprobs\":";
    append_logprobs(object, text);
    object += fmt::format(",\"finish_reason\":\"{}\"", text.finish_reason);
    append_evidence(object, text);
    object += '}';
  }
  object += "],\"usage\":" + usage_json() + "}";
  return object;
}

}  // namespace longreach::serve
