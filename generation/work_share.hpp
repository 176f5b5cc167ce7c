/// How the leaders of replicas share the work of a job. It is made of numbered pieces. The leader
/// of the job hands them out, between steps of its own engine, and takes their results; the others
/// ask it for as many as they have room for. What the pieces are is their owner's affair.
#pragma once

#include "dist/comm/communicator.hpp"
#include "dist/engine/engine.hpp"

#include <cstddef>
#include <memory>
#include <optional>
#include <string>

namespace longreach::generation {

/// How far a replica is since the run began.
struct WorkProgress {
  /// In the owner's measure, for example tokens of prompts: of pieces that are done all, of those
  /// under way the part that is done.
  double work_done = 0;
  std::size_t n_tokens_read = 0;  ///< By its engine: what pieces have in common once.
};

/// The work of a job, where its leader is: what is handed out to whom, and what becomes of results.
/// What a call throws ends the run, and comes out of the leader's WorkSource.
class SharedWork {
 public:
  SharedWork() = default;
  SharedWork(const SharedWork&) = delete;
  SharedWork& operator=(const SharedWork&) = delete;
  virtual ~SharedWork() = default;

  /// Pieces that have not been handed out.
  virtual std::size_t n_left() const = 0;
  /// The piece that a replica is to begin now, each once; nothing if none is left, or none for it
  /// at present. It is asked again while it has others under way, and never after that.
  virtual std::optional<std::size_t> hand_out(std::size_t replica) = 0;
  /// The result of a piece has come. In any order.
  virtual void add_result(std::size_t replica, std::size_t piece, const std::string& line) = 0;
  /// A replica is so far. Called before add_result, and a few times a second.
  virtual void set_progress(std::size_t replica, const WorkProgress& progress) = 0;
  /// Called whenever the leader of the job looks after the others; false stops the run.
  virtual bool carry_on() = 0;
};

/// The work as a replica's leader sees it. It may have several pieces under way, and adds their
/// results in any order. Ends with finish(). Errors of all calls: CommunicationError; on the leader
/// of the job also what SharedWork throws.
class WorkSource {
 public:
  WorkSource() = default;
  WorkSource(const WorkSource&) = delete;
  WorkSource& operator=(const WorkSource&) = delete;
  virtual ~WorkSource() = default;

  /// A piece to begin now, of a replica that has room for n_room more (at least one). Never waits:
  /// nothing if none has come yet, or none is left.
  virtual std::optional<std::size_t> next(std::size_t n_room) = 0;
  /// The same, but waits for a piece; nothing if none is left, or the run is stopped. Requires: no
  /// piece is under way.
  virtual std::optional<std::size_t> wait_for_next(std::size_t n_room) = 0;
  /// Whether no further piece will come.
  virtual bool none_left() const = 0;

  /// Called often while pieces are under way; false stops them.
  virtual bool carry_on(const WorkProgress& progress) = 0;
  /// Takes the line (one character at least) of the result of a piece that was under way.
  virtual void add_result(std::size_t piece, const std::string& line,
                          const WorkProgress& progress) = 0;
  /// Called once none is left and no piece is under way, or the run is stopped, which drops those
  /// that are. Returns whether all pieces of the job are done, which its leader alone knows: it
  /// returns when the others have ended.
  virtual bool finish() = 0;
};

/// That of the leader of the job, which has rank 0 of `leaders`. While there are fewer pieces than
/// room for them, each replica gets an even share. References must outlive it. Collective: all
/// leaders of replicas. Errors: InputError, if their `settings`, which decide results, are not the
/// same text.
std::unique_ptr<WorkSource> leading_source(SharedWork& work, const std::string& settings,
                                           dist::Communicator& leaders);

/// That of the leaders of other replicas. Collective, as above.
std::unique_ptr<WorkSource> remote_source(const std::string& settings, dist::Communicator& leaders);

/// What works on pieces, several at once, and adds their results to the source by itself.
class Worker {
 public:
  Worker() = default;
  Worker(const Worker&) = delete;
  Worker& operator=(const Worker&) = delete;
  virtual ~Worker() = default;

  /// How many more pieces could be under way.
  virtual std::size_t n_room() const = 0;
  virtual std::size_t n_under_way() const = 0;
  /// Begins a piece; there is room for it.
  virtual void begin(std::size_t piece) = 0;
  /// Goes on with what is under way. Returns false when `progress` (of this step) stopped it.
  virtual bool step(const dist::Progress& progress) = 0;
  virtual WorkProgress progress() const = 0;
};

/// Works until no piece is left or the run is stopped. Returns what the source's finish does.
bool work(WorkSource& source, Worker& worker);

}  // namespace longreach::generation
