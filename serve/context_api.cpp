#include "serve/context_api.hpp"

#include "serve/error_answer.hpp"

#include <fmt/format.h>
#include <nlohmann/json.hpp>

#include <utility>

namespace longreach::serve {
namespace {

using Json = nlohmann::ordered_json;

Json json_of(const ContextInfo& info) {
  return {{"id", info.id},
          {"object", "context"},
          {"created", info.created},
          {"name", info.name},
          {"status", name_of(info.status)},
          {"pinned", info.is_pinned},
          {"tokens", info.n_tokens},
          {"tokens_read", info.n_read},
          {"tokens_saved", info.n_saved},
          {"bytes", info.n_bytes},
          {"seconds_left", info.seconds_left ? Json(*info.seconds_left) : Json()},
          {"error", info.error.empty() ? Json() : Json(info.error)}};
}

std::string text_of(const Json& json) {
  return json.dump(-1, ' ', false, Json::error_handler_t::replace);
}

std::string text_of(const ContextInfo& info) { return text_of(json_of(info)); }

std::string text_of(const std::vector<ContextInfo>& infos) {
  Json list = Json::array();
  for (const ContextInfo& info : infos) list.push_back(json_of(info));
  return text_of(Json{{"object", "list"}, {"data", std::move(list)}});
}

}  // namespace

std::string_view name_of(ContextStatus status) {
  switch (status) {
    case ContextStatus::kWaiting:
      return "waiting";
    case ContextStatus::kReading:
      return "reading";
    case ContextStatus::kReady:
      return "ready";
    case ContextStatus::kFailed:
      return "failed";
  }
  return "?";
}

void ContextApi::handle(HttpRequest request, const std::shared_ptr<HttpReply>& reply) {
  if (library_ == nullptr) {
    return reply->send(answer_of(ApiError(
        404, "this server keeps no contexts, as it was started without a folder for them")));
  }
  const std::string& method = request.method;
  const auto refuse_method = [&](std::string_view expected) {
    HttpAnswer answer =
        answer_of(ApiError(405, fmt::format("{}: expected {}", request.path, expected)));
    answer.fields.emplace_back("Allow", expected);
    reply->send(std::move(answer));
  };
  if (request.path.size() <= kPath.size() + 1) {
    if (method == "POST") return add(std::move(request), reply);
    if (method != "GET" && method != "HEAD") return refuse_method("GET, POST");
    return answer_later(reply, [](ContextLibrary& library) { return text_of(library.list()); });
  }
  const std::string id = request.path.substr(kPath.size() + 1);
  if (method == "GET" || method == "HEAD") {
    return answer_later(reply, [id](ContextLibrary& library) { return text_of(library.find(id)); });
  }
  if (method == "DELETE") {
    return answer_later(reply, [id](ContextLibrary& library) {
      library.remove(id);
      return text_of(Json{{"id", id}, {"object", "context"}, {"deleted", true}});
    });
  }
  if (method != "POST") return refuse_method("GET, POST, DELETE");
  answer_later(reply, [id, body = std::move(request.body)](ContextLibrary& library) {
    return text_of(library.change(id, read_context_change(body)));
  });
}

void ContextApi::answer_later(const std::shared_ptr<HttpReply>& reply, Answer answer) {
  service_.post([this, reply, answer = std::move(answer)] {
    HttpAnswer result;
    if (auto failure = failure_of([&] { result.body = answer(*library_); })) {
      result = *std::move(failure);
    }
    server_.post([reply, result = std::move(result)]() mutable { reply->send(std::move(result)); });
  });
}

void ContextApi::add(HttpRequest request, const std::shared_ptr<HttpReply>& reply) {
  server_.post_work([this, request = std::move(request), reply]() mutable {
    const auto failure = failure_of([&] {
      auto text = std::make_shared<ContextText>(read_context(std::move(request.body), served_));
      answer_later(reply, [text](ContextLibrary& library) {
        return text_of(library.add(std::move(text->tokens), text->name));
      });
    });
    if (failure) server_.post([reply, failure] { reply->send(*failure); });
  });
}

}  // namespace longreach::serve
