#include "eval/selection_mass.hpp"

#include "eval/aligned.hpp"
#include "eval/summary.hpp"
#include "kernels/base/error.hpp"

#include <fmt/format.h>

#include <algorithm>
#include <bit>
#include <map>
#include <set>
#include <string_view>
#include <tuple>

namespace longreach::eval {
namespace {

using dist::MassSample;
using dist::QueryUse;

constexpr std::size_t kLeastContext = 1024;

std::string_view name_of(QueryUse use) { return use == QueryUse::kAnswering ? "answer" : "prompt"; }

/// The heads of a block, use and context in a table.
struct AllHeads {
  std::size_t n = 0;
  double mean = 0, worst = 1, mean_best = 0;

  void add(const MassCell& head) {
    ++n;
    mean += (head.mean - mean) / static_cast<double>(n);
    mean_best += (head.mean_best - mean_best) / static_cast<double>(n);
    worst = std::min(worst, head.mean);
  }
};

}  // namespace

std::vector<MassCell> mass_cells(std::span<const MassSample> samples) {
  struct Shares {
    std::vector<float> seen;
    double sum_seen = 0, sum_best = 0;
  };
  std::map<std::tuple<std::size_t, QueryUse, std::size_t, std::size_t>, Shares> groups;
  for (const MassSample& sample : samples) {
    if (!(sample.shares.seen >= 0 && sample.shares.best >= 0)) {
      base::input_error("--selection-mass: attention in block {} is no number", sample.block);
    }
    const std::size_t context = std::max(kLeastContext, std::bit_ceil(sample.n_tokens));
    Shares& shares = groups[{sample.block, sample.use, context, sample.head}];
    shares.seen.push_back(sample.shares.seen);
    shares.sum_seen += static_cast<double>(sample.shares.seen);
    shares.sum_best += static_cast<double>(sample.shares.best);
  }
  std::vector<MassCell> cells;
  for (auto& [key, shares] : groups) {
    MassCell& cell = cells.emplace_back();
    std::tie(cell.block, cell.use, cell.context, cell.head) = key;
    cell.n_queries = shares.seen.size();
    const auto n = static_cast<double>(cell.n_queries);
    cell.mean = shares.sum_seen / n;
    cell.mean_best = shares.sum_best / n;
    const auto tenth = shares.seen.begin() + static_cast<std::ptrdiff_t>((cell.n_queries - 1) / 10);
    std::ranges::nth_element(shares.seen, tenth);
    cell.lowest_decile = static_cast<double>(*tenth);
  }
  return cells;
}

std::string mass_table(std::span<const MassCell> cells) {
  std::map<std::pair<std::size_t, QueryUse>, std::map<std::size_t, AllHeads>> lines;
  std::set<std::size_t> contexts;
  for (const MassCell& cell : cells) {
    lines[{cell.block, cell.use}][cell.context].add(cell);
    contexts.insert(cell.context);
  }
  std::vector<std::vector<std::string>> rows{{"block", "queries", "share"}};
  for (const std::size_t context : contexts) rows[0].push_back(length_text(context));
  const auto add_row = [&](auto& line, const char* name, double AllHeads::*figure) {
    const auto& [key, by_context] = line;
    std::vector<std::string>& row = rows.emplace_back();
    row = {std::to_string(key.first), std::string(name_of(key.second)), name};
    for (const std::size_t context : contexts) {
      const auto found = by_context.find(context);
      row.push_back(found == by_context.end() ? "-" : percent_text(found->second.*figure));
    }
  };
  for (const auto& line : lines) {
    add_row(line, "mean", &AllHeads::mean);
    add_row(line, "worst head", &AllHeads::worst);
    add_row(line, "best choice", &AllHeads::mean_best);
  }
  return "selection mass: percent of full attention in what queries see, by tokens up to theirs\n" +
         aligned(rows);
}

std::string mass_csv(std::span<const MassCell> cells) {
  std::string text = "block,queries_of,context,head,queries,mean,lowest_decile,mean_best\n";
  for (const MassCell& cell : cells) {
    text += fmt::format("{},{},{},{},{},{},{},{}\n", cell.block, name_of(cell.use), cell.context,
                        cell.head, cell.n_queries, cell.mean, cell.lowest_decile, cell.mean_best);
  }
  return text;
}

}  // namespace longreach::eval
