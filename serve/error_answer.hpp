/// What is wrong with a request, as an answer over HTTP.
#pragma once

#include "serve/http_server.hpp"
#include "serve/openai_request.hpp"

namespace longreach::serve {

inline HttpAnswer answer_of(const ApiError& error) {
  return {error.status(),
          "application/json",
          error_json(error.status(), error.what(), error.field(), error.code()),
          {}};
}

}  // namespace longreach::serve
