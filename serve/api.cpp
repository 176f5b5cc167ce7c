#include "serve/api.hpp"

#include "kernels/base/seconds.hpp"
#include "kernels/base/sha256.hpp"
#include "serve/error_answer.hpp"
#include "serve/openai_response.hpp"
#include "serve/page.hpp"

#include <fmt/format.h>
#include <fmt/ranges.h>
#include <nlohmann/json.hpp>
#include <openssl/crypto.h>

#include <algorithm>
#include <chrono>
#include <ctime>
#include <span>
#include <utility>

namespace longreach::serve {
namespace {

using generation::Event;
using nlohmann::json;
using Clock = std::chrono::steady_clock;

constexpr std::string_view kModelPath = "/v1/models/";
/// The page is one file, and speaks to this server alone.
constexpr std::string_view kPagePolicy =
    "default-src 'none'; script-src 'unsafe-inline'; style-src 'unsafe-inline'; connect-src "
    "'self'; "
    "img-src data:; base-uri 'none'; form-action 'none'; frame-ancestors 'none'";
/// A line that readers of server-sent events pass over.
constexpr const char* kFiller = ": reading\n\n";

HttpAnswer busy_answer(unsigned status, std::string_view message, std::string_view code) {
  return {
      status, "application/json", error_json(status, message, {}, code), {{"Retry-After", "1"}}};
}

HttpAnswer json_answer(std::string body) { return {200, "application/json", std::move(body), {}}; }

/// Keys are compared by digests, which are all of one length.
std::string digest_of(std::string_view key) {
  base::Sha256 hash;
  hash.update(std::as_bytes(std::span(key)));
  return hash.hex_digest();
}

std::uint64_t random_number(std::random_device& device) {
  return std::uint64_t{device()} << 32 | device();
}

/// The answer to one completion request, on the thread of connections.
class Completion {
 public:
  Completion(CompletionRequest request, const ServedModel& served, std::string id,
             std::shared_ptr<HttpReply> reply, Metrics& metrics)
      : texts_(request.n_texts()),
        response_(std::move(request), served, std::move(id), std::time(nullptr)),
        reply_(std::move(reply)),
        metrics_(metrics) {}

  void take(std::size_t index, const Event& event, Clock::time_point now) {
    measure(texts_[index], event, now);
    const double seconds = std::chrono::duration<double>(now - start_).count();
    std::string data = response_.take(index, event, seconds);
    const bool has_ended = std::holds_alternative<generation::Finished>(event);
    if (has_ended) count(index, std::get<generation::Finished>(event));
    const bool is_last = has_ended && response_.is_complete();
    if (is_last) note();
    if (response_.streams()) {
      reply_->write(data);
      if (is_last) reply_->end();
    } else if (is_last) {
      reply_->send(
          response_.failure()
              ? HttpAnswer{400, "application/json", error_json(400, *response_.failure()), {}}
              : json_answer(std::move(data)));
    }
  }

 private:
  struct Timing {
    std::optional<Clock::time_point> begun, first, last;
    std::size_t n_prompt = 0, n_cached = 0, n_generated = 0;
  };

  static double between(Clock::time_point from, Clock::time_point to) {
    return std::chrono::duration<double>(to - from).count();
  }

  void measure(Timing& text, const Event& event, Clock::time_point now) {
    if (!text.begun && !std::holds_alternative<generation::Finished>(event)) {
      text.begun = now;
      metrics_.waited(between(start_, now));
    }
    if (const auto* const progress = std::get_if<generation::PromptProgress>(&event)) {
      text.n_prompt = progress->n_read;
      text.n_cached = progress->n_shared;
    }
    if (!std::holds_alternative<generation::NewToken>(event)) return;
    ++text.n_generated;
    if (!text.first) {
      text.first = now;
      metrics_.first_token(between(start_, now));
      metrics_.read_prompt(between(*text.begun, now));
      if (!first_token_) first_token_ = now;
    } else {
      metrics_.next_token(between(*text.last, now));
    }
    text.last = now;
  }

  void count(std::size_t index, const generation::Finished& finished) {
    const Timing& text = texts_[index];
    if (text.first) metrics_.decoded(between(*text.first, *text.last));
    metrics_.ended(
        {generation::name_of(finished.reason), text.n_prompt, text.n_cached, text.n_generated});
  }

  void note() {
    const CompletionResponse::Usage& usage = response_.usage();
    reply_->note("prompt_tokens", static_cast<double>(usage.n_prompt));
    reply_->note("cached_tokens", static_cast<double>(usage.n_cached));
    reply_->note("completion_tokens", static_cast<double>(usage.n_generated));
    if (first_token_) reply_->note("first_token_seconds", between(start_, *first_token_));
  }

  Clock::time_point start_ = Clock::now();
  std::optional<Clock::time_point> first_token_;
  std::vector<Timing> texts_;
  CompletionResponse response_;
  std::shared_ptr<HttpReply> reply_;
  Metrics& metrics_;
};

}  // namespace

Api::Api(const ServedModel& served, Service& service, ContextLibrary* library, Metrics& metrics,
         HttpServer& server, const ApiOptions& options)
    : served_(served),
      service_(service),
      library_(library),
      metrics_(metrics),
      server_(server),
      contexts_(served, library, service, server),
      version_(options.version),
      created_(std::time(nullptr)) {
  for (const std::string& key : options.keys) key_digests_.push_back(digest_of(key));
}

HttpHandlers Api::handlers(std::function<void(const AccessRecord&)> log) {
  return {.admit = [this](const HttpRequest& request) { return admit(request); },
          .handle = [this](HttpRequest request,
                           const ReplyPointer& reply) { handle(std::move(request), reply); },
          .error_body = [](unsigned status,
                           std::string_view message) { return error_json(status, message); },
          .log =
              [this, log = std::move(log)](const AccessRecord& record) {
                metrics_.answered(record.status);
                log(record);
              }};
}

std::optional<HttpAnswer> Api::admit(const HttpRequest& request) const {
  // The page asks for the key.
  if (key_digests_.empty() || request.path == "/health" || request.path == "/") return std::nullopt;
  constexpr std::string_view kScheme = "Bearer ";
  const std::string_view field = request.authorization;
  const std::string given =
      digest_of(field.starts_with(kScheme) ? field.substr(kScheme.size()) : std::string_view());
  bool fits = false;
  for (const std::string& key : key_digests_) {
    fits |= CRYPTO_memcmp(key.data(), given.data(), key.size()) == 0;
  }
  if (fits) return std::nullopt;
  return HttpAnswer{401,
                    "application/json",
                    error_json(401,
                               "the API key is missing or wrong: expected the header "
                               "Authorization: Bearer KEY",
                               {}, "invalid_api_key"),
                    {{"WWW-Authenticate", "Bearer"}}};
}

void Api::handle(HttpRequest request, const ReplyPointer& reply) {
  struct Route {
    std::string_view method, path;
    std::function<void()> run;
  };
  const auto send = [&reply](std::string body) { reply->send(json_answer(std::move(body))); };
  const std::string path = request.path;
  const std::string model_path = fmt::format("{}{}", kModelPath, served_.name);
  const Route routes[] = {
      {"GET", "/",
       [&] {
         reply->send({200,
                      "text/html; charset=utf-8",
                      std::string(kPage),
                      {{"Content-Security-Policy", std::string(kPagePolicy)}}});
       }},
      {"GET", "/health", [&] { send(R"({"status":"ok"})"); }},
      {"GET", "/metrics",
       [&] {
         const std::size_t n_running = service_.n_running(), n_open = service_.n_open();
         std::optional<ContextUsage> contexts;
         if (library_ != nullptr) contexts = library_->usage();
         reply->send({200,
                      "text/plain; version=0.0.4",
                      metrics_.text({n_running, n_open - std::min(n_open, n_running),
                                     service_.running_bytes(), service_.prefix_bytes(),
                                     service_.busy_shares(), contexts},
                                    version_, served_.name),
                      {}});
       }},
      {"GET", "/v1/models", [&] { send(models()); }},
      {"GET", model_path, [&] { send(model()); }},
      {"GET", "/tokenizer_info", [&] { send(tokenizer_info()); }},
      {"POST", "/tokenize", [&] { answer_later(std::move(request), reply, &Api::tokenize); }},
      {"POST", "/detokenize", [&] { answer_later(std::move(request), reply, &Api::detokenize); }},
      {"POST", "/v1/completions",
       [&] { complete(Endpoint::kCompletions, std::move(request), reply); }},
      {"POST", "/v1/chat/completions",
       [&] { complete(Endpoint::kChat, std::move(request), reply); }},
  };
  // Metrics are read while the last answers are written.
  if (service_.draining() && path != "/metrics") {
    return reply->send(busy_answer(503, "the server is shutting down", "shutting_down"));
  }
  if (ContextApi::has(path)) return contexts_.handle(std::move(request), reply);
  for (const Route& route : routes) {
    if (route.path != path) continue;
    const bool is_head = request.method == "HEAD" && route.method == "GET";
    if (request.method == route.method || is_head) return route.run();
    return reply->send({405,
                        "application/json",
                        error_json(405, fmt::format("{}: expected {}", path, route.method)),
                        {{"Allow", std::string(route.method)}}});
  }
  if (path.starts_with(kModelPath)) {
    return reply->send(
        answer_of(ApiError{404, "the model does not exist", "model", "model_not_found"}));
  }
  reply->send(answer_of(ApiError{404, "nothing is found at this path"}));
}

void Api::answer_later(HttpRequest request, const ReplyPointer& reply,
                       std::string (Api::*answer)(std::string body) const) {
  server_.post_work([this, request = std::move(request), reply, answer]() mutable {
    HttpAnswer result;
    const auto make = [&] { result = json_answer((this->*answer)(std::move(request.body))); };
    if (auto failure = failure_of(make)) result = *std::move(failure);
    server_.post([reply, result = std::move(result)]() mutable { reply->send(std::move(result)); });
  });
}

void Api::complete(Endpoint endpoint, HttpRequest request, const ReplyPointer& reply) {
  const std::uint64_t seed = random_number(random_);
  server_.post_work([this, endpoint, request = std::move(request), reply, seed]() mutable {
    const auto failure = failure_of([&] {
      auto read = std::make_shared<CompletionRequest>(
          read_completion(endpoint, std::move(request.body), served_, seed));
      server_.post([this, read, reply] { begin(std::move(*read), reply); });
    });
    if (failure) server_.post([reply, failure] { reply->send(*failure); });
  });
}

void Api::begin(CompletionRequest request, const ReplyPointer& reply) {
  const bool streams = request.streams;
  std::vector<generation::Request> requests = requests_of(request);
  const std::string id =
      fmt::format("{}-{:016x}", request.endpoint == Endpoint::kChat ? "chatcmpl" : "cmpl",
                  random_number(random_));
  const auto completion =
      std::make_shared<Completion>(std::move(request), served_, id, reply, metrics_);
  const auto job = service_.submit(
      std::move(requests), [this, completion](std::size_t index, const Event& event) {
        const Clock::time_point now = Clock::now();
        server_.post([completion, index, event, now] { completion->take(index, event, now); });
      });
  if (!job) {
    return reply->send(
        service_.draining()
            ? busy_answer(503, "the server is shutting down", "shutting_down")
            : busy_answer(429, "too many requests are waiting", "rate_limit_exceeded"));
  }
  if (streams) reply->begin_stream("text/event-stream", kFiller);
  reply->on_gone([this, job] { service_.cancel(*job); });
}

std::string Api::models() const {
  return fmt::format("{{\"object\":\"list\",\"data\":[{}]}}", model());
}

std::string Api::model() const {
  return json({{"id", served_.name},
               {"object", "model"},
               {"created", created_},
               {"owned_by", "longreach"},
               {"max_model_len", served_.context_tokens}})
      .dump();
}

std::string Api::tokenizer_info() const {
  return json({{"eos_token", kEndTokenText},
               {"eos_token_id", served_.end_token},
               {"bos_token", kEndTokenText},
               {"bos_token_id", served_.end_token},
               {"pad_token", kEndTokenText},
               {"pad_token_id", served_.end_token},
               {"vocab_size", served_.vocab_size},
               {"model_max_length", served_.context_tokens},
               {"chat_template", served_.chat.jinja()}})
      .dump();
}

std::string Api::tokenize(std::string body) const {
  const auto tokens = read_tokenize(std::move(body), served_);
  return fmt::format("{{\"count\":{},\"max_model_len\":{},\"tokens\":[{}]}}", tokens.size(),
                     served_.context_tokens, fmt::join(tokens, ","));
}

std::string Api::detokenize(std::string body) const {
  const std::string text = json(read_detokenize(std::move(body), served_)).dump();
  return fmt::format("{{\"content\":{0},\"prompt\":{0}}}", text);
}

}  // namespace longreach::serve
