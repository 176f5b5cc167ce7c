/// Which rows of their context queries gave weight to, on one rank.
///
/// What counts is the share that a span of kernels::kSpanRows rows has of a head's softmax, if it
/// is at least 1/64: a head that spreads its attention points at nothing. Spans that reach into the
/// 32 tokens before a query, its own included, do not count: many heads look there whatever is
/// asked. Shares are added up as whole numbers, whose sum does not depend on which rank has which
/// heads and chunks.
#pragma once

#include "model/observer.hpp"

#include <cstddef>
#include <cstdint>
#include <vector>

namespace longreach::dist {

/// What the heads of a rank's sparse blocks gave a span, for a row of a step. Sent as it lies.
struct RowEvidence {
  std::uint32_t row = 0;
  std::uint32_t n_tokens = 0;  ///< Of the span.
  std::uint64_t first = 0;     ///< Position of its first token.
  std::uint64_t weight = 0;    ///< Sum of the heads' shares, in units of kEvidenceUnit.
  bool operator==(const RowEvidence&) const = default;
};

/// A share of this size has the weight 1.
inline constexpr double kEvidenceUnit = 0x1p-30;

/// Sorts by row and position, and adds up the weights of what stands there more than once.
void add_up(std::vector<RowEvidence>& evidence);

/// Collects it from the blocks of a stage, for the weighed rows of one step at a time.
class EvidenceCollector final : public model::Observer {
 public:
  void begin_step(const model::Step& step) override;
  model::RowSet weighed() const override { return step_->weighed(); }
  void see_shares(std::size_t head, std::size_t query, std::size_t first_row, std::size_t n_rows,
                  std::span<const float> shares) override;

  /// What came of the step, added up.
  std::vector<RowEvidence> take();

 private:
  const model::Step* step_ = nullptr;
  std::vector<RowEvidence> evidence_;
};

}  // namespace longreach::dist
