#include "serve/openai_request.hpp"

#include "generation/first_token.hpp"
#include "generation/text_stream.hpp"
#include "kernels/base/id_lists.hpp"
#include "kernels/base/json.hpp"

#include <fmt/format.h>
#include <fmt/ranges.h>
#include <nlohmann/json.hpp>

#include <algorithm>
#include <array>
#include <charconv>
#include <cmath>
#include <limits>
#include <set>
#include <utility>

namespace longreach::serve {
namespace {

using base::TokenId;
using nlohmann::json;

constexpr std::size_t kMostTexts = 128;  ///< Of a prompt.
constexpr std::size_t kMostLogprobs = 20;
constexpr std::size_t kMostStops = 16;
constexpr std::size_t kMostStopBytes = 4096;
constexpr double kMostTemperature = 2, kMostPenalty = 2, kMostBias = 100;
constexpr std::size_t kCompletionTokens = 16;  ///< OpenAI's default.
constexpr std::size_t kMostNameBytes = 256;
constexpr double kLatestDeadline = 1e8;  ///< In seconds.

[[noreturn]] void refuse(std::string_view field, std::string_view expected, const json& found) {
  throw ApiError(400,
                 fmt::format("{}: expected {}, found {}", field, expected, base::json_text(found)),
                 std::string(field));
}

[[noreturn]] void refuse_support(std::string_view field) {
  throw ApiError(400, fmt::format("{}: is not supported", field), std::string(field));
}

/// The fields of an object; one that is null counts as absent.
class Fields {
 public:
  explicit Fields(const json& object) : object_(object) {}

  const json* find(const char* name) const {
    const auto found = object_.find(name);
    return found == object_.end() || found->is_null() ? nullptr : &*found;
  }

  std::optional<std::size_t> whole(const char* name, std::size_t least, std::size_t most) const {
    const json* const value = find(name);
    if (value == nullptr) return std::nullopt;
    const auto number = base::whole_number(*value);
    if (!number || *number < least || *number > most) {
      refuse(name, fmt::format("a whole number from {} to {}", least, most), *value);
    }
    return static_cast<std::size_t>(*number);
  }

  double real(const char* name, double least, double most, double otherwise) const {
    const json* const value = find(name);
    if (value == nullptr) return otherwise;
    const double number =
        value->is_number() ? value->get<double>() : std::numeric_limits<double>::quiet_NaN();
    if (!(number >= least && number <= most)) {
      refuse(name, fmt::format("a number from {} to {}", least, most), *value);
    }
    return number;
  }

  bool flag(const char* name) const {
    const json* const value = find(name);
    if (value == nullptr) return false;
    if (!value->is_boolean()) refuse(name, "true or false", *value);
    return value->get<bool>();
  }

  /// Refuses names that are not among these, in an object that the field `where` holds.
  void allow(const char* where, std::initializer_list<std::string_view> names) const {
    for (const auto& [name, value] : object_.items()) {
      if (std::ranges::count(names, name) > 0) continue;
      throw ApiError(400,
                     fmt::format("{}: expected one of {}, found {}", where, fmt::join(names, ", "),
                                 json(name).dump(-1, ' ', false, json::error_handler_t::replace)),
                     where);
    }
  }

  /// An object inside; null if it is absent.
  const json* object(const char* name) const {
    const json* const value = find(name);
    if (value != nullptr && !value->is_object()) refuse(name, "an object", *value);
    return value;
  }

 private:
  const json& object_;
};

json parse_object(std::string body) {
  json value;
  try {
    constexpr std::array<std::string_view, 3> kWithIds = {"prompt", "text", "tokens"};
    value = base::parse_json_with_ids(std::move(body), "the request", kWithIds);
  } catch (const base::InputError& error) {
    throw ApiError(400, error.what());
  }
  if (!value.is_object()) {
    throw ApiError(
        400, fmt::format("the request: expected a JSON object, found {}", base::json_text(value)));
  }
  return value;
}

std::vector<TokenId> encode(std::string_view text, std::string_view field,
                            const ServedModel& served) {
  std::vector<TokenId> tokens;
  try {
    tokens = served.tokenizer.encode(text);
  } catch (const base::InputError& error) {
    throw ApiError(400, fmt::format("{}: {}", field, error.what()), std::string(field));
  }
  const auto foreign = std::ranges::find_if(
      tokens, [&](TokenId id) { return static_cast<std::size_t>(id) >= served.vocab_size; });
  if (foreign != tokens.end()) {
    throw ApiError(400,
                   fmt::format("{}: token {} is outside the model's vocabulary of {}", field,
                               *foreign, served.vocab_size),
                   std::string(field));
  }
  return tokens;
}

/// The same of a text that may begin with the spelling of the end token: clients begin texts with
/// it, and have a spelling alone where they have no ids.
std::vector<TokenId> encode_prompt(std::string_view text, std::string_view field,
                                   const ServedModel& served) {
  if (!text.starts_with(kEndTokenText)) return encode(text, field, served);
  std::vector<TokenId> tokens = encode(text.substr(kEndTokenText.size()), field, served);
  tokens.insert(tokens.begin(), served.end_token);
  return tokens;
}

/// A text that begins where nothing was read yet: after the model's first token, unless it has it.
std::vector<TokenId> with_bos(std::vector<TokenId> text, const ServedModel& served) {
  if (served.bos) generation::put_first(text, *served.bos);
  return text;
}

/// Whether a value is a list, of ids or not.
bool is_list(const json& value) { return value.is_array() || value.is_binary(); }

std::vector<TokenId> token_ids(const json& list, std::string_view field,
                               const ServedModel& served) {
  const auto refuse_id = [&](const json& found) {
    refuse(field, fmt::format("token ids below {}", served.vocab_size), found);
  };
  if (!list.is_binary()) {  // empty, or something in it is no id
    for (const json& each : list) {
      const auto id = base::whole_number(each);
      if (!id || *id >= served.vocab_size) refuse_id(each);
    }
    return {};
  }
  std::vector<TokenId> tokens = base::ids_of(list);
  const auto foreign = std::ranges::find_if(
      tokens, [&](TokenId id) { return static_cast<std::size_t>(id) >= served.vocab_size; });
  if (foreign != tokens.end()) refuse_id(*foreign);
  return tokens;
}

/// The text that a value is, which it has no more: it may be large.
std::string taken_text(json& value) { return std::move(value.get_ref<std::string&>()); }

/// Prompts may be large: a list of initial values would copy them.
std::vector<std::vector<TokenId>> one_prompt(std::vector<TokenId> prompt) {
  std::vector<std::vector<TokenId>> prompts;
  prompts.push_back(std::move(prompt));
  return prompts;
}

/// What stands before a prompt.
enum class Before { kNothing, kContext };

/// A text, a list of token ids, or a list of either.
std::vector<std::vector<TokenId>> read_prompts(json value, const ServedModel& served,
                                               Before before) {
  constexpr const char* kField = "prompt";
  const auto text = [&](json& each) {
    auto tokens = encode_prompt(taken_text(each), kField, served);
    if (before == Before::kNothing) tokens = with_bos(std::move(tokens), served);
    return tokens;
  };
  if (value.is_string()) return one_prompt(text(value));
  if (value.is_binary()) return one_prompt(token_ids(value, kField, served));
  if (!value.is_array() || value.empty()) {
    refuse(kField, "a text, a list of token ids, or a list of texts or of such lists", value);
  }
  if (value.front().is_number()) return one_prompt(token_ids(value, kField, served));
  std::vector<std::vector<TokenId>> prompts;
  for (json& each : value) {
    if (each.is_string()) {
      prompts.push_back(text(each));
    } else if (is_list(each)) {
      prompts.push_back(token_ids(each, kField, served));
    } else {
      refuse(kField, "a list of texts or of lists of token ids", each);
    }
  }
  return prompts;
}

/// A text, or a list of parts with a text each.
std::string read_content(json value) {
  constexpr const char* kField = "messages";
  if (value.is_string()) return taken_text(value);
  if (value.is_null()) return {};  // of an assistant that called a tool
  if (!value.is_array()) refuse(kField, "a content that is a text or a list of parts", value);
  std::string content;
  for (const json& part : value) {
    const bool is_text = part.is_object() && part.contains("type") && part["type"] == "text" &&
                         part.contains("text") && part["text"].is_string();
    if (!is_text) refuse(kField, "parts of type \"text\"", part);
    content += part["text"].get_ref<const std::string&>();
  }
  return content;
}

std::vector<TokenId> read_messages(json list, const ServedModel& served, Before before) {
  constexpr const char* kField = "messages";
  if (!list.is_array() || list.empty()) refuse(kField, "a list of one message at least", list);
  std::vector<ChatMessage> messages;
  for (json& each : list) {
    const json role = each.is_object() && each.contains("role") ? each["role"] : json();
    ChatMessage message;
    if (role == "user") {
      message.role = ChatRole::kUser;
    } else if (role == "assistant") {
      message.role = ChatRole::kAssistant;
    } else if (role == "system" || role == "developer") {
      message.role = ChatRole::kSystem;
    } else {
      refuse(kField, "roles system, developer, user or assistant", role);
    }
    message.content = read_content(std::move(each["content"]));
    messages.push_back(std::move(message));
  }
  std::string text = served.chat.prompt(std::exchange(messages, {}));
  if (before == Before::kNothing) return with_bos(encode(text, kField, served), served);
  // The first turn begins after an empty line, as all do.
  return encode(text.insert(0, "\n\n"), kField, served);
}

std::vector<std::string> read_stops(const Fields& fields) {
  constexpr const char* kField = "stop";
  const json* const value = fields.find(kField);
  if (value == nullptr) return {};
  const json list = value->is_array() ? *value : json::array({*value});
  if (list.size() > kMostStops) {
    refuse(kField, fmt::format("{} texts at most", kMostStops), *value);
  }
  std::vector<std::string> stops;
  for (const json& each : list) {
    if (!each.is_string() || each.get_ref<const std::string&>().empty() ||
        each.get_ref<const std::string&>().size() > kMostStopBytes) {
      refuse(kField, fmt::format("texts of 1 to {} bytes", kMostStopBytes), each);
    }
    stops.push_back(each.get<std::string>());
  }
  return stops;
}

std::vector<std::pair<TokenId, float>> read_bias(const Fields& fields, const ServedModel& served) {
  constexpr const char* kField = "logit_bias";
  std::vector<std::pair<TokenId, float>> biases;
  const json* const object = fields.object(kField);
  if (object == nullptr) return biases;
  std::set<TokenId> seen;
  for (const auto& [key, value] : object->items()) {
    std::size_t id = 0;
    const auto [end, error] = std::from_chars(key.data(), key.data() + key.size(), id);
    if (error != std::errc() || end != key.data() + key.size() || id >= served.vocab_size ||
        !seen.insert(static_cast<TokenId>(id)).second) {
      refuse(kField, fmt::format("token ids below {}, each once", served.vocab_size), key);
    }
    const double bias =
        value.is_number() ? value.get<double>() : std::numeric_limits<double>::quiet_NaN();
    if (!(std::abs(bias) <= kMostBias)) {
      refuse(kField, fmt::format("numbers from -{0} to {0}", kMostBias), value);
    }
    biases.emplace_back(static_cast<TokenId>(id), static_cast<float>(bias));
  }
  return biases;
}

/// A whole number of 64 bits; a negative one counts as the one with the same bits.
std::uint64_t read_seed(const Fields& fields, std::uint64_t otherwise) {
  const json* const value = fields.find("seed");
  if (value == nullptr) return otherwise;
  if (!value->is_number_integer()) refuse("seed", "a whole number", *value);
  return value->is_number_unsigned() ? value->get<std::uint64_t>()
                                     : static_cast<std::uint64_t>(value->get<std::int64_t>());
}

void check_model(const Fields& fields, const ServedModel& served) {
  const json* const value = fields.find("model");
  if (value == nullptr) return;
  if (!value->is_string()) refuse("model", "a text", *value);
  if (value->get_ref<const std::string&>() == served.name) return;
  throw ApiError(404,
                 fmt::format("model: {} is not served here, expected {}", base::json_text(*value),
                             base::json_text(json(served.name))),
                 "model", "model_not_found");
}

/// What a client would be misled by, were it ignored.
void check_unsupported(const Fields& fields) {
  for (const char* const name : {"suffix", "tools", "functions"}) {
    const json* const value = fields.find(name);
    if (value != nullptr && !value->empty() && *value != "") refuse_support(name);
  }
  const json* const best_of = fields.find("best_of");
  if (best_of != nullptr && *best_of != fields.whole("n", 1, kMostTexts).value_or(1)) {
    refuse_support("best_of");
  }
  const json* const format = fields.object("response_format");
  if (format != nullptr && format->value("type", json("text")) != "text") {
    refuse_support("response_format");
  }
}

void read_logprobs(const Fields& fields, CompletionRequest& request) {
  if (request.endpoint == Endpoint::kCompletions) {
    request.n_top_logprobs = fields.whole("logprobs", 0, kMostLogprobs);
    request.echo = fields.flag("echo");
    return;
  }
  const bool wanted = fields.flag("logprobs");
  const auto n_top = fields.whole("top_logprobs", 0, kMostLogprobs);
  if (n_top && !wanted) {
    throw ApiError(400, "top_logprobs: expected logprobs to be true with it", "top_logprobs");
  }
  if (wanted) request.n_top_logprobs = n_top.value_or(0);
}

void read_stream(const Fields& fields, const ServedModel& served, CompletionRequest& request) {
  request.streams = fields.flag("stream");
  if (const json* const options = fields.object("stream_options")) {
    if (!request.streams) {
      throw ApiError(400, "stream_options: expected stream to be true with it", "stream_options");
    }
    request.with_usage = Fields(*options).flag("include_usage");
  }
  if (const json* const own = fields.object("longreach")) {
    Fields(*own).allow("longreach", {"context", "deadline", "evidence", "progress", "state"});
    if (Fields(*own).find("deadline") != nullptr) {
      request.deadline_seconds = Fields(*own).real("deadline", 0, kLatestDeadline, 0);
    }
    request.with_progress = Fields(*own).flag("progress");
    request.with_evidence = Fields(*own).flag("evidence");
    if (request.with_evidence && !served.has_evidence) {
      throw ApiError(400,
                     "longreach: this server has no evidence: it needs sparse blocks that "
                     "choose chunks",
                     "longreach");
    }
  }
}

/// The id of the context that prompts go on after; null if none is named.
const json* context_id(const Fields& fields, const ServedModel& served) {
  constexpr const char* kField = "longreach";
  const json* const own = fields.object(kField);
  const json* const id = own == nullptr ? nullptr : Fields(*own).find("context");
  if (id == nullptr) return nullptr;
  if (!id->is_string()) refuse(kField, "a context's id", *id);
  if (served.contexts == nullptr)
    throw ApiError(400, "longreach: this server keeps no contexts", kField);
  return id;
}

/// The number of the initial state that is named; 0 if none is.
std::size_t read_initial_state(const Fields& fields, const ServedModel& served) {
  constexpr const char* kField = "longreach";
  const json* const own = fields.object(kField);
  const json* const name = own == nullptr ? nullptr : Fields(*own).find("state");
  if (name == nullptr) return 0;
  if (!name->is_string()) refuse(kField, "a state's name", *name);
  if (served.states.empty()) {
    throw ApiError(400, "longreach: this server has no initial states to choose from", kField);
  }
  const auto found = served.states.find(name->get<std::string>());
  if (found != served.states.end()) return found->second;
  throw ApiError(
      404, fmt::format("longreach: the initial state {} does not exist", base::json_text(*name)),
      kField, "state_not_found");
}

void check_length(std::size_t n_prompt, std::size_t n_new, const ServedModel& served,
                  const std::string& field) {
  if (n_prompt <= served.context_tokens && n_new <= served.context_tokens - n_prompt) return;
  throw ApiError(
      400,
      fmt::format("This model's maximum context length is {} tokens. However, you requested {} "
                  "tokens ({} in the {}, {} in the completion). Please reduce the length of the {} "
                  "or completion.",
                  served.context_tokens, n_prompt + n_new, n_prompt, field, n_new, field),
      field, "context_length_exceeded");
}

std::size_t longest_prompt(const CompletionRequest& request) {
  return std::ranges::max_element(request.prompts, {}, &std::vector<TokenId>::size)->size();
}

/// Each text has a prompt of its own in memory, after n_before tokens of a context.
void check_memory(const CompletionRequest& request, std::size_t n_before) {
  constexpr std::size_t kMost = std::size_t{1} << 26;
  const std::size_t n_prompt = n_before + longest_prompt(request);
  if (request.n_texts() <= std::max<std::size_t>(1, kMost / n_prompt)) return;
  throw ApiError(400,
                 fmt::format("prompt: expected {} tokens at most in all texts together", kMost),
                 "prompt");
}

/// An answer that is not streamed is held to its end, and logprobs and evidence take much more than
/// its text.
void check_answer_size(const CompletionRequest& request) {
  constexpr std::size_t kMost = std::size_t{1} << 30;
  constexpr std::size_t kOfLogprob = 128, kOfSpan = 512;  // of JSON, more than most take
  if (request.streams) return;
  const std::size_t of_logprobs =
      request.n_top_logprobs ? (*request.n_top_logprobs + 1) * kOfLogprob : 0;
  const std::size_t of_new =
      of_logprobs + (request.with_evidence ? generation::kMostSpans * kOfSpan : 0);
  std::size_t n_bytes = request.n_texts() * request.n_new * of_new;
  if (request.echo) {
    for (const auto& prompt : request.prompts) n_bytes += request.n * prompt.size() * of_logprobs;
  }
  if (n_bytes <= kMost) return;
  throw ApiError(
      400,
      fmt::format("an answer of {} texts with up to {} tokens each may take {} bytes with "
                  "its logprobs or evidence, expected {} at most: ask for less, or for a "
                  "stream",
                  request.n_texts(), request.n_new, n_bytes, kMost),
      request.with_evidence ? "longreach" : "logprobs");
}

/// Decides how many tokens a text may have.
void read_length(const Fields& fields, const ServedModel& served, CompletionRequest& request) {
  const bool chats = request.endpoint == Endpoint::kChat;
  const std::size_t least = chats ? 1 : 0;
  constexpr std::size_t kMost = std::numeric_limits<std::uint32_t>::max();
  auto n_new = fields.whole("max_completion_tokens", least, kMost);
  if (!n_new) n_new = fields.whole("max_tokens", least, kMost);
  const std::size_t n_prompt = longest_prompt(request);
  const std::size_t n_left = served.context_tokens - std::min(served.context_tokens, n_prompt);
  request.n_new = n_new.value_or(chats ? std::clamp<std::size_t>(n_left, 1, kMostChatTokens)
                                       : kCompletionTokens);
  check_length(n_prompt, request.n_new, served, chats ? "messages" : "prompt");
}

std::optional<std::string> read_name(const Fields& fields) {
  constexpr const char* kField = "name";
  const json* const name = fields.find(kField);
  if (name == nullptr) return std::nullopt;
  if (!name->is_string() || name->get_ref<const std::string&>().size() > kMostNameBytes) {
    refuse(kField, fmt::format("a text of {} bytes at most", kMostNameBytes), *name);
  }
  return name->get<std::string>();
}

}  // namespace

std::string error_json(unsigned status, std::string_view message, std::string_view field,
                       std::string_view code) {
  std::string_view type = "invalid_request_error";
  if (status == 401) type = "authentication_error";
  if (status == 429) type = "rate_limit_error";
  if (status >= 500) type = "server_error";
  const auto or_null = [](std::string_view text) { return text.empty() ? json() : json(text); };
  const json error = {
      {"message", message}, {"type", type}, {"param", or_null(field)}, {"code", or_null(code)}};
  return json({{"error", error}}).dump(-1, ' ', false, json::error_handler_t::replace);
}

CompletionRequest read_completion(Endpoint endpoint, std::string body, const ServedModel& served,
                                  std::uint64_t seed) {
  json object = parse_object(std::move(body));
  const Fields fields(object);
  check_model(fields, served);
  check_unsupported(fields);
  CompletionRequest request;
  request.endpoint = endpoint;
  request.n = fields.whole("n", 1, kMostTexts).value_or(1);
  request.sampler.temperature = fields.real("temperature", 0, kMostTemperature, 1);
  request.sampler.top_p = fields.real("top_p", 0, 1, 1);
  request.sampler.presence = fields.real("presence_penalty", -kMostPenalty, kMostPenalty, 0);
  request.sampler.frequency = fields.real("frequency_penalty", -kMostPenalty, kMostPenalty, 0);
  request.sampler.decay = 1;
  request.sampler.seed = read_seed(fields, seed);
  request.sampler.bias = read_bias(fields, served);
  // A banned token is never drawn, whatever its bias.
  if (fields.flag("ignore_eos")) request.sampler.banned = {served.end_token};
  request.stop_strings = read_stops(fields);
  read_logprobs(fields, request);
  read_stream(fields, served, request);
  request.initial_state = read_initial_state(fields, served);
  const json* const context = context_id(fields, served);
  const Before place = context != nullptr ? Before::kContext : Before::kNothing;
  if (context != nullptr && request.initial_state != 0) {
    throw ApiError(400,
                   "longreach: a context was read after the server's own initial state: expected "
                   "no state beside it",
                   "longreach");
  }
  if (endpoint == Endpoint::kChat) {
    request.prompts = one_prompt(read_messages(std::move(object["messages"]), served, place));
    const auto& stops = served.chat.stops;
    request.stop_strings.insert(request.stop_strings.end(), stops.begin(), stops.end());
  } else {
    request.prompts = read_prompts(std::move(object["prompt"]), served, place);
  }
  for (const auto& prompt : request.prompts) {
    if (prompt.empty())
      throw ApiError(400, "prompt: is empty, expected one token at least", "prompt");
  }
  if (request.n_texts() > served.max_texts) {
    throw ApiError(
        400,
        fmt::format("{} prompts with n {}: expected {} texts at most, found {}",
                    request.prompts.size(), request.n, served.max_texts, request.n_texts()),
        "prompt");
  }
  const std::vector<TokenId> before = context != nullptr
                                          ? served.contexts->tokens(context->get<std::string>())
                                          : std::vector<TokenId>();
  check_memory(request, before.size());
  for (auto& prompt : request.prompts) prompt.insert(prompt.begin(), before.begin(), before.end());
  read_length(fields, served, request);
  check_answer_size(request);
  return request;
}

std::vector<generation::Request> requests_of(const CompletionRequest& request) {
  std::vector<generation::Request> requests;
  for (const auto& prompt : request.prompts) {
    for (std::size_t i = 0; i < request.n; ++i) {
      generation::Request& each = requests.emplace_back();
      each.prompt = prompt;
      each.n_new = request.n_new;
      each.sampler = request.sampler;
      each.sampler.seed += i;
      each.stop_strings = request.stop_strings;
      each.n_top_logprobs = request.n_top_logprobs;
      each.wants_evidence = request.with_evidence;
      each.deadline_seconds = request.deadline_seconds;
      each.initial_state = request.initial_state;
      if (request.echo && request.n_top_logprobs && prompt.size() > 1) {
        each.prompt_logprobs_from = 1;
      }
    }
  }
  return requests;
}

ContextText read_context(std::string body, const ServedModel& served) {
  json object = parse_object(std::move(body));
  const Fields fields(object);
  const char* const field = fields.find("prompt") != nullptr ? "prompt" : "text";
  ContextText context{{}, read_name(fields).value_or("")};
  json& text = object[field];
  if (text.is_string()) {
    context.tokens = with_bos(encode(text.get_ref<const std::string&>(), field, served), served);
  } else if (is_list(text)) {
    context.tokens = token_ids(text, field, served);
  } else {
    refuse(field, "a text or a list of token ids", text);
  }
  if (context.tokens.empty()) {
    throw ApiError(400, fmt::format("{}: is empty, expected one token at least", field), field);
  }
  check_length(context.tokens.size(), 1, served, field);
  return context;
}

ContextChange read_context_change(std::string body) {
  const json object = parse_object(std::move(body));
  const Fields fields(object);
  ContextChange change{read_name(fields)};
  if (fields.find("pinned") != nullptr) change.is_pinned = fields.flag("pinned");
  if (!change.name && !change.is_pinned) {
    throw ApiError(400, "expected name, pinned, or both: what is to be different");
  }
  return change;
}

std::vector<TokenId> read_tokenize(std::string body, const ServedModel& served) {
  const json object = parse_object(std::move(body));
  const Fields fields(object);
  const char* const field = fields.find("content") != nullptr ? "content" : "prompt";
  const json* const text = fields.find(field);
  if (text == nullptr || !text->is_string()) {
    refuse(field, "a text", text == nullptr ? json() : *text);
  }
  return encode_prompt(text->get_ref<const std::string&>(), field, served);
}

std::string decoded_text(std::span<const TokenId> tokens, const ServedModel& served) {
  generation::TextStream stream;
  std::string text;
  for (const TokenId id : tokens) {
    if (const auto bytes = served.tokenizer.find(id)) {
      text += stream.push(*bytes);
    } else if (id == served.end_token) {
      text += stream.push(kEndTokenText);
    }
  }
  return text + stream.flush();
}

std::string read_detokenize(std::string body, const ServedModel& served) {
  const json object = parse_object(std::move(body));
  const json* const list = Fields(object).find("tokens");
  if (list == nullptr || !is_list(*list)) {
    refuse("tokens", "a list of token ids", list == nullptr ? json() : *list);
  }
  return decoded_text(token_ids(*list, "tokens", served), served);
}

}  // namespace longreach::serve
