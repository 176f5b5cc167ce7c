#include "launch/prompt_file.hpp"

#include "kernels/base/error.hpp"
#include "kernels/base/json.hpp"
#include "kernels/base/lines.hpp"
#include "kernels/base/read_file.hpp"
#include "kernels/base/sha256.hpp"
#include "launch/options/limits.hpp"
#include "launch/request.hpp"

#include <nlohmann/json.hpp>

#include <algorithm>
#include <cmath>
#include <limits>
#include <optional>
#include <span>
#include <utility>

namespace longreach::launch {
namespace {

using base::TokenId;
using nlohmann::json;
using OrderedJson = nlohmann::ordered_json;

constexpr std::size_t kFingerprintDigits = 16;
constexpr std::string_view kLineField = R"({"line":)";

[[noreturn]] void refuse_field(std::string_view field, std::string_view expected,
                               const json& found) {
  base::input_error("\"{}\": expected {}, found {}", field, expected, base::json_text(found));
}

std::size_t whole(const json& object, const char* field, std::size_t least, std::size_t most) {
  const auto number = base::whole_number(object[field]);
  if (!number || *number < least || *number > most) {
    refuse_field(field, fmt::format("a whole number from {} to {}", least, most), object[field]);
  }
  return *number;
}

std::vector<std::string> stop_strings(const json& value) {
  const json list = value.is_array() ? value : json::array({value});
  std::vector<std::string> texts;
  for (const json& each : list) {
    if (!each.is_string() || each.get<std::string>().empty()) {
      refuse_field("stop", "a text that is not empty, or a list of such", value);
    }
    texts.push_back(each.get<std::string>());
  }
  return texts;
}

/// The options of a line: those of the command, and its own.
ContinuationOptions options_of(const json& line, ContinuationOptions options) {
  if (line.contains("n")) options.n_tokens = whole(line, "n", 1, kMaxTokens);
  if (line.contains("temperature")) {
    const json& value = line["temperature"];
    const bool fits =
        value.is_number() && value.get<double>() >= 0 && value.get<double>() <= kMaxTemperature;
    if (!fits)
      refuse_field("temperature", fmt::format("a number from 0 to {}", kMaxTemperature), value);
    options.sampler.temperature = value.get<double>();
  }
  if (line.contains("seed")) {
    options.seed = whole(line, "seed", 0, std::numeric_limits<std::uint64_t>::max());
  }
  if (line.contains("stop") && !line["stop"].is_null())
    options.stop_strings = stop_strings(line["stop"]);
  if (line.contains("logprobs")) {
    options.n_top_logprobs.reset();
    if (!line["logprobs"].is_null()) {
      options.n_top_logprobs = whole(line, "logprobs", 0, kMostLogprobs);
    }
  }
  return options;
}

std::vector<TokenId> tokens_of(const json& line, const model::Tokenizer& tokenizer,
                               std::optional<TokenId> bos, std::size_t vocab_size) {
  if (line.contains("prompt") == line.contains("tokens")) {
    base::input_error("expected either \"prompt\" or \"tokens\", found {}",
                      line.contains("prompt") ? "both" : "neither");
  }
  std::vector<TokenId> tokens;
  if (line.contains("prompt")) {
    if (!line["prompt"].is_string()) refuse_field("prompt", "a text", line["prompt"]);
    tokens = tokenizer.encode(line["prompt"].get<std::string>());
    const auto foreign = std::ranges::find_if(
        tokens, [&](TokenId id) { return static_cast<std::size_t>(id) >= vocab_size; });
    if (foreign != tokens.end()) {
      base::input_error(
          "\"prompt\": token {} is outside the model's vocabulary of {} (does "
          "--tokenizer fit the model?)",
          *foreign, vocab_size);
    }
    begin_text(tokens, bos, vocab_size);
  } else {
    if (!line["tokens"].is_array()) refuse_field("tokens", "a list of token ids", line["tokens"]);
    for (const json& each : line["tokens"]) {
      const auto id = base::whole_number(each);
      if (!id || *id >= vocab_size) {
        refuse_field("tokens", fmt::format("token ids below {}", vocab_size), each);
      }
      tokens.push_back(static_cast<TokenId>(*id));
    }
  }
  if (tokens.empty()) base::input_error("the prompt is empty, at least one token is needed");
  return tokens;
}

/// All that decides the result of a line.
std::string fingerprint(std::string_view settings, std::string_view text,
                        const generation::Request& request) {
  const generation::SamplerOptions& sampler = request.sampler;
  const json parts = {settings,
                      text,
                      request.n_new,
                      request.stop_strings,
                      request.stop_tokens,
                      request.n_top_logprobs ? json(*request.n_top_logprobs) : json(nullptr),
                      sampler.temperature,
                      sampler.top_p,
                      sampler.top_k,
                      sampler.presence,
                      sampler.frequency,
                      sampler.decay,
                      sampler.seed,
                      sampler.banned};
  const std::string all = parts.dump(-1, ' ', false, json::error_handler_t::replace);
  base::Sha256 hash;
  hash.update(std::as_bytes(std::span(all)));
  return hash.hex_digest().substr(0, kFingerprintDigits);
}

void read_line(PromptLine& prompt, std::string_view text, const ContinuationOptions& options,
               const model::Tokenizer& tokenizer, std::optional<TokenId> bos,
               std::size_t vocab_size) {
  const json line = base::parse_json(std::string(text), "the line");
  if (!line.is_object())
    base::input_error("expected a JSON object, found {}", base::json_text(line));
  if (line.contains("id")) {
    if (!line["id"].is_string() && !line["id"].is_number()) {
      refuse_field("id", "a text or a number", line["id"]);
    }
    prompt.id = line["id"].dump();
  }
  const ContinuationOptions own = options_of(line, options);
  const std::uint64_t seed =
      line.contains("seed") ? *own.seed : own.seed.value_or(0) + prompt.number;
  prompt.request = request_of(own, tokens_of(line, tokenizer, bos, vocab_size), seed);
}

OrderedJson logprobs_json(const generation::Logprobs& logprobs) {
  // JSON has no word for the logarithm of 0.
  const auto number = [](double x) {
    return std::isfinite(x) ? OrderedJson(x) : OrderedJson(nullptr);
  };
  OrderedJson object = {{"token", logprobs.own.token}, {"logprob", number(logprobs.own.logprob)}};
  OrderedJson top = OrderedJson::array();
  for (const generation::TokenLogprob& each : logprobs.top) {
    top.push_back({{"token", each.token}, {"logprob", number(each.logprob)}});
  }
  if (!top.empty()) object["top"] = std::move(top);
  return object;
}

/// How every line of a prompt's results begins.
OrderedJson line_begin(const PromptLine& prompt) {
  return {{"line", prompt.number},
          {"id", OrderedJson::parse(prompt.id)},
          {"fingerprint", prompt.fingerprint}};
}

std::string text_of(const OrderedJson& object) {
  return object.dump(-1, ' ', false, OrderedJson::error_handler_t::replace);
}

}  // namespace

std::vector<PromptLine> read_prompts(const std::filesystem::path& file,
                                     const ContinuationOptions& options,
                                     const model::Tokenizer& tokenizer, std::optional<TokenId> bos,
                                     std::size_t vocab_size, std::string_view settings) {
  std::vector<PromptLine> prompts;
  base::for_lines(base::read_file(file), [&](std::size_t number, std::string_view text) {
    PromptLine& prompt = prompts.emplace_back();
    prompt.number = number;
    prompt.id = std::to_string(number);
    try {
      read_line(prompt, text, options, tokenizer, bos, vocab_size);
    } catch (const base::InputError& error) {
      prompt.error = error.what();
    }
    prompt.fingerprint = fingerprint(settings, text, prompt.request);
  });
  if (prompts.empty()) base::input_error("{}: holds no prompts", file.string());
  return prompts;
}

std::string result_line(const PromptLine& prompt, const Continuation& continuation,
                        double seconds) {
  const generation::Finished& finished = continuation.finished;
  OrderedJson line = line_begin(prompt);
  line["text"] = continuation.text;
  line["tokens"] = continuation.tokens;
  line["finish_reason"] = generation::name_of(finished.reason);
  if (finished.end_token) line["end_token"] = *finished.end_token;
  line["prompt_tokens"] = prompt.request.prompt.size();
  line["logits_sha256"] = finished.logits_sha256;
  if (prompt.request.n_top_logprobs) {
    line["logprobs"] = OrderedJson::array();
    for (const generation::Logprobs& each : continuation.logprobs) {
      line["logprobs"].push_back(logprobs_json(each));
    }
    if (finished.end_logprobs) line["end_logprobs"] = logprobs_json(*finished.end_logprobs);
  }
  line["seed"] = prompt.request.sampler.seed;
  line["cached_tokens"] = continuation.n_shared;
  line["seconds"] = std::round(seconds * 1e6) / 1e6;
  return text_of(line);
}

std::string error_line(const PromptLine& prompt, std::string_view error) {
  OrderedJson line = line_begin(prompt);
  line["error"] = error;
  return text_of(line);
}

ResultHead read_result(std::string_view text, std::string_view where) {
  const json line = base::parse_json(std::string(text), where);
  const auto number =
      line.is_object() && line.contains("line") ? base::whole_number(line["line"]) : std::nullopt;
  if (!number || !line.contains("fingerprint") || !line["fingerprint"].is_string()) {
    base::input_error("{}: is no line of results: expected \"line\" and \"fingerprint\", found {}",
                      where, base::json_text(line));
  }
  const bool failed = line.contains("error");
  if (!failed && (!line.contains("tokens") || !line["tokens"].is_array())) {
    base::input_error("{}: is no line of results: expected \"tokens\" or \"error\", found {}",
                      where, base::json_text(line));
  }
  return {*number, line["fingerprint"].get<std::string>(), failed ? 0 : line["tokens"].size(),
          failed};
}

bool is_cut_short(std::string_view text) {
  const std::size_t n = std::min(text.size(), kLineField.size());
  return text.substr(0, n) == kLineField.substr(0, n);
}

}  // namespace longreach::launch
