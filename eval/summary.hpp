/// Results put together: as a table to read, as CSV, and as a picture.
#pragma once

#include "eval/results.hpp"

#include <span>
#include <string>
#include <string_view>
#include <vector>

namespace longreach::eval {

/// Questions of one length and depth.
struct Cell {
  std::size_t length = 0;
  std::optional<double> depth_percent;  ///< Nothing where depths are no grid.
  std::size_t n_questions = 0;
  double mean_score = 0;
};

/// The loss over all texts that have a part whole.
struct LossPart {
  std::size_t from = 0, to = 0;  ///< Positions.
  std::size_t n_texts = 0;
  double mean_loss = 0;         ///< From `from` to `to`.
  double mean_loss_so_far = 0;  ///< From 0 to `to`, of the same texts: RWKV-X's figure.
};

/// Questions whose answers looked at the needle, among all that it was asked of.
struct NeedleCounts {
  std::size_t n_questions = 0;
  std::size_t n_first = 0;  ///< The needle is in the first passage.
  std::size_t n_found = 0;  ///< It is in one of the first kNeedlePassages.
};

inline constexpr std::size_t kNeedlePassages = 3;

/// What a run gave.
struct Summary {
  std::string task;
  std::vector<Cell> cells;       ///< By length, then depth; none for losses.
  std::vector<LossPart> losses;  ///< By position; none for scores.
  NeedleCounts needles = {};     ///< None where evidence was not asked for.
};

/// Whether questions stand on a grid of depths, which cells then tell apart.
enum class Depths { kGrid, kNone };

Summary summarise(std::string task, std::span<const Result> results, Depths depths);

/// "64K", "1M", "1000": a length as people write it.
std::string length_text(std::size_t n_tokens);

/// A table for a terminal: mean scores in percent by depth and length, or losses by position.
std::string table(const Summary& summary);

/// The same as CSV with a head line.
std::string csv(const Summary& summary);

/// The field's picture as SVG: depth by length, each cell with its percentage. Lightness rises with
/// the score, so that it reads without colours; cells without results are hatched. `caption` is one
/// line below. Requires: cells.
std::string heat_map(const Summary& summary, std::string_view caption);

}  // namespace longreach::eval
