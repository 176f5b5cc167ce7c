#include "partition/plan.hpp"

#include "kernels/base/error.hpp"

#include <algorithm>
#include <limits>
#include <span>
#include <string>
#include <tuple>

namespace longreach::partition {
namespace {

/// More shards than this are chosen only where a node has so many ranks.
constexpr std::size_t kManyShards = 16;

constexpr double kNever = std::numeric_limits<double>::infinity();

/// The blocks with what they take and cost in one grid, on stages whose ranks all have the least
/// place of the stage.
class Stages {
 public:
  Stages(const RunSizes& sizes, const Site& site, Grid grid, double prompt_share)
      : sizes_(sizes), grid_(grid), prompt_share_(prompt_share) {
    const std::span places = site.places;
    for (std::size_t first = 0; first < places.size(); first += grid.n_shards) {
      const std::span shards = places.subspan(first, grid.n_shards);
      least_.push_back(least_place(shards));
      shares_node_ = shares_node_ && on_one_node(shards);
    }
    exchange_link_ = shares_node_ ? site.inside_node : site.network;
    transfer_link_ = on_one_node(places) ? site.inside_node : site.network;
    const Shard heaviest{0, grid.n_shards};
    for (std::size_t i = 0; i < sizes.blocks.size(); ++i) {
      bytes_.push_back(bytes_.back() + block_memory(sizes, i, heaviest).total());
      reads_.push_back(reads_.back() + block_reads(sizes, i, grid.n_shards));
      multiply_adds_.push_back(multiply_adds_.back() +
                               block_multiply_adds(sizes, i, grid.n_shards));
      decoding_exchange_.push_back(decoding_exchange_.back() +
                                   block_exchange(sizes, i, grid.n_shards, exchange_link_, 1));
      prompt_exchange_.push_back(prompt_exchange_.back() + block_exchange(sizes, i, grid.n_shards,
                                                                          exchange_link_,
                                                                          sizes.step_rows));
    }
  }

  bool shares_node() const { return shares_node_; }

  bool fits(std::size_t stage, Range blocks) const {
    const std::size_t beside = stage_memory(sizes_, blocks, {0, grid_.n_shards}).total();
    return bytes_[blocks.end] - bytes_[blocks.begin] + beside <= least_[stage].memory_bytes;
  }

  StagePlan plan(std::size_t stage, Range blocks) const {
    const auto of_blocks = [&](const auto& sums) { return sums[blocks.end] - sums[blocks.begin]; };
    const Place& place = least_[stage];
    const std::size_t beside = stage_memory(sizes_, blocks, {0, grid_.n_shards}).weights;
    const bool is_last = blocks.end == sizes_.blocks.size();
    const auto transfer = [&](std::size_t step_rows) {
      return is_last ? 0 : stage_transfer(sizes_, transfer_link_, step_rows);
    };
    const auto reads = static_cast<double>(of_blocks(reads_) + beside);
    const auto multiply_adds = static_cast<double>(of_blocks(multiply_adds_));
    const std::size_t n_jobs = kBlockJobs * blocks.size() + (is_last ? kHeadJobs : 0);
    return {.blocks = blocks,
            .decoding = {.read = reads / place.read_bytes_per_second,
                         .waiting = job_waiting(n_jobs, sizes_.n_threads, 1),
                         .exchange = of_blocks(decoding_exchange_),
                         .transfer = transfer(1)},
            .prompt = {.arithmetic = multiply_adds / place.multiply_adds_per_second(),
                       .waiting = job_waiting(n_jobs, sizes_.n_threads, sizes_.step_rows),
                       .exchange = of_blocks(prompt_exchange_),
                       .transfer = transfer(sizes_.step_rows)}};
  }

  /// Whether filling one stage after another needs no more than there are: cheap to ask, and
  /// necessary for a division.
  bool may_fit() const {
    const std::size_t n = sizes_.blocks.size();
    std::size_t begin = 0;
    for (std::size_t stage = 0; stage < grid_.n_stages && begin < n; ++stage) {
      std::size_t end = begin;
      while (end < n && fits(stage, {begin, end + 1})) ++end;
      begin = end;
    }
    return begin == n;
  }

  /// The contiguous division whose slowest stage is fastest; empty if none fits.
  std::vector<Range> divide() const {
    const std::size_t n = sizes_.blocks.size();
    std::vector<std::vector<double>> seconds;
    // slowest[s][e]: of the best division of blocks 0 .. e-1 into s stages; begin[s][e]: its last
    // stage's.
    std::vector slowest(grid_.n_stages + 1, std::vector<double>(n + 1, kNever));
    std::vector begin(grid_.n_stages + 1, std::vector<std::size_t>(n + 1));
    slowest[0][0] = 0;
    for (std::size_t s = 1; s <= grid_.n_stages; ++s) {
      if (s == 1 || !are_alike(least_[s - 1], least_[s - 2])) seconds = seconds_of_ranges(s - 1);
      for (std::size_t e = s; e <= n; ++e) {
        for (std::size_t b = s - 1; b < e; ++b) {
          const double candidate = std::max(slowest[s - 1][b], seconds[b][e]);
          if (candidate < slowest[s][e]) {
            slowest[s][e] = candidate;
            begin[s][e] = b;
          }
        }
      }
    }
    if (slowest[grid_.n_stages][n] == kNever) return {};
    std::vector<Range> blocks(grid_.n_stages);
    for (std::size_t s = grid_.n_stages, e = n; s > 0; --s) {
      blocks[s - 1] = {begin[s][e], e};
      e = begin[s][e];
    }
    return blocks;
  }

 private:
  static bool on_one_node(std::span<const Place> places) {
    return std::ranges::all_of(places,
                               [&](const Place& p) { return p.node == places.front().node; });
  }

  static bool are_alike(const Place& a, const Place& b) {
    return a.memory_bytes == b.memory_bytes && a.read_bytes_per_second == b.read_bytes_per_second &&
           a.multiply_adds_per_second() == b.multiply_adds_per_second();
  }

  /// [begin][end]: of the stage with these blocks; kNever where they do not fit.
  std::vector<std::vector<double>> seconds_of_ranges(std::size_t stage) const {
    const std::size_t n = sizes_.blocks.size();
    std::vector seconds(n, std::vector<double>(n + 1, kNever));
    for (std::size_t b = 0; b < n; ++b) {
      for (std::size_t e = b + 1; e <= n && fits(stage, {b, e}); ++e) {
        seconds[b][e] = plan(stage, {b, e}).mean_seconds(prompt_share_);
      }
    }
    return seconds;
  }

  const RunSizes& sizes_;
  Grid grid_;
  double prompt_share_;
  std::vector<Place> least_;  ///< Of each stage.
  bool shares_node_ = true;
  Link exchange_link_, transfer_link_;
  // Sums over the blocks before, for the shard that holds, reads and computes most.
  std::vector<std::size_t> bytes_{0}, reads_{0}, multiply_adds_{0};
  std::vector<double> decoding_exchange_{0}, prompt_exchange_{0};
};

/// A grid with its blocks divided, and what speaks against it.
struct Choice {
  Grid grid;
  std::vector<StagePlan> stages = {};
  std::size_t reluctance = 0;  ///< 0: shards share a node; 1: at most kManyShards; 2: more.
  double seconds_per_row = 0;  ///< Of a single stream.

  bool operator<(const Choice& other) const {
    return std::tuple(reluctance, seconds_per_row, grid.n_shards) <
           std::tuple(other.reluctance, other.seconds_per_row, other.grid.n_shards);
  }
};

double sum_of_times(const std::vector<StagePlan>& stages, RowTime StagePlan::*row) {
  double seconds = 0;
  for (const StagePlan& stage : stages) seconds += (stage.*row).total();
  return seconds;
}

double slowest_time(const std::vector<StagePlan>& stages, RowTime StagePlan::*row) {
  double seconds = 0;
  for (const StagePlan& stage : stages) seconds = std::max(seconds, (stage.*row).total());
  return seconds;
}

/// The mean over a single stream's rows. A decoded token passes through one stage after another;
/// the steps of a prompt do so at once, as soon as the first one has come to the last stage.
double seconds_per_row(const RunSizes& sizes, const std::vector<StagePlan>& stages,
                       double prompt_share) {
  const double n_prompt = prompt_share * static_cast<double>(sizes.context_tokens);
  const double n_steps = std::max(1.0, n_prompt / static_cast<double>(sizes.step_rows));
  const double filling = 1 + static_cast<double>(stages.size() - 1) / n_steps;
  return prompt_share * filling * slowest_time(stages, &StagePlan::prompt) +
         (1 - prompt_share) * sum_of_times(stages, &StagePlan::decoding);
}

std::optional<Choice> divided(const RunSizes& sizes, const Site& site, Grid grid,
                              double prompt_share) {
  const Stages stages(sizes, site, grid, prompt_share);
  if (!stages.may_fit()) return std::nullopt;
  Choice choice{.grid = grid};
  for (const Range& blocks : stages.divide()) {
    choice.stages.push_back(stages.plan(choice.stages.size(), blocks));
  }
  if (choice.stages.empty()) return std::nullopt;
  if (!stages.shares_node()) choice.reluctance = grid.n_shards <= kManyShards ? 1 : 2;
  choice.seconds_per_row = seconds_per_row(sizes, choice.stages, prompt_share);
  return choice;
}

RunSizes with_threads(const RunSizes& sizes, const Machine& machine, std::size_t n_ranks) {
  RunSizes result = sizes;
  if (sizes.n_threads == 0) result.n_threads = least_place(machine, n_ranks).n_cores;
  return result;
}

/// What all ranks of any grid hold together, at the least.
std::size_t undivided_bytes(const RunSizes& sizes) {
  const MemoryNeed whole = memory_need(sizes);
  return whole.total() - whole.buffers - whole.program;
}

/// The best grid of these ranks that fits and agrees with the request.
std::optional<Choice> choose(const RunSizes& sizes, const Site& site, const PlanRequest& request) {
  const std::size_t n_ranks = site.places.size();
  std::optional<Choice> best;
  for (std::size_t n_stages = 1; n_stages <= std::min(n_ranks, sizes.blocks.size()); ++n_stages) {
    const Grid grid{n_stages, n_ranks / n_stages};
    if (grid.n_ranks() != n_ranks || request.n_stages.value_or(n_stages) != n_stages ||
        request.n_shards.value_or(grid.n_shards) != grid.n_shards) {
      continue;
    }
    const auto choice = divided(sizes, site, grid, request.prompt_share);
    if (choice && (!best || *choice < *best)) best = choice;
  }
  return best;
}

std::optional<Choice> choose(const RunSizes& sizes, const Machine& machine, std::size_t n_ranks,
                             const PlanRequest& request) {
  if (n_ranks * least_place(machine, n_ranks).memory_bytes < undivided_bytes(sizes)) {
    return std::nullopt;  // spares a search among thousands of ranks nearly all of its time
  }
  return choose(with_threads(sizes, machine, n_ranks), site_of(machine, n_ranks), request);
}

/// Errors: InputError for a grid that these ranks cannot be.
void check_grid(const RunSizes& sizes, std::size_t n_ranks, const PlanRequest& request) {
  const std::size_t n_blocks = sizes.blocks.size();
  const std::size_t n_stages = request.n_stages.value_or(1);
  const std::size_t n_shards = request.n_shards.value_or(1);
  if (n_stages > n_blocks) {
    base::input_error("--stages: expected at most {}, the model's blocks, found {}", n_blocks,
                      n_stages);
  }
  if (request.n_stages && request.n_shards && n_stages * n_shards != n_ranks) {
    base::input_error("--stages, --shards: {} x {} make {} ranks, found {}", n_stages, n_shards,
                      n_stages * n_shards, n_ranks);
  }
  if (n_ranks % n_stages != 0) {
    base::input_error("--stages: {} ranks cannot be divided into {} stages", n_ranks, n_stages);
  }
  if (n_ranks % n_shards != 0) {
    base::input_error("--shards: {} ranks cannot be divided into groups of {}", n_ranks, n_shards);
  }
  if (request.n_shards && n_ranks / n_shards > n_blocks) {
    base::input_error("--shards: {} ranks in groups of {} make {} stages, the model has {} blocks",
                      n_ranks, n_shards, n_ranks / n_shards, n_blocks);
  }
}

double gigabytes(std::size_t n_bytes) { return static_cast<double>(n_bytes) / 1e9; }

/// The least number of ranks that fit in any grid.
std::optional<Choice> least_that_fits(const RunSizes& sizes, const Machine& machine) {
  for (std::size_t n_ranks = 1; n_ranks <= kMaxRanks; ++n_ranks) {
    if (auto choice = choose(sizes, machine, n_ranks, {})) return choice;
  }
  return std::nullopt;
}

std::string advice(const RunSizes& sizes, const Machine& machine) {
  if (const auto choice = least_that_fits(sizes, machine)) {
    return fmt::format("--ranks {} would fit (--stages {} --shards {})", choice->grid.n_ranks(),
                       choice->grid.n_stages, choice->grid.n_shards);
  }
  if (!machine.n_nodes) return fmt::format("nor would any number up to {}", kMaxRanks);
  Machine growing = machine;
  growing.n_nodes.reset();
  const std::string stuck = fmt::format("nor would any number with --nodes {}", *machine.n_nodes);
  const auto choice = least_that_fits(sizes, growing);
  if (!choice) return stuck;
  return fmt::format("{}, but --ranks {} --nodes {} would fit", stuck, choice->grid.n_ranks(),
                     growing.nodes_for(choice->grid.n_ranks()));
}

RankPlan rank_plan(const RunSizes& sizes, const Site& site, const Choice& choice,
                   std::size_t rank) {
  const Grid grid = choice.grid;
  const Shard shard{rank % grid.n_shards, grid.n_shards};
  const std::size_t stage = rank / grid.n_shards;
  const Range blocks = choice.stages[stage].blocks;
  return {.stage = stage,
          .shard = shard.index,
          .place = site.places[rank],
          .heads = heads_of(sizes.n_head, shard),
          .channels = columns_of(sizes.n_embd, shard),
          .hidden = columns_of(sizes.ffn_size, shard),
          .vocabulary =
              blocks.end == sizes.blocks.size() ? columns_of(sizes.vocab_size, shard) : Range{},
          .memory = memory_need(sizes, blocks, shard)};
}

Plan plan_of(const RunSizes& sizes, const Site& site, const Choice& choice) {
  Plan plan{.grid = choice.grid, .stages = choice.stages, .ranks = {}};
  for (std::size_t rank = 0; rank < site.places.size(); ++rank) {
    plan.ranks.push_back(rank_plan(sizes, site, choice, rank));
    plan.n_nodes = std::max(plan.n_nodes, site.places[rank].node + 1);
  }
  return plan;
}

}  // namespace

double Plan::seconds_per_token() const { return sum_of_times(stages, &StagePlan::decoding); }

double Plan::tokens_per_second() const { return 1 / slowest_time(stages, &StagePlan::decoding); }

double Plan::prompt_tokens_per_second() const {
  return 1 / slowest_time(stages, &StagePlan::prompt);
}

std::size_t Plan::stream_bytes() const {
  std::size_t most = 0;
  for (const RankPlan& rank : ranks) {
    most = std::max(most, rank.memory.states + rank.memory.cache + rank.memory.means);
  }
  return most;
}

Layout layout_of(const Plan& plan) {
  Layout layout{plan.grid, {}};
  for (const StagePlan& stage : plan.stages) layout.stage_blocks.push_back(stage.blocks);
  return layout;
}

Plan plan_on_cluster(const RunSizes& sizes, const Machine& machine, const PlanRequest& request) {
  const std::size_t n_ranks =
      request.n_ranks.value_or(request.n_stages.value_or(1) * request.n_shards.value_or(1));
  if (n_ranks > kMaxRanks) {
    base::input_error("--ranks: expected at most {}, found {}", kMaxRanks, n_ranks);
  }
  check_grid(sizes, n_ranks, request);
  const auto choice = choose(sizes, machine, n_ranks, request);
  if (!choice) {
    base::input_error(
        "--ranks: {} with {:.4g} GB each do not hold {} tokens, which take {:.4g} GB on a single "
        "rank; {}",
        n_ranks, gigabytes(least_place(machine, n_ranks).memory_bytes), sizes.context_tokens,
        gigabytes(memory_need(sizes).total()), advice(sizes, machine));
  }
  return plan_of(with_threads(sizes, machine, n_ranks), site_of(machine, n_ranks), *choice);
}

std::optional<Plan> plan_on_site(const RunSizes& sizes, const Site& site,
                                 const PlanRequest& request) {
  check_grid(sizes, site.places.size(), request);
  const auto choice = choose(sizes, site, request);
  if (!choice) return std::nullopt;
  return plan_of(sizes, site, *choice);
}

std::optional<std::size_t> ranks_that_fit(const RunSizes& sizes, const Site& site) {
  const Place least = least_place(site.places);
  // One on each node, so that none takes from another.
  const Machine growing{
      .n_nodes = {},
      .domains = {{least.n_cores, least.memory_bytes, least.read_bytes_per_second}},
      .node_memory_bytes = least.memory_bytes,
      .inside_node = site.inside_node,
      .network = site.network};
  const auto choice = least_that_fits(sizes, growing);
  if (!choice) return std::nullopt;
  return choice->grid.n_ranks();
}

}  // namespace longreach::partition
