/// The options of attention: the one list of their names, bounds, help and place in results. The
/// command line, the settings of results, JSON and the comparison of ranks are visitors of it.
#pragma once

#include "eval/settings.hpp"
#include "kernels/base/types.hpp"
#include "model/schema/config.hpp"

#include <cstddef>
#include <string>
#include <variant>

namespace longreach::launch {

// Bounds that keep products of sizes far from overflow.
constexpr std::size_t kMaxTokens = std::size_t{1} << 32;
constexpr std::size_t kMaxChunk = std::size_t{1} << 30;

/// What an option decides, and so where it is listed.
enum class AttentionPart {
  kMode,
  kChunks,    ///< Their size, and how many a query sees.
  kEviction,  ///< Of mode reference alone.
  kCache,     ///< How keys and values are kept.
  kExchange,  ///< Between the shards of a stage; changes no result.
};

struct AttentionOption {
  AttentionPart part;
  const char* name;   ///< On the command line: "--chunk-size".
  const char* group;  ///< Of the help.
  const char* help;

  /// In results and JSON: "chunk_size".
  std::string key() const;
};

/// Calls for each option, with its value in `config`:
///   visitor.count(option, value, least, most) for a whole number,
///   visitor.choice(option, value, choices) for an enumerator, whose texts name_of gives,
///   visitor.flag(option, value) for a bool.
/// `Config` is model::AttentionConfig, const for visitors that only read.
template <typename Config, typename Visitor>
void visit_attention_options(Config& config, Visitor&& visitor) {
  using enum AttentionPart;
  using model::AttentionMode, model::ExchangeWay, base::KvFormat;
  visitor.choice({kMode, "--attention", "Attention",
                  "which tokens sparse blocks see: as trained, as in the\nreleased package (on one "
                  "rank), all, or none (their channel\nmix stays)"},
                 config.mode,
                 {AttentionMode::kMoba, AttentionMode::kReference, AttentionMode::kFull,
                  AttentionMode::kNone});
  visitor.count({kChunks, "--chunk-size", "Attention",
                 "tokens of a chunk; default: config.json's, else 2048"},
                config.chunk_size, 1, kMaxChunk);
  visitor.count(
      {kChunks, "--top-k", "Attention", "chunks a query sees; default: config.json's, else 3"},
      config.top_k, 1, kMaxChunk);
  visitor.count(
      {kEviction, "--kv-max", "Attention", "reference mode: evict above so many tokens; 0: never"},
      config.kv_max, 0, kMaxTokens);
  visitor.count({kEviction, "--kv-min", "Attention", "reference mode: tokens left after eviction"},
                config.kv_min, 0, kMaxTokens);
  visitor.count(
      {kEviction, "--kv-window", "Attention", "reference mode: newest tokens, never evicted"},
      config.kv_window, 0, kMaxTokens);
  visitor.flag({kEviction, "--decode-full", "Attention",
                "reference mode: calls of one token see the whole cache"},
               config.decode_full);
  visitor.choice({kCache, "--kv", "Running", "how keys and values of the cache are kept"},
                 config.kv, {KvFormat::kF32, KvFormat::kBf16, KvFormat::kInt8});
  visitor.choice({kExchange, "--exchange", "Running",
                  "whether queries go to the shards that keep their chunks, or\nchunks come to the "
                  "queries; auto: what moves fewer bytes"},
                 config.exchange, {ExchangeWay::kShip, ExchangeWay::kGather, ExchangeWay::kAuto});
}

/// What the command line begins with: the defaults, but 0 for what config.json decides.
model::AttentionConfig attention_defaults();

/// What the command line asks for, completed from config.json.
model::AttentionConfig resolve_attention(model::AttentionConfig asked,
                                         const model::AttentionConfig& of_model);

/// Errors: InputError naming --kv-min when it does not exceed the window.
void check_attention(const model::AttentionConfig& attention);

/// The values of a part, by key: enumerators as text, a flag as 0 or 1.
eval::Settings attention_settings(const model::AttentionConfig& attention, AttentionPart part);

/// Adds them to a JSON object.
template <typename Json>
void add_attention(Json& json, const model::AttentionConfig& attention, AttentionPart part) {
  for (const auto& setting : attention_settings(attention, part)) {
    std::visit([&](const auto& value) { json[setting.first] = value; }, setting.second);
  }
}

/// All values in one line, for a message: "attention moba, chunk_size 2048, ...".
std::string attention_text(const model::AttentionConfig& attention);

}  // namespace longreach::launch
