/// The engine: a model ready to read tokens, and sessions that remember what they have read.
/// Everything above (evaluation, the program) talks to the model through this.
///
/// All ranks of a job make the engine together. Rank 0 leads: it alone calls the engine from then
/// on, and the others serve it until it is gone. What the leader sees does not depend on the grid,
/// and a session's logits do not depend on what shares a step with it, bit for bit.
/// A job of several replicas has as many engines, each with a leader of its own, which know nothing
/// of each other but in what is said to be of the whole job.
#pragma once

#include "dist/comm/communicator.hpp"
#include "dist/engine/logits_return.hpp"
#include "dist/engine/pipeline.hpp"
#include "dist/engine/save_reports.hpp"
#include "dist/engine/stage.hpp"
#include "kernels/base/types.hpp"
#include "kernels/threads/read_bandwidth.hpp"
#include "model/checkpoint/checkpoint.hpp"
#include "model/schema/config.hpp"

#include <cstddef>
#include <cstdint>
#include <filesystem>
#include <functional>
#include <memory>
#include <optional>
#include <span>
#include <vector>

namespace longreach::dist {

using model::Progress;

class Engine;

/// One sequence: how many tokens it has read; the state they left is on all ranks. Move-only, and
/// gone before its engine.
class Session {
 public:
  Session(Session&& other) noexcept;
  Session& operator=(Session&& other) noexcept;
  Session(const Session&) = delete;
  Session& operator=(const Session&) = delete;
  ~Session();

  std::size_t n_tokens() const { return n_tokens_; }

 private:
  friend class Engine;
  Session(Engine& engine, std::uint32_t id, std::size_t n_tokens)
      : engine_(&engine), id_(id), n_tokens_(n_tokens) {}
  /// Ends the session on all ranks.
  void close();

  Engine* engine_;
  std::uint32_t id_;
  std::size_t n_tokens_;
};

/// Tokens of a session to read in a step.
struct SegmentRequest {
  Session* session;
  std::span<const base::TokenId> tokens;   ///< One at least.
  std::span<const std::size_t> wanted;     ///< Absolute positions, ascending; others are ignored.
  std::shared_ptr<const LogitsSink> sink;  ///< Gets the logits of wanted positions of these tokens.
  /// Gets, before the logits, what the queries of wanted positions gave weight to, if not null.
  /// Changes no logits. Requires: Engine::has_evidence(), neither fingerprints nor measurements of
  /// the choice of chunks.
  std::shared_ptr<const EvidenceSink> evidence = {};
};

/// What a rank did for a run, so far.
struct RankUsage {
  ActivitySeconds seconds = {};           ///< By activity, if they are recorded.
  std::uint64_t pipeline_bytes = 0;       ///< Sent to the next stage, and messages to other shards.
  std::uint64_t logits_bytes = 0;         ///< Sent to the leader.
  std::vector<TrafficBytes> block_bytes;  ///< Sent to other shards, by block of the model.
};

/// A loaded model. Neither copied nor moved; one call at a time.
class Engine {
 public:
  /// Makes the engine on all ranks of `world`, as many as the layout has (one in mode reference);
  /// if they are a multiple of that, an engine on each so many consecutive ones, whose layouts may
  /// differ but in their number of ranks. Checks the checkpoint's checksums and loads this rank's
  /// part of the weights. The arguments by reference must outlive the engine. Collective: all
  /// ranks; an error of one is not known to the others. Errors: InputError naming file and tensor;
  /// std::bad_alloc.
  Engine(Communicator& world, const model::Checkpoint& checkpoint, const model::ModelConfig& config,
         const partition::Layout& layout, const EngineOptions& options);
  Engine(const Engine&) = delete;
  Engine& operator=(const Engine&) = delete;
  /// The leader's ends the serving of the others.
  ~Engine();

  bool leads() const { return grid_position_.leads(); }
  /// Serves the leader until its engine is gone; on all other ranks.
  void serve();

  // From here on: on the leader only. What is of all ranks of the job is called by the leaders of
  // all replicas, in the same order.

  /// A session that has read nothing, and begins from an initial state of options.initial_states,
  /// by its number.
  Session new_session(std::size_t initial_state = 0);
  /// A session that has read what `session` has, in O(state): closed chunks of the cache are
  /// shared.
  Session fork(const Session& session);

  /// Reads a step: the tokens of all segments in one pass, at most model::kMostStepRows together,
  /// each session once. Returns as soon as the first stage is done with its part, so several steps
  /// keep several stages busy; sinks are called during this or a later call of the engine. Returns
  /// false when `progress` stopped it, which only a grid of one rank asks; its sessions are then of
  /// no further use. Not in mode reference. Errors: InputError for a token id outside the
  /// vocabulary, before anything is read.
  bool submit(std::span<const SegmentRequest> segments, const Progress& progress = {});
  /// Rows that a step should have if it only reads on in the session's prompt.
  std::size_t prompt_step_rows(const Session& session) const;
  /// Hands out the logits that have come; never waits.
  void poll() { logits_.poll(); }
  /// Returns when all wanted logits of the session have come.
  void wait_for(const Session& session);
  /// Ends a session whose logits nobody wants any more: its sinks are not called again. Steps that
  /// were submitted with it end as they would have; others do not notice.
  void cancel(Session session);

  /// Lets the other ranks leave their cores to others until the next call that they take part in,
  /// which then takes up to a millisecond longer. For pauses; nothing need be under way.
  void rest() { pipeline_.rest(); }

  /// Submits `tokens` of one session, in as many steps as it takes; none if there are no tokens. In
  /// mode reference they are one call, as the released package calls it, held in memory as a whole.
  /// In the other modes the logits do not depend on how tokens are split into calls, bit for bit.
  /// Returns false when `progress` stopped it. Errors: as submit.
  bool read(Session& session, std::span<const base::TokenId> tokens,
            std::span<const std::size_t> wanted, LogitsSink sink, const Progress& progress = {});
  /// The same, and waits for the logits.
  bool feed(Session& session, std::span<const base::TokenId> tokens,
            std::span<const std::size_t> wanted, LogitsSink sink, const Progress& progress = {});

  /// Brings the session to where n_tokens more tokens could have left it, without reading any: its
  /// state becomes random (model/synthetic.hpp), the same on any grid. Returns false when
  /// `progress` stopped it, which only a grid of one rank asks; the session is then of no further
  /// use. Other ranks may still be at it when this returns. Errors: std::bad_alloc.
  bool fill(Session& session, std::size_t n_tokens, std::uint64_t seed,
            const Progress& progress = {});

  // Contexts have the numbers 0, 1, .. in the order in which they came, those of options.contexts
  // first.

  /// Returns the number of one more. Waits for all ranks.
  std::size_t add_context(const ContextFolders& folders);
  /// Forgets one that nothing is being saved to. Sessions restored from it stay.
  void drop_context(std::size_t context);
  /// Begins to save the session to a context, beside what is read from now on; what was saved to it
  /// before must be what this session had read then. The session stays until finish_saving(), which
  /// comes before another context is saved to, too. Errors: SaveError for what could not be
  /// written, also of what was begun before, on any rank, after which only abandon_saving() is
  /// called of saving; InputError naming another file.
  void save(const Session& session, std::size_t context = 0);
  /// Tokens of the newest state saved to a context that is on all disks; 0 if none is. Never waits.
  /// Errors: SaveError.
  std::size_t n_saved_tokens(std::size_t context = 0);
  /// Whether this rank has written what was begun: the next call of saving hardly waits, as other
  /// ranks write as much. Never waits.
  bool has_written() const { return stage_.has_written(); }
  /// Waits until all that was begun is on all disks. Errors: SaveError.
  void finish_saving();
  /// Waits until nothing is written any more, after a SaveError.
  void abandon_saving();
  /// The session that was saved to a context when it had read n_tokens tokens. Chunks of its cache
  /// are mapped and read when they are chosen. Waits for all ranks. Errors: InputError naming the
  /// file, of any rank.
  Session restore(std::size_t n_tokens, std::size_t context = 0);

  /// Of each rank of the replica the share of about the last second in which it computed; 0 while
  /// ranks rest, before their first second, and if nothing is recorded. Never waits.
  std::vector<double> busy_shares() const { return pipeline_.busy_shares(); }

  /// Bytes a second that all threads of all ranks read together in one pass over n_bytes each rank,
  /// a multiple of 8; as slow as the slowest rank. The memory stays for the next pass. Waits for
  /// what was submitted. Errors: std::bad_alloc, which the other ranks do not know of.
  double read_bandwidth(std::size_t n_bytes);

  /// What all ranks did so far, in order of ranks. Waits for what was submitted.
  std::vector<RankUsage> usage();

  /// From now on measures what the choice of chunks misses (dist/trace/selection_meter.hpp), for
  /// one query in `one_in` and all that answer. Changes no logits. Requires: mode moba or full, and
  /// no fingerprints.
  void measure_selection(std::size_t one_in);

  /// What was measured so far on all ranks, on rank 0: of every replica and block the queries in
  /// the order they were read, each with its heads. The same on any grid, but for the order of
  /// blocks. Waits for what was submitted.
  std::vector<MassSample> selection_masses();

  /// Writes what all ranks did when, if spans are recorded: a trace for Chrome's or Perfetto's
  /// viewer. Errors: InputError naming the file.
  void write_trace(const std::filesystem::path& file);

  /// Completes the leader's own file of fingerprints, if they are asked for; the other ranks do so
  /// when they stop serving. Errors: InputError naming the file.
  void finish_fingerprints() { stage_.finish_fingerprints(); }

  /// Errors: InputError for a token id outside the vocabulary.
  void check_tokens(std::span<const base::TokenId> tokens) const;

  const model::AttentionConfig& attention() const { return options_.attention; }
  /// Whether evidence can be asked for: the model has sparse blocks, the mode is moba or full.
  bool has_evidence() const;
  const partition::Grid& grid() const { return layout_.grid; }
  /// Which of the job's replicas this is.
  std::size_t replica() const { return grid_position_.replica; }

  /// Bytes of weights that every step reads once, on all ranks together.
  std::size_t weight_bytes() const;
  /// Bytes of weights, state and cache that decoding one more token after so many reads or writes,
  /// on all ranks together.
  std::size_t bytes_per_token(std::size_t n_tokens) const;

 private:
  friend class Session;

  /// This rank's part of saving.
  void save_part(const SaveSession& message);
  void add_context_part(const ContextFolders& folders);
  /// Does this rank's part of something that may fail on any of them. Returns to the leader what
  /// one has thrown, if any has. Collective: the ranks of the replica.
  std::optional<std::string> together(const std::function<void()>& part);
  std::vector<RankUsage> gather_usage();
  std::vector<MassSample> gather_masses();
  void gather_trace(const std::filesystem::path& file);
  double read_pass(std::size_t n_bytes);
  bool read_reference_call(Session& session, std::span<const base::TokenId> tokens,
                           std::span<const std::size_t> wanted, const LogitsSink& sink,
                           const Progress& progress);

  Communicator& world_;
  model::ModelConfig config_;
  partition::Layout layout_;
  EngineOptions options_;
  GridPosition grid_position_;
  Recorder recorder_;
  // What begins with all ranks together comes before what may fail on one of them, the stage.
  LogitsReturn logits_;
  Pipeline pipeline_;
  SaveReports reports_;
  Stage stage_;
  std::size_t n_contexts_;             ///< That have come.
  std::size_t saved_context_ = 0;      ///< The last one that was saved to.
  std::size_t n_begun_tokens_ = 0;     ///< Of its newest state whose saving began; 0 if none.
  bool has_begun_state_ = false;       ///< On other ranks: one that the leader waits for.
  std::size_t n_finished_tokens_ = 0;  ///< Of its newest state that was waited for.
  std::optional<kernels::ReadYardstick> yardstick_;
  std::uint32_t n_sessions_ = 0;
  int n_exceptions_;  ///< Under way when the engine was made.
};

}  // namespace longreach::dist
