#include "eval/summary.hpp"

#include "eval/aligned.hpp"

#include <fmt/format.h>

#include <algorithm>
#include <map>
#include <set>
#include <utility>

namespace longreach::eval {
namespace {

std::vector<Cell> cells_of(std::span<const Result> results, Depths depths) {
  std::map<std::pair<std::size_t, std::optional<double>>, Cell> cells;
  for (const Result& result : results) {
    const auto depth = depths == Depths::kGrid ? result.depth_percent : std::nullopt;
    Cell& cell = cells[{result.length, depth}];
    cell.length = result.length;
    cell.depth_percent = depth;
    cell.mean_score += result.score;
    ++cell.n_questions;
  }
  std::vector<Cell> list;
  for (auto& [key, cell] : cells) {
    cell.mean_score /= static_cast<double>(cell.n_questions);
    list.push_back(cell);
  }
  return list;
}

std::vector<LossPart> losses_of(std::span<const Result> results) {
  // Every text has the same bounds up to its length, so parts are told apart by where they end.
  std::map<std::size_t, LossPart> parts;
  for (const Result& result : results) {
    double sum = 0;
    for (std::size_t i = 0; i < result.losses.size(); ++i) {
      const std::size_t from = result.bounds[i], to = result.bounds[i + 1];
      sum += result.losses[i] * static_cast<double>(to - from);
      LossPart& part = parts[to];
      part.from = from;
      part.to = to;
      ++part.n_texts;
      part.mean_loss += result.losses[i];
      part.mean_loss_so_far += sum / static_cast<double>(to);
    }
  }
  std::vector<LossPart> list;
  for (auto& [to, part] : parts) {
    part.mean_loss /= static_cast<double>(part.n_texts);
    part.mean_loss_so_far /= static_cast<double>(part.n_texts);
    list.push_back(part);
  }
  return list;
}

NeedleCounts needles_of(std::span<const Result> results) {
  NeedleCounts counts;
  for (const Result& result : results) {
    if (!result.needle_passage) continue;
    ++counts.n_questions;
    const std::size_t passage = *result.needle_passage;
    if (passage == 1) ++counts.n_first;
    if (passage >= 1 && passage <= kNeedlePassages) ++counts.n_found;
  }
  return counts;
}

std::string needle_text(const NeedleCounts& needles) {
  if (needles.n_questions == 0) return {};
  return fmt::format(
      "evidence: needle in the first passage of {} of {} answers, in the first {} of {}\n",
      needles.n_first, needles.n_questions, kNeedlePassages, needles.n_found);
}

std::string depth_text(double percent) {
  return fmt::format("{:.{}f}%", percent, percent == static_cast<int>(percent) ? 0 : 1);
}

/// Mean over questions, not over cells.
template <typename Chosen>
std::string mean_text(const std::vector<Cell>& cells, Chosen&& chosen) {
  double sum = 0;
  std::size_t n = 0;
  for (const Cell& cell : cells) {
    if (!chosen(cell)) continue;
    sum += cell.mean_score * static_cast<double>(cell.n_questions);
    n += cell.n_questions;
  }
  return n == 0 ? "-" : percent_text(sum / static_cast<double>(n));
}

std::string score_table(const Summary& summary) {
  std::set<std::size_t> lengths;
  std::set<std::optional<double>> depths;
  for (const Cell& cell : summary.cells) {
    lengths.insert(cell.length);
    depths.insert(cell.depth_percent);
  }
  // Files bring questions of any length, which make no columns.
  if (lengths.size() > 16) lengths.clear();
  const auto row = [&](std::string name, auto&& chosen) {
    std::vector<std::string> texts{std::move(name)};
    for (const std::size_t length : lengths) {
      texts.push_back(mean_text(
          summary.cells, [&](const Cell& cell) { return cell.length == length && chosen(cell); }));
    }
    texts.push_back(mean_text(summary.cells, chosen));
    return texts;
  };
  std::vector<std::vector<std::string>> rows{{"depth"}};
  for (const std::size_t length : lengths) rows[0].push_back(length_text(length));
  rows[0].emplace_back("all");
  for (const auto& depth : depths) {
    if (!depth) continue;
    rows.push_back(
        row(depth_text(*depth), [&](const Cell& c) { return c.depth_percent == depth; }));
  }
  rows.push_back(row("all", [](const Cell&) { return true; }));
  std::size_t n_questions = 0;
  for (const Cell& cell : summary.cells) n_questions += cell.n_questions;
  return fmt::format("{}: mean score in percent, {} questions\n{}{}", summary.task, n_questions,
                     aligned(rows), needle_text(summary.needles));
}

std::string loss_table(const Summary& summary) {
  std::vector<std::vector<std::string>> rows{{"from", "to", "texts", "loss", "loss from 0"}};
  for (const LossPart& part : summary.losses) {
    rows.push_back({std::to_string(part.from), std::to_string(part.to),
                    std::to_string(part.n_texts), fmt::format("{:.4f}", part.mean_loss),
                    fmt::format("{:.4f}", part.mean_loss_so_far)});
  }
  return fmt::format("{}: nats a token by position\n{}", summary.task, aligned(rows));
}

}  // namespace

Summary summarise(std::string task, std::span<const Result> results, Depths depths) {
  const bool has_losses =
      std::ranges::any_of(results, [](const Result& r) { return !r.losses.empty(); });
  if (has_losses) return {std::move(task), {}, losses_of(results)};
  return {std::move(task), cells_of(results, depths), {}, needles_of(results)};
}

std::string length_text(std::size_t n_tokens) {
  constexpr std::size_t kKilo = 1024, kMega = kKilo * kKilo;
  if (n_tokens >= kMega && n_tokens % kMega == 0) return fmt::format("{}M", n_tokens / kMega);
  if (n_tokens >= kKilo && n_tokens % kKilo == 0) return fmt::format("{}K", n_tokens / kKilo);
  return std::to_string(n_tokens);
}

std::string table(const Summary& summary) {
  return summary.losses.empty() ? score_table(summary) : loss_table(summary);
}

std::string csv(const Summary& summary) {
  std::string text;
  if (summary.losses.empty()) {
    text = "task,length,depth,questions,score\n";
    for (const Cell& cell : summary.cells) {
      text += fmt::format("{},{},{},{},{}\n", summary.task, cell.length,
                          cell.depth_percent ? fmt::format("{}", *cell.depth_percent) : "",
                          cell.n_questions, cell.mean_score);
    }
    return text;
  }
  text = "task,from,to,texts,loss,loss_from_0\n";
  for (const LossPart& part : summary.losses) {
    text += fmt::format("{},{},{},{},{},{}\n", summary.task, part.from, part.to, part.n_texts,
                        part.mean_loss, part.mean_loss_so_far);
  }
  return text;
}

}  // namespace longreach::eval
