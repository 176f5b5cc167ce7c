/// How steps and control messages pass through the stages.
///
/// The leader gives a message to the shards of the first stage; from there it travels from shard i
/// of a stage to shard i of the next one, a step in one message with its rows. A stage receives the
/// next step while it computes one, and sends the last one meanwhile, so all stages work at once.
#pragma once

#include "dist/engine/busy_reports.hpp"
#include "dist/engine/logits_return.hpp"
#include "dist/engine/messages.hpp"
#include "dist/engine/rest.hpp"
#include "dist/engine/stage.hpp"

#include <array>
#include <cstddef>
#include <functional>
#include <memory>
#include <vector>

namespace longreach::dist {

/// One rank's place in the pipeline.
class Pipeline {
 public:
  /// All arguments must outlive its last call; the stage may begin later than this. Collective: the
  /// ranks of the replica.
  Pipeline(GridPosition& grid_position, const model::ModelConfig& config, Stage& stage,
           LogitsReturn& logits, Recorder& recorder, bool reports_busy);

  /// Runs a step of these tokens here and passes it on; on the leader. Returns false when
  /// `progress` stopped it, which only a grid of one rank may. Collective: the shards of the first
  /// stage.
  bool submit(const model::Step& step, std::span<const base::TokenId> tokens,
              const model::Progress& progress);
  /// Handles a control message likewise.
  bool submit(const EngineMessage& message, const model::Progress& progress);
  /// Lets all other ranks sleep until something is submitted; on the leader.
  void rest();

  /// Handles messages until the one to stop; on all ranks but the leader. `handle` is called after
  /// every control message.
  void serve(const std::function<void(const EngineMessage&)>& handle);

  /// After what was computed beside the pipeline.
  void report_busy() { busy_.after_step(); }

  /// Waits until everything has left. Collective.
  void finish();
  /// On the leader: see BusyReports::shares(); 0 while all rest.
  std::vector<double> busy_shares() const;
  /// Sent so far: steps to the next stage, and messages from the leader to its shards.
  std::uint64_t sent_bytes() const { return sent_bytes_; }

 private:
  /// What travels between stages: a message; of a step its segments, the rows [n, C] and the first
  /// block's values [n, columns of this shard's heads].
  class StepMessage {
   public:
    StepMessage() = default;
    StepMessage(std::size_t n_embd, std::size_t n_columns);

    std::span<std::byte> all() { return bytes_.span(); }
    EngineMessage& header() { return *reinterpret_cast<EngineMessage*>(bytes_.data()); }
    // Of a step, whose header is in place.
    std::span<model::Segment> segments();
    base::MatView<float> rows();
    base::MatView<float> v_first();
    /// The bytes in use.
    std::span<std::byte> used();

    std::unique_ptr<Message> message;

   private:
    const StepHeader& step() { return std::get<StepHeader>(header()); }

    std::size_t n_embd_ = 0, n_columns_ = 0;
    base::Buffer<std::byte> bytes_;
  };

  /// A message with what came behind it.
  struct Received {
    EngineMessage message;
    std::vector<model::Segment> segments;
  };

  /// The next message, with the rows of a step put in place.
  Received next_from_leader();
  Received next_from_stage_before();
  void receive_into(StepMessage& message);
  void broadcast(std::span<std::byte> bytes);

  void wake();
  bool run(const model::Step& step, const model::Progress& progress);
  bool handle(const EngineMessage& message, const model::Progress& progress);
  StepMessage& next_leaving();
  void pass_on(const model::Step& step);
  void pass_on(const EngineMessage& message);
  void depart(StepMessage& message);
  void send_evidence(const model::Step& step);
  void send_logits(const model::Step& step);
  /// Waits for a message; the leader hands out logits meanwhile, or the stages would wait for each
  /// other in a circle.
  void wait_for(Message& message);

  GridPosition& grid_position_;
  Stage& stage_;
  LogitsReturn& logits_;
  Recorder& recorder_;
  Rest rest_;
  BusyReports busy_;
  bool is_resting_ = false;  ///< On the leader.
  std::array<StepMessage, 2> coming_, leaving_;
  std::size_t next_coming_ = 0, next_leaving_ = 0;
  std::uint64_t sent_bytes_ = 0;
};

}  // namespace longreach::dist
