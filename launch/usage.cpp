#include "launch/usage.hpp"

#include <spdlog/spdlog.h>

#include <string>
#include <vector>

namespace longreach::launch {
namespace {

/// What every rank did with its time, and every block's bytes between shards, all ranks together.
void log_usage_of(const std::vector<dist::RankUsage>& usage) {
  using dist::Activity;
  for (std::size_t r = 0; r < usage.size(); ++r) {
    const auto seconds = [&](Activity activity) {
      return usage[r].seconds[static_cast<std::size_t>(activity)];
    };
    spdlog::info(
        "rank {}: {:.3f} s reading, of which {:.3f} s exchanging; {:.3f} s of logits; waited "
        "{:.3f} s "
        "for steps, {:.3f} s to send, {:.3f} s for logits; sent {} bytes to the next stage, {} "
        "bytes of "
        "logits",
        r, seconds(Activity::kRead), seconds(Activity::kExchange), seconds(Activity::kLogits),
        seconds(Activity::kWaitForStep), seconds(Activity::kWaitToSend),
        seconds(Activity::kWaitForLogits), usage[r].pipeline_bytes, usage[r].logits_bytes);
  }
  if (usage.size() == 1) return;
  for (std::size_t block = 0; block < usage[0].block_bytes.size(); ++block) {
    std::string text;
    for (std::size_t kind = 0; kind < model::kTrafficKinds; ++kind) {
      std::uint64_t bytes = 0;
      for (const dist::RankUsage& rank : usage) bytes += rank.block_bytes[block][kind];
      if (bytes == 0) continue;
      text += fmt::format("{}{} {}", text.empty() ? "" : ", ",
                          name_of(static_cast<model::Traffic>(kind)), bytes);
    }
    if (!text.empty()) spdlog::info("block {}: bytes between shards: {}", block, text);
  }
}

}  // namespace

void write_trace(dist::Engine& engine, const ModelOptions& options) {
  if (options.trace) engine.write_trace(*options.trace);
}

void log_usage(dist::Engine& engine, const ModelOptions& options) {
  if (options.verbosity != Verbosity::kInfo) return;
  const std::vector<dist::RankUsage> usage = engine.usage();
  if (engine.replica() == 0) log_usage_of(usage);
}

}  // namespace longreach::launch
