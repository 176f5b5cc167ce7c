/// How logits come back to the leader: every shard of the last stage sends its columns of the
/// vocabulary, and the leader makes whole rows of them. Evidence comes with them, if it is asked
/// for.
#pragma once

#include "dist/engine/evidence_return.hpp"
#include "dist/engine/grid.hpp"
#include "dist/trace/recorder.hpp"
#include "kernels/base/view.hpp"
#include "model/context.hpp"

#include <algorithm>
#include <cstddef>
#include <cstdint>
#include <deque>
#include <functional>
#include <memory>
#include <span>
#include <utility>
#include <vector>

namespace longreach::dist {

/// Receives the logits (vocabulary) of one position, positions ascending.
using LogitsSink = std::function<void(std::size_t position, std::span<const float> logits)>;

/// A span of a session's tokens that the query of a row gave weight to.
struct AttendedSpan {
  std::size_t first = 0;     ///< Position.
  std::size_t n_tokens = 0;  ///< kernels::kSpanRows, or less at the end of a chunk.
  double weight = 0;  ///< Share of attention, as dist/trace/evidence.hpp says, averaged over all
                      ///< heads of all sparse blocks.
};

/// Receives what a position's query gave weight to, by rising position of the spans.
using EvidenceSink = std::function<void(std::size_t position, std::span<const AttendedSpan> spans)>;

/// Calls batch(first, n) for the batches in which the n_rows wanted rows of a step travel.
template <typename Batch>
void for_logit_batches(std::size_t n_rows, Batch&& batch) {
  for (std::size_t first = 0; first < n_rows; first += model::kLogitRows) {
    batch(first, std::min(model::kLogitRows, n_rows - first));
  }
}

/// A row of logits that is going to come.
struct ExpectedRow {
  std::uint32_t session = 0;
  std::size_t position = 0;
  std::shared_ptr<const LogitsSink> sink;  ///< Null: nobody wants it any more.
  std::size_t step_row = 0;
  std::shared_ptr<const EvidenceSink> evidence = {};  ///< Called before `sink`, if not null.
};

/// One end of the way back. Batches come in the order of the steps.
class LogitsReturn {
 public:
  /// The references must outlive it. vocab_size: numbers of a row; n_softmaxes: heads of all sparse
  /// blocks of the model. Collective: all ranks of the replica.
  LogitsReturn(const GridPosition& grid_position, std::size_t vocab_size, std::size_t n_softmaxes,
               Recorder& recorder);

  /// Waits until everything has left, and has come: what comes now is handed to nobody.
  void finish();

  // On the leader.
  /// Announces the wanted rows of a step, in order.
  void expect(std::span<const ExpectedRow> rows);
  /// Hands out what has come; never waits.
  void poll();
  /// Waits for what comes next, and hands it out.
  void wait_for_next();
  /// Whether anything is still to come.
  bool expects_any() const { return !expected_.empty(); }
  /// Whether anything of the session is still to come.
  bool expects(std::uint32_t session) const;
  /// What is still to come of the session is handed to nobody.
  void drop(std::uint32_t session);
  /// Nothing more is going to come: the run was stopped.
  void cancel() { expected_.clear(); }

  // On all ranks.
  /// Takes this rank's evidence of the next batch of those that evidence is asked of.
  void send_evidence(std::vector<RowEvidence> part) { evidence_.send(std::move(part)); }

  // On shards of the last stage.
  /// Takes this shard's columns of the next batch. The leader hands the batch out, when it is a
  /// shard of the last stage itself, with what the other shards send.
  void send(base::MatView<const float> own_columns);
  /// Sent so far.
  std::uint64_t sent_bytes() const { return sent_bytes_ + evidence_.sent_bytes(); }

 private:
  struct Batch {
    std::vector<ExpectedRow> rows;
    bool has_evidence = false;  ///< Whether it was asked for, even if nobody wants it any more.
  };

  partition::Range columns_of(std::size_t shard) const;
  void wait_until_sent();
  void start_receiving();
  /// Whether all parts of the first batch are there.
  bool is_complete();
  /// Takes the first batch and hands it out: logits_of(i) are those of its row i.
  template <typename LogitsOf>
  void hand_out(LogitsOf&& logits_of);
  void hand_out_parts();
  std::vector<AttendedSpan> spans_of(std::span<const RowEvidence> evidence,
                                     std::size_t step_row) const;

  const GridPosition& grid_position_;
  std::size_t vocab_size_, n_softmaxes_;
  Recorder& recorder_;
  EvidenceReturn evidence_;
  std::deque<Batch> expected_;
  base::Buffer<float> parts_;  ///< Of the first batch, [n, columns] of each shard, consecutive.
  std::vector<std::unique_ptr<Message>> coming_;
  bool receiving_ = false;
  std::vector<float> row_;
  base::Buffer<float> leaving_;
  std::unique_ptr<Message> sent_;
  std::uint64_t sent_bytes_ = 0;
};

}  // namespace longreach::dist
