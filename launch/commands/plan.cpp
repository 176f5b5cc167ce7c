#include "launch/commands/plan.hpp"

#include "generation/request.hpp"
#include "launch/machine/machine.hpp"
#include "launch/machine/topology.hpp"
#include "launch/open_model.hpp"
#include "launch/run_plan.hpp"
#include "launch/saved_context.hpp"
#include "launch/standard_streams.hpp"
#include "partition/plan.hpp"

#include <fmt/format.h>
#include <nlohmann/json.hpp>

#include <algorithm>
#include <string>
#include <tuple>
#include <vector>

namespace longreach::launch {
namespace {

using Json = nlohmann::ordered_json;
using partition::Plan;
using partition::Range;
using partition::RankPlan;
using partition::StagePlan;

partition::Machine machine_of(const PlanOptions& options) {
  partition::Machine machine = options.topology ? described_node(*options.topology) : this_node();
  machine.n_nodes = options.n_nodes;
  if (options.domain_gb_per_second) {
    for (partition::Domain& domain : machine.domains) {
      domain.read_bytes_per_second = *options.domain_gb_per_second * 1e9;
    }
  }
  if (options.core_gflops) machine.core_multiply_adds_per_second = *options.core_gflops / 2 * 1e9;
  if (options.network_us) machine.network.latency_seconds = *options.network_us / 1e6;
  if (options.network_gb_per_second) {
    machine.network.bytes_per_second = *options.network_gb_per_second * 1e9;
  }
  return machine;
}

/// What is planned for.
struct Work {
  std::size_t context_tokens;
  double prompt_share;
  std::size_t saved_bytes;  ///< What the saved context takes on the disk; 0: none is saved.
};

/// Of `generate` on this context, if nobody says how much it writes.
double default_prompt_share(std::size_t context_tokens) {
  const std::size_t n_new = std::min(ContinuationOptions().n_tokens, context_tokens);
  return 1 - static_cast<double>(n_new) / static_cast<double>(context_tokens);
}

/// Whether two ranks take the same line: all sizes are equal, whichever heads and columns they are
/// of.
bool is_like(const RankPlan& a, const RankPlan& b) {
  const auto sizes = [](const RankPlan& r) {
    return std::tuple(r.stage, r.heads.size(), r.channels.size(), r.hidden.size(),
                      r.vocabulary.size(), r.place.memory_bytes);
  };
  return sizes(a) == sizes(b) && a.memory == b.memory;
}

std::string stages_text(const Plan& plan) {
  std::string text = fmt::format("\n{:>6} {:>9} {:>11} {:>12}  {:<10} {:>16}  bound by\n", "stage",
                                 "blocks", "ranks", "ms/token", "bound by", "prompt, ms/token");
  for (std::size_t i = 0; i < plan.stages.size(); ++i) {
    const StagePlan& stage = plan.stages[i];
    const std::size_t first = i * plan.grid.n_shards;
    text += fmt::format("{:>6} {:>9} {:>11} {:>12.4f}  {:<10} {:>16.4f}  {}\n", i,
                        range_text(stage.blocks), range_text({first, first + plan.grid.n_shards}),
                        stage.decoding.total() * 1e3, name_of(stage.decoding.bound()),
                        stage.prompt.total() * 1e3, name_of(stage.prompt.bound()));
  }
  return text;
}

std::string ranks_text(const Plan& plan) {
  std::string text = fmt::format(
      "\n{:>11} {:>9} {:>6} {:>9} {:>7} {:>7} "
      "{:>10}{:>11}{:>11}{:>11}{:>11}{:>11}{:>11}{:>11}{:>11}\n",
      "ranks", "nodes", "stage", "heads", "columns", "hidden", "vocabulary", "weights", "states",
      "cache", "means", "buffers", "program", "total", "available");
  for (std::size_t first = 0, end = 0; first < plan.ranks.size(); first = end) {
    const RankPlan& rank = plan.ranks[first];
    while (end < plan.ranks.size() && is_like(plan.ranks[end], rank)) ++end;
    text += fmt::format("{:>11} {:>9} {:>6} {:>9} {:>7} {:>7} {:>10}", range_text({first, end}),
                        range_text({rank.place.node, plan.ranks[end - 1].place.node + 1}),
                        rank.stage, rank.heads.size(), rank.channels.size(), rank.hidden.size(),
                        rank.vocabulary.size());
    const partition::MemoryNeed& memory = rank.memory;
    for (const std::size_t bytes :
         {memory.weights, memory.states, memory.cache, memory.means, memory.buffers, memory.program,
          memory.total(), rank.place.memory_bytes}) {
      text += fmt::format("{:>11}", bytes_text(bytes));
    }
    text += '\n';
  }
  return text;
}

std::string plan_text(const Plan& plan, const Work& work, const dist::EngineOptions& options) {
  std::string text = fmt::format(
      "context {} tokens, prompt share {:.4g}, weights {}, activations {}, kv {}, "
      "ranks {} = stages {} x shards {}, nodes {}\n",
      work.context_tokens, work.prompt_share, base::name_of(options.weights),
      base::name_of(options.activations), base::name_of(options.attention.kv), plan.ranks.size(),
      plan.grid.n_stages, plan.grid.n_shards, plan.n_nodes);
  if (work.saved_bytes > 0) {
    text += fmt::format(
        "on disk {} in all, of which each rank holds at most {} in memory, beside what is "
        "not saved yet\n",
        bytes_text(work.saved_bytes), bytes_text(*options.cache_memory));
  }
  text += fmt::format("estimate: decoding {:.4g} ms a token, {:.4g} tokens/s for one stream",
                      plan.seconds_per_token() * 1e3, 1 / plan.seconds_per_token());
  if (plan.grid.n_stages > 1) {
    text +=
        fmt::format("; with {} streams at once {:.4g} tokens/s, each further one at most {} a rank",
                    plan.grid.n_stages, plan.tokens_per_second(), bytes_text(plan.stream_bytes()));
  }
  text += fmt::format("\nestimate: prompts {:.1f} tokens/s", plan.prompt_tokens_per_second());
  if (plan.grid.n_stages > 1) text += " with a step in each stage";
  return text + "\n" + stages_text(plan) + ranks_text(plan);
}

Json as_json(Range range) { return {range.begin, range.end}; }

Json as_json(const StagePlan& stage) {
  const partition::RowTime &decoding = stage.decoding, &prompt = stage.prompt;
  return {{"blocks", as_json(stage.blocks)},
          {"seconds_per_token", decoding.total()},
          {"read_seconds", decoding.read},
          {"waiting_seconds", decoding.waiting},
          {"exchange_seconds", decoding.exchange},
          {"transfer_seconds", decoding.transfer},
          {"bound", name_of(decoding.bound())},
          {"prompt",
           {{"seconds_per_token", prompt.total()},
            {"arithmetic_seconds", prompt.arithmetic},
            {"waiting_seconds", prompt.waiting},
            {"exchange_seconds", prompt.exchange},
            {"transfer_seconds", prompt.transfer},
            {"bound", name_of(prompt.bound())}}}};
}

Json as_json(const RankPlan& rank, const StagePlan& stage) {
  const partition::MemoryNeed& memory = rank.memory;
  return {{"stage", rank.stage},
          {"shard", rank.shard},
          {"node", rank.place.node},
          {"domains", as_json(rank.place.domains)},
          {"cores", rank.place.n_cores},
          {"blocks", as_json(stage.blocks)},
          {"heads", as_json(rank.heads)},
          {"columns", as_json(rank.channels)},
          {"hidden", as_json(rank.hidden)},
          {"vocabulary", as_json(rank.vocabulary)},
          {"bytes",
           {{"weights", memory.weights},
            {"states", memory.states},
            {"cache", memory.cache},
            {"means", memory.means},
            {"buffers", memory.buffers},
            {"program", memory.program},
            {"total", memory.total()},
            {"available", rank.place.memory_bytes}}},
          {"seconds_per_token", stage.decoding.total()},
          {"bound", name_of(stage.decoding.bound())}};
}

std::string plan_json(const Plan& plan, const Work& work, const dist::EngineOptions& options) {
  Json stages = Json::array(), ranks = Json::array();
  for (const StagePlan& stage : plan.stages) stages.push_back(as_json(stage));
  for (const RankPlan& rank : plan.ranks) {
    ranks.push_back(as_json(rank, plan.stages[rank.stage]));
  }
  Json json = {{"context", work.context_tokens},
               {"prompt_share", work.prompt_share},
               {"weights", base::name_of(options.weights)},
               {"activations", base::name_of(options.activations)}};
  add_attention(json, options.attention, AttentionPart::kCache);
  json.update({{"replicas", plan.n_replicas},
               {"stages", plan.grid.n_stages},
               {"shards", plan.grid.n_shards},
               {"nodes", plan.n_nodes},
               {"seconds_per_token", plan.seconds_per_token()},
               {"tokens_per_second", plan.tokens_per_second()},
               {"prompt_tokens_per_second", plan.prompt_tokens_per_second()},
               {"bytes_per_stream", plan.stream_bytes()},
               {"bytes_on_disk", work.saved_bytes},
               {"stage_plans", std::move(stages)},
               {"ranks", std::move(ranks)}});
  return json.dump(2) + "\n";
}

}  // namespace

int run(const PlanOptions& options) {
  OpenedModel opened = open_model(options.model);
  opened.engine_options.cache_memory = options.cache_memory;
  const Work work{
      options.context_tokens,
      options.prompt_share.value_or(default_prompt_share(options.context_tokens)),
      options.cache_memory ? saved_bytes(options.context_tokens, opened) : 0,
  };
  // A prompt may be all of the context, in one call.
  RunLength length{options.context_tokens, options.context_tokens, 0, ""};
  if (options.cache_memory) {
    require_savable(opened.engine_options.attention);
    length.tokens_in_memory = generation::kStatesInMemory * tokens_between_states({}, opened);
  }
  partition::RunSizes sizes = run_sizes(opened, length);
  sizes.n_threads = options.model.n_threads.value_or(0);
  const Plan plan = partition::plan_on_cluster(
      sizes, machine_of(options),
      {options.n_ranks, options.model.n_stages, options.model.n_shards, work.prompt_share});
  require_grid_fits(opened.engine_options.attention, plan.ranks.size());
  const auto text = options.format == ListingFormat::kJson ? plan_json : plan_text;
  write_output(text(plan, work, opened.engine_options));
  return 0;
}

}  // namespace longreach::launch
