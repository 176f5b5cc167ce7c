/// What is wrong with a request, or with the server, as an answer over HTTP.
#pragma once

#include "serve/http_server.hpp"
#include "serve/openai_request.hpp"

#include <exception>
#include <functional>
#include <new>
#include <optional>

namespace longreach::serve {

inline HttpAnswer answer_of(const ApiError& error) {
  return {error.status(),
          "application/json",
          error_json(error.status(), error.what(), error.field(), error.code()),
          {}};
}

/// Does something for a client. Returns what went wrong, if anything did: the server lives on.
inline std::optional<HttpAnswer> failure_of(const std::function<void()>& action) {
  try {
    action();
    return std::nullopt;
  } catch (const ApiError& error) {
    return answer_of(error);
  } catch (const std::bad_alloc&) {
    return answer_of(ApiError(500, "the server has not enough memory for this request"));
  } catch (const std::exception& error) {
    return answer_of(ApiError(500, error.what()));
  }
}

}  // namespace longreach::serve
