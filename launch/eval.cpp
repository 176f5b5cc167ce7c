#include "launch/eval.hpp"

#include "eval/examiner.hpp"
#include "eval/results.hpp"
#include "eval/run.hpp"
#include "eval/summary.hpp"
#include "kernels/isa.hpp"
#include "launch/open_model.hpp"
#include "launch/output_file.hpp"
#include "launch/picture.hpp"
#include "launch/progress.hpp"
#include "launch/signals.hpp"
#include "launch/standard_streams.hpp"

#include <fmt/format.h>

#include <algorithm>

namespace longreach::launch {
namespace {

std::string_view name_of(model::AttentionMode mode) {
  switch (mode) {
    case model::AttentionMode::kMoba:
      return "moba";
    case model::AttentionMode::kReference:
      return "reference";
    case model::AttentionMode::kFull:
      return "full";
  }
  return {};
}

/// What decides the answers beside the task. The model's files are known by what they compute (see
/// eval::probe) rather than by where they lie.
eval::Settings settings_of(const OpenedModel& opened, const model::Tokenizer& tokenizer) {
  const model::AttentionConfig& attention = opened.engine_options.attention;
  const auto file_name = [](std::string_view path) {
    return std::filesystem::path(path).filename().string();
  };
  eval::Settings settings{
      {"model", opened.checkpoint.path().filename().string()},
      {"weights", std::string(base::name_of(opened.engine_options.weights))},
      {"kv", "f32"},
      {"tokenizer", file_name(tokenizer.name())},
      {"attention", std::string(name_of(attention.mode))},
      {"chunk_size", attention.chunk_size},
      {"top_k", attention.top_k},
      {"isa", kernels::active_isa()},
  };
  if (attention.mode == model::AttentionMode::kReference) {
    settings.emplace_back("kv_max", attention.kv_max);
    settings.emplace_back("kv_min", attention.kv_min);
    settings.emplace_back("kv_window", attention.kv_window);
    settings.emplace_back("decode_full", std::uint64_t{attention.decode_full});
  }
  return settings;
}

/// In mode reference an answer depends on how a prompt is split into calls.
eval::Sharing sharing_of(const EvalOptions& options) {
  const bool splits_count = options.model.attention.mode == model::AttentionMode::kReference;
  return splits_count ? eval::Sharing::kNone : options.sharing;
}

std::size_t longest(const eval::Task& task) {
  return std::ranges::max(task.places(), {}, &eval::Place::length).length;
}

/// Asks what has no result yet; the exit code.
int ask(const EvalOptions& options, const OpenedModel& opened, const model::Tokenizer& tokenizer,
        const eval::Task& task, eval::ResultFile& file) {
  const StopSignals signals;
  const std::size_t n_tokens = longest(task);
  const char* option = options.task.lengths.empty() ? "--input" : "--lengths";
  const auto engine = load_engine(opened, {n_tokens, n_tokens, option});
  file.add_setting("probe", eval::probe(*engine));
  eval::Examiner examiner(*engine, opened.config, tokenizer, sharing_of(options));
  bool finished = false;
  {
    StatusLine line(PlainLines::kEveryMinute);
    finished = eval::run(task, examiner, {}, file, [&](const eval::RunProgress& progress) {
      line.update([&] { return progress_text(progress); });
      return !signals.received();
    });
  }
  file.sync();
  if (!finished) {
    fmt::print(stderr, "stopped after {} of {} questions; the same command goes on from there\n",
               file.results().size(), task.places().size());
  }
  return signals.exit_code();
}

}  // namespace

int run(const EvalOptions& options, dist::World& world) {
  if (options.png) require_png_tool();
  const OpenedModel opened = open_model(options.model);
  check_one_rank(world);
  const auto tokenizer = open_tokenizer_of(opened.checkpoint, opened.config, options.tokenizer);
  const std::unique_ptr<eval::Task> task = options.kind->make(options.task, *tokenizer);
  eval::Settings settings = settings_of(opened, *tokenizer);
  for (auto& setting : eval::task_settings(*options.kind, options.task)) {
    settings.push_back(std::move(setting));
  }
  eval::ResultFile file(options.out, task->name(), std::move(settings));
  if (file.results().size() < task->places().size()) {
    const int exit_code = ask(options, opened, *tokenizer, *task, file);
    if (exit_code != 0) return exit_code;
  }

  const auto depths = options.task.n_depths > 0 ? eval::Depths::kGrid : eval::Depths::kNone;
  const eval::Summary summary = eval::summarise(task->name(), file.results(), depths);
  write_output(eval::table(summary));
  if (options.csv) write_file(*options.csv, eval::csv(summary));
  if (options.svg || options.png) {
    const std::string caption =
        fmt::format("{}, attention {}", opened.checkpoint.path().filename().string(),
                    name_of(opened.engine_options.attention.mode));
    const std::string picture = eval::heat_map(summary, caption);
    if (options.svg) write_file(*options.svg, picture);
    if (options.png) write_png(*options.png, picture);
  }
  return 0;
}

}  // namespace longreach::launch
