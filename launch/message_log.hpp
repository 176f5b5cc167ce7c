/// Logs on standard error.
#pragma once

#include <memory>
#include <string>

namespace spdlog {
class logger;
}

namespace longreach::launch {

/// A log whose lines are written as messages are: one that cannot be is lost. For one thread.
std::shared_ptr<spdlog::logger> message_log(const std::string& name);

}  // namespace longreach::launch
