/// The paths about contexts, an extension of the OpenAI interface:
///
///   GET    /v1/contexts      all of them
///   POST   /v1/contexts      {"text" or "prompt", "name"}: reads a text in the background
///   GET    /v1/contexts/ID   one of them
///   POST   /v1/contexts/ID   {"name"}: renames it
///   DELETE /v1/contexts/ID   forgets it
///
/// A request for a completion that has {"longreach": {"context": ID}} goes on after that text.
#pragma once

#include "serve/context_library.hpp"
#include "serve/http_server.hpp"
#include "serve/openai_request.hpp"
#include "serve/service.hpp"

#include <functional>
#include <memory>
#include <string>
#include <string_view>

namespace longreach::serve {

class ContextApi {
 public:
  static constexpr std::string_view kPath = "/v1/contexts";

  /// All must outlive it. Without a library every request is refused.
  ContextApi(const ServedModel& served, ContextLibrary* library, Service& service,
             HttpServer& server)
      : served_(served), library_(library), service_(service), server_(server) {}

  /// Whether a path is one of these.
  static bool has(std::string_view path) {
    return path.starts_with(kPath) && (path.size() == kPath.size() || path[kPath.size()] == '/');
  }
  /// On the thread of connections.
  void handle(HttpRequest request, const std::shared_ptr<HttpReply>& reply);

 private:
  using Answer = std::function<std::string(ContextLibrary& library)>;

  /// Lets the thread of the loop find a body, and sends it; ApiErrors become answers.
  void answer_later(const std::shared_ptr<HttpReply>& reply, Answer answer);
  void add(HttpRequest request, const std::shared_ptr<HttpReply>& reply);

  const ServedModel& served_;
  ContextLibrary* library_;
  Service& service_;
  HttpServer& server_;
};

}  // namespace longreach::serve
