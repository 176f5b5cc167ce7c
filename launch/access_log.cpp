#include "launch/access_log.hpp"

#include "kernels/base/json.hpp"
#include "launch/message_log.hpp"

#include <fmt/format.h>
#include <nlohmann/json.hpp>
#include <spdlog/logger.h>

#include <cmath>
#include <string>

namespace longreach::launch {
namespace {

std::string line_of(const serve::AccessRecord& record) {
  std::string line = fmt::format("client={} method={} path={} status={} bytes={} seconds={:.6f}",
                                 record.client, base::json_text(base::utf8_name(record.method)),
                                 base::json_text(base::utf8_name(record.path)), record.status,
                                 record.n_bytes, record.seconds);
  for (const auto& [name, value] : record.figures) {
    line += std::floor(value) == value ? fmt::format(" {}={:.0f}", name, value)
                                       : fmt::format(" {}={:.6f}", name, value);
  }
  return line;
}

}  // namespace

std::function<void(const serve::AccessRecord&)> access_log() {
  const auto log = message_log("access");
  log->set_pattern("%Y-%m-%dT%T.%e%z access %v");
  return [log](const serve::AccessRecord& record) { log->info(line_of(record)); };
}

}  // namespace longreach::launch
