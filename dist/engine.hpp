/// The engine: a model ready to read tokens, and sessions that remember what they have read.
/// Everything above (evaluation, the program) talks to the model through this.
#pragma once

#include <cstddef>
#include <functional>
#include <memory>
#include <span>

#include "kernels/base/types.hpp"
#include "model/checkpoint.hpp"
#include "model/config.hpp"

namespace longreach::dist {

/// How weights are kept in memory. bf16 is exact for bf16 checkpoints and halves the bytes read per token.
enum class WeightFormat { kF32, kBf16 };

/// What the user may choose about a run.
struct EngineOptions {
  model::AttentionConfig attention;          ///< Mode, chunk size, top-k, eviction.
  WeightFormat weights = WeightFormat::kF32;
  std::size_t n_threads = 1;
};

/// Receives the logits (vocabulary) of one position, in order of positions.
using LogitsSink = std::function<void(std::size_t position, std::span<const float> logits)>;

/// Told from time to time which share of a call is done, 0..1. Returns false to stop the call.
using Progress = std::function<bool(double share_done)>;

/// One sequence: how many tokens it has read and the state they left. Move-only.
class Session;

class Engine {
 public:
  /// Loads the weights (checksums are verified). Errors: InputError, naming file and tensor.
  Engine(const model::Checkpoint& checkpoint, const model::ModelConfig& config, const EngineOptions& options);
  ~Engine();

  Session new_session() const;

  /// Reads `tokens` as one call; a call of no tokens does nothing. `wanted` are the absolute positions
  /// whose logits go to `sink`, ascending; others inside the call are not computed.
  /// In modes moba and full the logits do not depend on how tokens are split into calls, bit for bit.
  /// Returns false when `progress` stopped it; the session is then of no further use.
  /// Errors: InputError for a token id outside the vocabulary, before anything is read.
  bool feed(Session& session, std::span<const base::TokenId> tokens, std::span<const std::size_t> wanted,
            const LogitsSink& sink, const Progress& progress = {}) const;

  /// Bytes of weights, state and cache that decoding one more token of the session reads.
  std::size_t bytes_per_token(const Session& session) const;
};

}  // namespace longreach::dist
