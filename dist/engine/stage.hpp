/// The part of the model that a rank computes, and the states of the sequences it keeps.
#pragma once

#include "dist/context/context_part.hpp"
#include "dist/engine/grid.hpp"
#include "dist/engine/logits_return.hpp"
#include "dist/engine/messages.hpp"
#include "dist/engine/shard_exchange.hpp"
#include "dist/trace/evidence.hpp"
#include "dist/trace/fingerprints.hpp"
#include "dist/trace/selection_meter.hpp"
#include "model/checkpoint/checkpoint.hpp"
#include "model/forward.hpp"
#include "model/initial_state.hpp"
#include "model/schema/config.hpp"

#include <cstddef>
#include <cstdint>
#include <filesystem>
#include <map>
#include <optional>
#include <span>
#include <vector>

namespace longreach::dist {

/// What the user may choose about a run.
struct EngineOptions {
  model::AttentionConfig attention;  ///< Mode, chunk size, top-k, eviction, exchange.
  /// kBf16 is exact for bf16 files, kInt8 and kInt4 cost some accuracy.
  base::WeightFormat weights = base::WeightFormat::kF32;
  /// kF32 is as accurate as the weights; others must fit these (base::kProductFormats).
  base::Activations activations = base::Activations::kF32;
  std::size_t n_threads = 1;  ///< Of this rank.
  ChunkMemory chunks = ChunkMemory::kShared;
  kernels::ThreadStart thread_started = {};  ///< As kernels::ThreadPool takes it.
  Recording recording = Recording::kNothing;
  /// Whether ranks report to the leader how busy they are, about once a second; they must record.
  bool reports_busy = false;
  std::optional<std::filesystem::path> fingerprints = {};  ///< Of all that is computed.
  std::vector<ContextFolders> contexts = {};  ///< Saved sessions, or what is to hold one.
  /// Most bytes of mapped chunks that this rank holds in memory; default: the system decides.
  std::optional<std::size_t> cache_memory = {};
  /// What sessions can begin from, by number; none: zeros, as number 0. They must outlive the
  /// engine.
  std::span<const model::InitialState> initial_states = {};
};

/// One rank's blocks at work. Neither copied nor moved.
class Stage {
 public:
  /// Loads the weights, which checks their checksums; not collective. The arguments must
  /// outlive the stage. Errors: InputError naming file and tensor; std::bad_alloc.
  Stage(const GridPosition& grid_position, const model::Checkpoint& checkpoint,
        const model::ModelConfig& config, const partition::Layout& layout,
        const EngineOptions& options, Recorder& recorder);
  Stage(const Stage&) = delete;
  Stage& operator=(const Stage&) = delete;

  const model::ModelConfig& config() const { return config_; }
  const model::AttentionConfig& attention() const { return attention_; }

  // Sessions. All ranks begin and end the same ones in the same order.
  void open(const OpenSession& message);
  void fork(std::uint32_t session, std::uint32_t source);
  /// Makes up the state that n_tokens more tokens leave (model/synthetic.hpp). Returns false when
  /// `progress` stopped it.
  bool fill(std::uint32_t session, std::size_t n_tokens, std::uint64_t seed,
            const model::Progress& progress);
  /// Contexts have the numbers 0, 1, .. in the order in which they came, those of the options
  /// first.
  void add_context(const ContextFolders& folders);
  void drop_context(std::uint32_t context) { contexts_.erase(context); }
  /// This rank's part of saving a session, which goes on beside the computing, and of restoring one
  /// that was saved after n_tokens tokens. Saving is finished before another context is saved to.
  /// Errors: InputError naming the file; SaveError as ContextPart::save.
  void save(const SaveSession& message);
  bool is_saving() const { return saving_ && contexts_.at(saving_->context).is_writing(); }
  bool has_written() const { return !saving_ || contexts_.at(saving_->context).has_written(); }
  void finish_saving();
  void restore(const RestoreSession& message);
  void close(std::uint32_t session);
  const model::SequenceState& state(std::uint32_t session) const { return sessions_.at(session); }

  /// The n rows of a step, [n, C]: what the stage takes from the one before and passes on.
  base::MatView<float> rows(std::size_t n) { return workspace_.x.first(n); }
  /// The columns of this shard's heads of the first block's values, [n, columns].
  base::MatView<float> v_first(std::size_t n);

  /// Fills x [T, C] with embedded tokens; on the first stage.
  void embed(std::span<const base::TokenId> tokens, base::MatView<float> x);
  /// Reads a step, whose rows are in place. Returns false when `progress` stopped it, which only a
  /// grid of one rank may. Requires, if rows are weighed: neither fingerprints nor measurements of
  /// the choice. Collective: the shards of the stage.
  bool run(const model::Step& step, const model::Progress& progress);
  /// What the weighed rows of the step that was run gave weight to in the blocks of this stage and
  /// on this shard.
  std::vector<RowEvidence> take_evidence() { return evidence_.take(); }
  /// Logits of up to kLogitRows rows of the step: [n, own columns of the vocabulary], valid until
  /// the next call; on the last stage.
  base::MatView<const float> logits(std::span<const std::size_t> step_rows);
  /// Reads a call of mode `reference`, on a grid of one rank. `wanted` are tokens of the call,
  /// ascending, whose logits go to `sink` (index, logits). Returns false when `progress` stopped
  /// it.
  bool run_reference_call(std::uint32_t session, std::size_t position,
                          std::span<const base::TokenId> tokens,
                          std::span<const std::size_t> wanted, const LogitsSink& sink,
                          const model::Progress& progress);

  /// From now on compares the choice of chunks with full attention: for one query in `one_in`, and
  /// for all that answer.
  void measure_selection(std::size_t one_in);
  /// What came of it; empty on all shards but the first.
  std::span<const MassSample> masses() const;

  /// Completes this rank's file of fingerprints, if there is one. Errors: InputError.
  void finish_fingerprints() {
    if (fingerprints_) fingerprints_->finish();
  }

  const ShardExchange& exchange() const { return exchange_; }
  kernels::ThreadPool& pool() { return pool_; }

 private:
  /// A session that begins from zeros.
  model::SequenceState& add_session(std::uint32_t session);
  /// The error of one shard for all of them, empty if none has one. Collective: the shards.
  std::string first_error(const std::string& own);
  base::MatView<const float> logits_of(base::MatView<const float> x,
                                       std::span<const std::size_t> wanted);

  const model::Checkpoint& checkpoint_;
  const model::ModelConfig& config_;
  model::AttentionConfig attention_;
  std::span<const model::InitialState> initial_states_;
  partition::Range blocks_;
  std::size_t first_rank_;  ///< Of the stage.
  Recorder& recorder_;
  ShardExchange exchange_;
  kernels::ThreadPool pool_;
  model::Weights weights_;
  model::Workspace workspace_;
  model::NoObserver no_observer_;
  std::optional<FingerprintFile> fingerprints_;
  std::map<std::uint32_t, ContextPart> contexts_;
  std::uint32_t n_contexts_ = 0;       ///< That have come.
  std::optional<SaveSession> saving_;  ///< The last one that was begun, until it is finished.
  std::optional<SelectionMeter> meter_;
  EvidenceCollector evidence_;
  model::Context context_;
  model::Rows hidden_, logits_;  ///< Of wanted rows, [kLogitRows, C] and [kLogitRows, columns].
  std::map<std::uint32_t, model::SequenceState> sessions_;
};

}  // namespace longreach::dist
