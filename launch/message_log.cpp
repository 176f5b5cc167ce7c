#include "launch/message_log.hpp"

#include "kernels/base/write_all.hpp"

#include <spdlog/details/null_mutex.h>
#include <spdlog/logger.h>
#include <spdlog/sinks/base_sink.h>

namespace longreach::launch {
namespace {

/// Standard error as messages are written there.
class MessageSink final : public spdlog::sinks::base_sink<spdlog::details::null_mutex> {
  void sink_it_(const spdlog::details::log_msg& message) override {
    spdlog::memory_buf_t line;
    formatter_->format(message, line);
    base::write_message({line.data(), line.size()});
  }
  void flush_() override {}
};

}  // namespace

std::shared_ptr<spdlog::logger> message_log(const std::string& name) {
  return std::make_shared<spdlog::logger>(name, std::make_shared<MessageSink>());
}

}  // namespace longreach::launch
