/// What an RWKV-X model is: its sizes, the order of its blocks, and what may be chosen about its
/// attention.
#pragma once

#include "kernels/base/types.hpp"
#include "model/checkpoint/checkpoint.hpp"
#include "partition/memory.hpp"

#include <cstddef>
#include <filesystem>
#include <functional>
#include <map>
#include <optional>
#include <string>
#include <string_view>
#include <vector>

namespace longreach::model {

/// Which rows of the cache a query sees (model-spec, section 4).
enum class AttentionMode {
  kMoba,       ///< As trained: own chunk and, per head, the top-k - 1 best earlier chunks.
  kReference,  ///< As the released package computes it, quirks and eviction included.
  kFull,       ///< Dense causal attention.
  kNone,       ///< None: the attention of sparse blocks adds nothing, to see what it is good for.
};

/// As on the command line: "moba", "reference", "full" or "none".
std::string_view name_of(AttentionMode mode);

/// How queries attend to chunks on other shards (model/cache/distributed_attention.hpp). Never
/// changes a bit of the result.
enum class ExchangeWay {
  kAuto,    ///< Whichever moves fewer bytes, step by step.
  kShip,    ///< Partial results travel.
  kGather,  ///< Keys and values travel, unless they are in reach.
};

/// As on the command line: "auto", "ship" or "gather".
std::string_view name_of(ExchangeWay way);

/// What the checkpoint does not hold. The defaults are the released package's.
struct AttentionConfig {
  AttentionMode mode = AttentionMode::kMoba;
  std::size_t chunk_size = 2048;  ///< Tokens.
  std::size_t top_k = 3;          ///< Chunks, the own one included in mode moba.
  std::size_t kv_max = 20000;     ///< Tokens; reference mode evicts above this; 0 never.
  std::size_t kv_min = 16000;     ///< Tokens left after eviction.
  std::size_t kv_window = 2000;   ///< Newest tokens, never evicted.
  bool decode_full = false;       ///< Reference mode: one-token calls see the whole cache.
  base::KvFormat kv = base::KvFormat::kF32;  ///< How the cache is kept.
  ExchangeWay exchange = ExchangeWay::kAuto;
};

using partition::BlockKind;

/// A block of the checkpoint: `blocks.<index>` or `moba.<index>`.
struct BlockRef {
  BlockKind kind = BlockKind::kRwkv;
  std::size_t index = 0;

  /// The prefix of its tensors' names: "blocks.3" or "moba.0".
  std::string name() const;
  bool operator==(const BlockRef&) const = default;
};

/// Inner sizes of the low-rank factors of one RWKV block (w1, a1, v1, g1 are (n_embd, rank)).
struct LowRanks {
  std::size_t w = 0, a = 0, v = 0, g = 0;
};

/// Sizes read from a checkpoint, completed by the config.json beside it.
struct ModelConfig {
  std::size_t vocab_size = 0;
  std::size_t n_embd = 0;           ///< C: channels.
  std::size_t head_size = 64;       ///< N: channels per head, the same in both kinds of blocks.
  std::size_t n_head = 0;           ///< H = C / N.
  std::size_t ffn_size = 0;         ///< Hidden size of the channel mix, 4C in published models.
  std::size_t n_rwkv = 0;           ///< RWKV-7 blocks in the file.
  std::size_t n_sparse = 0;         ///< Sparse-attention blocks in the file.
  std::vector<LowRanks> low_ranks;  ///< One per RWKV block of the file.
  /// Of linear layers of blocks that the file has as two factors (schema/tensors.hpp), by the name
  /// that the whole matrix would have.
  std::map<std::string, std::size_t, std::less<>> factor_ranks;
  base::DType dtype = base::DType::kF32;  ///< How the file stores its matrices.
  AttentionConfig
      attention;          ///< Defaults, with chunk size and top-k of config.json if it names them.
  std::string tokenizer;  ///< "bytes", or the path of a vocabulary file; empty: unknown.
  base::TokenId end_token = 0;  ///< Ends a text.

  /// The executed blocks in order: before sparse block j come n_rwkv / n_sparse RWKV blocks; the
  /// n_rwkv % n_sparse left over are in the file but never executed (model-spec, section 1).
  std::vector<BlockRef> execution_order() const;
};

/// Where the checkpoint's config.json is, if it has one.
std::filesystem::path config_path(const Checkpoint& checkpoint);

/// Reads sizes from the tensors' shapes, then what the preset says, or config.json beside the
/// checkpoint if there is one.
/// Errors: InputError for missing or misshapen tensors, and for a config.json that contradicts
/// them.
ModelConfig read_config(const Checkpoint& checkpoint);

/// Completes a config by what the folder of a checkpoint says: its config.json, if there is one,
/// and its only vocabulary. Errors: as above, for a config.json.
void complete_config(const std::filesystem::path& folder, ModelConfig& config);

}  // namespace longreach::model
