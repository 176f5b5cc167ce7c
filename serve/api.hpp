/// Which path does what: the OpenAI interface over HTTP.
#pragma once

#include "serve/context_api.hpp"
#include "serve/http_server.hpp"
#include "serve/metrics.hpp"
#include "serve/openai_request.hpp"
#include "serve/service.hpp"

#include <cstdint>
#include <functional>
#include <memory>
#include <optional>
#include <random>
#include <string>
#include <string_view>
#include <vector>

namespace longreach::serve {

struct ApiOptions {
  std::vector<std::string> keys = {};  ///< One of them opens everything; none: all may.
  std::string version;                 ///< Of the program.
};

/// Answers requests of HTTP by jobs of the service.
class Api {
 public:
  /// The arguments by reference must outlive it, as must the library of contexts, if there is one.
  Api(const ServedModel& served, Service& service, ContextLibrary* library, Metrics& metrics,
      HttpServer& server, const ApiOptions& options);
  Api(const Api&) = delete;
  Api& operator=(const Api&) = delete;

  /// For the server, which must be stopped before this is gone. `log` gets every request.
  HttpHandlers handlers(std::function<void(const AccessRecord&)> log);

 private:
  using ReplyPointer = std::shared_ptr<HttpReply>;

  std::optional<HttpAnswer> admit(const HttpRequest& request) const;
  void handle(HttpRequest request, const ReplyPointer& reply);
  /// Makes an answer of a body where that may take long, and sends it; ApiErrors become answers.
  void answer_later(HttpRequest request, const ReplyPointer& reply,
                    std::string (Api::*answer)(std::string body) const);
  void complete(Endpoint endpoint, HttpRequest request, const ReplyPointer& reply);
  void begin(CompletionRequest request, const ReplyPointer& reply);

  std::string models() const;
  std::string model() const;
  std::string tokenizer_info() const;
  std::string tokenize(std::string body) const;
  std::string detokenize(std::string body) const;

  const ServedModel& served_;
  Service& service_;
  const ContextLibrary* library_;  ///< Null if there is none.
  Metrics& metrics_;
  HttpServer& server_;
  ContextApi contexts_;
  std::vector<std::string> key_digests_;
  std::string version_;
  std::int64_t created_;
  std::random_device random_;
};

}  // namespace longreach::serve
