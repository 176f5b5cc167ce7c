#include "dist/trace/evidence.hpp"

#include "kernels/attention/attention.hpp"

#include <algorithm>
#include <tuple>
#include <utility>

namespace longreach::dist {
namespace {

constexpr float kLeastShare = 1.0F / 64;
/// Tokens before a query that are its neighbourhood, its own included.
constexpr std::size_t kRecentTokens = 32;

}  // namespace

void add_up(std::vector<RowEvidence>& evidence) {
  std::ranges::sort(evidence, {}, [](const RowEvidence& e) { return std::tuple(e.row, e.first); });
  std::size_t n_kept = 0;
  for (const RowEvidence& each : evidence) {
    if (n_kept > 0 && evidence[n_kept - 1].row == each.row &&
        evidence[n_kept - 1].first == each.first) {
      evidence[n_kept - 1].weight += each.weight;
    } else {
      evidence[n_kept++] = each;
    }
  }
  evidence.resize(n_kept);
}

void EvidenceCollector::begin_step(const model::Step& step) {
  step_ = &step;
  evidence_.clear();
}

void EvidenceCollector::see_shares(std::size_t, std::size_t query, std::size_t first_row,
                                   std::size_t n_rows, std::span<const float> shares) {
  const std::size_t n_seen = step_->position_of(query) + 1;
  for (std::size_t i = 0; i < shares.size(); ++i) {
    const std::size_t begin = i * kernels::kSpanRows;
    const std::size_t end = std::min(begin + kernels::kSpanRows, n_rows);
    if (!(shares[i] >= kLeastShare) || first_row + end + kRecentTokens > n_seen) continue;
    evidence_.push_back(
        {.row = static_cast<std::uint32_t>(query),
         .n_tokens = static_cast<std::uint32_t>(end - begin),
         .first = first_row + begin,
         .weight = static_cast<std::uint64_t>(static_cast<double>(shares[i]) / kEvidenceUnit)});
  }
}

std::vector<RowEvidence> EvidenceCollector::take() {
  add_up(evidence_);
  return std::exchange(evidence_, {});
}

}  // namespace longreach::dist
