/// The engine: a model ready to read tokens, and sessions that remember what they have read.
/// Everything above (evaluation, the program) talks to the model through this.
#pragma once

#include "kernels/base/types.hpp"
#include "model/checkpoint.hpp"
#include "model/config.hpp"
#include "model/forward.hpp"

#include <cstddef>
#include <functional>
#include <memory>
#include <span>

namespace longreach::dist {

/// What the user may choose about a run.
struct EngineOptions {
  model::AttentionConfig attention;  ///< Mode, chunk size, top-k, eviction.
  /// kBf16 is exact for bf16 files, kInt8 and kInt4 cost some accuracy.
  base::WeightFormat weights = base::WeightFormat::kF32;
  std::size_t n_threads = 1;
};

/// Receives the logits (vocabulary) of one position, positions ascending.
using LogitsSink = std::function<void(std::size_t position, std::span<const float> logits)>;

using model::Progress;

/// One sequence: how many tokens it has read and the state they left. Move-only.
struct Session {
  model::SequenceState state;
  std::size_t n_tokens = 0;
};

/// A loaded model. Neither copied nor moved; one call at a time.
class Engine {
 public:
  /// Checks the checkpoint's checksums and loads the weights. The checkpoint must outlive the
  /// engine. Errors: InputError naming file and tensor; std::bad_alloc.
  Engine(const model::Checkpoint& checkpoint, const model::ModelConfig& config,
         const EngineOptions& options);
  Engine(const Engine&) = delete;
  Engine& operator=(const Engine&) = delete;

  Session new_session() const;

  /// Reads `tokens` as one call; a call of no tokens does nothing. `wanted` are the absolute
  /// positions whose logits go to `sink`, ascending; no others are computed. In modes moba and full
  /// the logits do not depend on how tokens are split into calls, bit for bit; in mode reference a
  /// call is what the released package calls one, and is held in memory as a whole. Returns false
  /// when `progress` stopped it; the session is then of no further use. Errors: InputError for a
  /// token id outside the vocabulary, before anything is read.
  bool feed(Session& session, std::span<const base::TokenId> tokens,
            std::span<const std::size_t> wanted, const LogitsSink& sink,
            const Progress& progress = {});

  /// Bytes of weights, state and cache that decoding one more token of the session reads or writes.
  std::size_t bytes_per_token(const Session& session) const;

 private:
  void check_tokens(std::span<const base::TokenId> tokens) const;
  /// Sends the logits of those wanted positions that lie in x, whose first row is `position`.
  void send_logits(base::MatView<const float> x, std::size_t position,
                   std::span<const std::size_t> wanted, const LogitsSink& sink);

  const model::Checkpoint& checkpoint_;
  model::ModelConfig config_;
  model::AttentionConfig attention_;
  kernels::ThreadPool pool_;
  model::Weights weights_;
  model::Workspace workspace_;
  model::Context context_;
};

}  // namespace longreach::dist
