#include "model/context.hpp"

#include <algorithm>

namespace longreach::model {
namespace {

/// Of a time mix's low-rank products together, in the block where they are largest.
std::size_t sum_of_ranks(const ModelConfig& config) {
  std::size_t largest = 0;
  for (const LowRanks& ranks : config.low_ranks) {
    largest = std::max(largest, ranks.w + ranks.a + ranks.v + ranks.g);
  }
  return largest;
}

std::size_t largest_factor_rank(const ModelConfig& config) {
  std::size_t largest = 0;
  for (const auto& [matrix, rank] : config.factor_ranks) largest = std::max(largest, rank);
  return largest;
}

/// The rows of a workspace: visit(member, columns).
template <typename Visit>
void visit_rows(const ModelConfig& config, Visit&& visit) {
  for (const auto rows : {&Workspace::x, &Workspace::v_first, &Workspace::normed, &Workspace::mixed,
                          &Workspace::r, &Workspace::w, &Workspace::k, &Workspace::v, &Workspace::a,
                          &Workspace::g, &Workspace::y, &Workspace::out}) {
    visit(rows, config.n_embd);
  }
  visit(&Workspace::hidden, config.ffn_size);
  visit(&Workspace::low_rank, sum_of_ranks(config));
  visit(&Workspace::factored, largest_factor_rank(config));
}

}  // namespace

Workspace::Workspace(const ModelConfig& config, std::size_t n_workers) : workers(n_workers) {
  visit_rows(config, [&](Rows Workspace::*rows, std::size_t n_columns) {
    this->*rows = Rows(kMostStepRows, n_columns);
  });
}

std::size_t Workspace::row_bytes(const ModelConfig& config, std::size_t n_rows) {
  std::size_t n_numbers = 0;
  visit_rows(config,
             [&](Rows Workspace::*, std::size_t n_columns) { n_numbers += n_rows * n_columns; });
  return n_numbers * sizeof(float);
}

}  // namespace longreach::model
