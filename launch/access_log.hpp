/// What the server logs of each request.
#pragma once

#include "serve/http_server.hpp"

#include <functional>

namespace longreach::launch {

/// Writes a line for each request to standard error: the time, then name=value pairs. What comes
/// from a client is quoted as JSON, so a line stays one. For one thread.
std::function<void(const serve::AccessRecord&)> access_log();

}  // namespace longreach::launch
