/// The engine: a model ready to read tokens, and sessions that remember what they have read.
/// Everything above (evaluation, the program) talks to the model through this.
#pragma once

#include "kernels/base/types.hpp"
#include "model/checkpoint.hpp"
#include "model/config.hpp"
#include "model/forward.hpp"

#include <cstddef>
#include <cstdint>
#include <functional>
#include <memory>
#include <span>

namespace longreach::dist {

/// What the user may choose about a run.
struct EngineOptions {
  model::AttentionConfig attention;  ///< Mode, chunk size, top-k, eviction.
  base::DType weights =
      base::DType::kF32;  ///< kF32, or kBf16: exact for bf16 files, and half the bytes.
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

  /// Brings the session to where n_tokens more tokens could have left it, without reading any: its
  /// state becomes random (model/synthetic.hpp). Returns as feed() does. Errors: std::bad_alloc.
  bool fill(Session& session, std::size_t n_tokens, std::uint64_t seed,
            const Progress& progress = {});

  /// Bytes a second that the engine's threads read together from n_bytes of memory: the fastest of
  /// n_passes passes. Errors: std::bad_alloc.
  double read_bandwidth(std::size_t n_bytes, std::size_t n_passes);

  /// Bytes of weights that every slice of a call reads once.
  std::size_t weight_bytes() const { return weights_.size_bytes; }
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
