/// Looks on while a forward pass computes: to find where two runs part that should not, or to
/// measure what it leaves out.
#pragma once

#include "kernels/attention/attention.hpp"
#include "kernels/base/view.hpp"
#include "model/step.hpp"
#include "partition/ownership.hpp"

#include <cstddef>
#include <span>
#include <string_view>

namespace longreach::model {

/// Shares of a head's softmax over all rows of the cache up to a query's own.
struct MassShares {
  float seen = 0;  ///< In the chunks that the query sees.
  float best = 0;  ///< In those it would see had it chosen the chunks where the most of it lies.
  bool operator==(const MassShares&) const = default;
};

/// Sees what blocks compute, tensor by tensor. An observer overrides what it wants to know. Rows
/// and queries are counted from the step's first.
class Observer {
 public:
  Observer() = default;
  Observer(const Observer&) = delete;
  Observer& operator=(const Observer&) = delete;
  virtual ~Observer() = default;

  /// What follows is of this step.
  virtual void begin_step(const Step& /*step*/) {}
  /// What follows is of this block of the model, in execution order.
  virtual void begin_block(std::size_t /*block*/) {}
  /// Whether the last block is to be computed for all rows, also where nothing comes of them.
  virtual bool sees_all_rows() const { return true; }
  /// A tensor that all shards have, [T, columns].
  virtual void see_rows(std::string_view /*tensor*/, base::MatView<const float> /*rows*/) {}
  /// The columns of this shard's heads of a tensor, [T, heads * 64].
  virtual void see_heads(std::string_view /*tensor*/, std::size_t /*first_head*/,
                         base::MatView<const float> /*columns*/) {}
  /// The closed chunks that a head's query has chosen; on all shards.
  virtual void see_choice(std::size_t /*head*/, std::size_t /*query*/,
                          std::span<const partition::GlobalChunk> /*chunks*/) {}
  /// What a head's query has found in a chunk, on the head's shard. May be called by several
  /// threads at a time.
  virtual void see_partial(std::size_t /*head*/, std::size_t /*query*/,
                           partition::GlobalChunk /*chunk*/, const kernels::Partial& /*partial*/) {}

  /// The queries of the step whose attention is to be divided between the rows they see; the same
  /// on all shards.
  virtual RowSet weighed() const { return {}; }
  /// How a weighed query's softmax divides, in one head, between spans of kernels::kSpanRows of
  /// the n_rows rows of its sequence from first_row on; the last span may be shorter. All that a
  /// query sees is reported once, on one of the shards, in no particular order.
  virtual void see_shares(std::size_t /*head*/, std::size_t /*query*/, std::size_t /*first_row*/,
                          std::size_t /*n_rows*/, std::span<const float> /*shares*/) {}

  /// Whether this query's choice of chunks is to be compared with full attention, which costs as
  /// much as that; the same on all shards.
  virtual bool measures(std::size_t /*query*/) const { return false; }
  /// What came of it; on all shards.
  virtual void see_mass(std::size_t /*head*/, std::size_t /*query*/, MassShares /*shares*/) {}
};

/// Looks away.
class NoObserver final : public Observer {
 public:
  bool sees_all_rows() const override { return false; }
};

}  // namespace longreach::model
