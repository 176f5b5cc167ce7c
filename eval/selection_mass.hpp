/// What the choice of chunks misses, put together by block, head and length of context.
#pragma once

#include "dist/trace/selection_meter.hpp"

#include <cstddef>
#include <span>
#include <string>
#include <vector>

namespace longreach::eval {

/// Queries of one head and use whose contexts are about as long, and which shares of full
/// attention they see.
struct MassCell {
  std::size_t block = 0;  ///< In execution order.
  dist::QueryUse use = dist::QueryUse::kReading;
  std::size_t context = 0;  ///< A power of two, at least 1024: the longest the cell may have.
  std::size_t head = 0;
  std::size_t n_queries = 0;
  double mean = 0;
  double lowest_decile = 0;  ///< The least share that a tenth of the queries do not exceed.
  double mean_best = 0;      ///< With the best choice of as many chunks.
};

/// By block, use, context and head. Errors: InputError for shares that are no numbers.
std::vector<MassCell> mass_cells(std::span<const dist::MassSample> samples);

/// For a terminal: percent by block, use and context; the mean over heads, that of the head that
/// misses most, and the mean of the best choice.
std::string mass_table(std::span<const MassCell> cells);

/// All cells as CSV with a head line; shares from 0 to 1.
std::string mass_csv(std::span<const MassCell> cells);

}  // namespace longreach::eval
