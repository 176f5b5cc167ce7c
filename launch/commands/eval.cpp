#include "launch/commands/eval.hpp"

#include "eval/examiner.hpp"
#include "eval/first_token.hpp"
#include "eval/results.hpp"
#include "eval/run.hpp"
#include "eval/selection_mass.hpp"
#include "eval/shared_questions.hpp"
#include "eval/summary.hpp"
#include "generation/work_share.hpp"
#include "kernels/base/error.hpp"
#include "kernels/base/json.hpp"
#include "kernels/base/output_file.hpp"
#include "kernels/base/write_all.hpp"
#include "launch/evidence.hpp"
#include "launch/generator_options.hpp"
#include "launch/open_model.hpp"
#include "launch/output_files.hpp"
#include "launch/picture.hpp"
#include "launch/progress.hpp"
#include "launch/run_settings.hpp"
#include "launch/saved_context.hpp"
#include "launch/signals.hpp"
#include "launch/standard_streams.hpp"
#include "launch/token_file.hpp"
#include "launch/usage.hpp"

#include <fmt/format.h>

#include <algorithm>
#include <memory>
#include <span>
#include <string>
#include <utility>
#include <vector>

namespace longreach::launch {
namespace {

/// The tokens of the longest question, that of --bos included.
std::size_t longest(const EvalOptions& options, const eval::Task& task) {
  const std::size_t n = std::ranges::max(task.specs(), {}, &eval::QuestionSpec::length).length;
  return options.bos ? n + 1 : n;
}

/// How many of the rows need no logits: all but those of losses, which need the head as decoded
/// tokens do, and of answers, which are short unless the user says how long.
double prompt_share(const EvalOptions& options, std::size_t n_tokens) {
  if (options.kind->form == eval::TaskForm::kTexts) return 0;
  const std::size_t n_new = std::min(options.task.n_new.value_or(0), n_tokens);
  return 1 - static_cast<double>(n_new) / static_cast<double>(n_tokens);
}

/// What the leaders of replicas need before a model is loaded; that of the job alone has the file.
struct PreparedTask {
  std::unique_ptr<model::Tokenizer> tokenizer;
  std::unique_ptr<eval::Task> task;
  eval::Settings settings = {};
  std::unique_ptr<eval::ResultFile> file;

  std::size_t n_left() const { return task->specs().size() - file->results().size(); }
};

/// Whether a run can measure what choosing misses.
void require_choices(const EvalOptions& options, const OpenedModel& opened, std::size_t n_left) {
  require_sparse_blocks("--selection-mass", opened);
  if (n_left == 0) {
    base::input_error(
        "--selection-mass: {} has the results of all questions, so nothing is read: expected "
        "another --out",
        options.out.string());
  }
}

PreparedTask prepare(const EvalOptions& options, const OpenedModel& opened) {
  PreparedTask prepared;
  prepared.tokenizer = open_tokenizer_of(opened.checkpoint, opened.config, options.tokenizer);
  prepared.task = options.kind->make(options.task, *prepared.tokenizer);
  if (options.bos) {
    check_vocabulary({&*options.bos, 1}, opened.config.vocab_size, "--bos");
    prepared.task = eval::with_first_token(std::move(prepared.task), *options.bos);
  }
  prepared.settings = run_settings(opened, *prepared.tokenizer, options.bos);
  for (auto& setting : eval::task_settings(*options.kind, options.task, *prepared.task)) {
    prepared.settings.push_back(std::move(setting));
  }
  return prepared;
}

void check_outputs(const EvalOptions& options, const OpenedModel& opened) {
  NamedFiles files = model_files(opened, options.model, options.tokenizer);
  for (const auto& file : options.task.files) files.add_input("a file of the task", file);
  files.add_output("--out", options.out);
  files.add_output("--csv", options.csv);
  files.add_output("--svg", options.svg);
  files.add_output("--png", options.png);
  files.add_output("--selection-mass", options.selection_mass);
  files.check_outputs();
}

/// The same on the leader of the job.
PreparedTask prepare_to_lead(const EvalOptions& options, const OpenedModel& opened) {
  check_outputs(options, opened);
  if (options.png) require_png_tool();
  if (options.task.wants_evidence) require_sparse_blocks("--evidence", opened);
  PreparedTask prepared = prepare(options, opened);
  prepared.file =
      std::make_unique<eval::ResultFile>(options.out, *prepared.task, prepared.settings);
  if (options.selection_mass) require_choices(options, opened, prepared.n_left());
  return prepared;
}

generation::GeneratorOptions examiner_options(const EvalOptions& options, const OpenedModel& opened,
                                              std::size_t longest_in_memory,
                                              generation::SavedTexts* saved) {
  auto generator = generator_options(opened.room, longest_in_memory, options.batch.n_parallel);
  // Which queries are measured, and in which order, must not depend on who shares a step.
  if (options.selection_mass) generator.max_running = 1;
  generator.keeps_prefixes = options.shares_prefixes;
  generator.saved = saved;
  return generator;
}

/// Tokens of a question that are not in files of contexts, of the one that has most.
std::size_t most_in_memory(const EvalOptions& options, const OpenedModel& opened,
                           const PreparedTask& prepared) {
  const std::size_t n_longest = longest(options, *prepared.task);
  if (opened.engine_options.contexts.empty()) return n_longest;
  generation::SavedTexts saved = saved_texts(opened);
  std::size_t n_least = n_longest;
  for (std::size_t i = 0; i < prepared.task->specs().size() && n_least > 0; ++i) {
    if (prepared.file->results().contains(i)) continue;
    const std::vector<base::TokenId> prompt = prepared.task->question(i).prompt;
    const auto found = saved.find(prompt, prompt.size() - 1, 0);
    n_least = std::min(n_least, found ? found->n_tokens : 0);
  }
  return n_longest - n_least;
}

/// Asks what has no result yet, on the leaders of all replicas. Returns whether all was asked,
/// which that of the job knows.
bool ask(const EvalOptions& options, const OpenedModel& opened, const PreparedTask& prepared,
         std::size_t longest_in_memory, dist::Engine& engine, dist::Communicator& leaders,
         const StopSignals& signals) {
  eval::Settings settings = prepared.settings;
  settings.emplace_back(std::string(eval::kModelFingerprint), eval::model_fingerprint(engine));
  if (options.selection_mass) engine.measure_selection(options.mass_one_in);
  generation::SavedTexts saved = saved_texts(opened);
  eval::Examiner examiner(engine, opened.config, *prepared.tokenizer,
                          examiner_options(options, opened, longest_in_memory, &saved));
  const auto run = [&](std::unique_ptr<generation::WorkSource> source) {
    return eval::run(*prepared.task, examiner, engine.grid(), settings, *source);
  };
  const std::string compared = eval::settings_text(settings);
  if (!prepared.file) return run(generation::remote_source(compared, leaders));
  eval::ResultFile& file = *prepared.file;
  file.add_setting(settings.back().first, settings.back().second);
  bool finished = false;
  eval::RunProgress last;
  {
    StatusLine line(PlainLines::kEveryMinute);
    eval::SharedQuestions questions(*prepared.task, file, leaders.size(),
                                    [&](const eval::RunProgress& progress) {
                                      last = progress;
                                      line.update([&] { return progress_text(progress); });
                                      return !signals.received();
                                    });
    finished = run(generation::leading_source(questions, compared, leaders));
  }
  file.sync();
  if (options.model.verbosity == Verbosity::kInfo) {
    base::write_message(
        fmt::format("read {} tokens in {:.1f} s\n", last.n_tokens_read, last.seconds));
  }
  if (!finished) {
    base::write_message(
        fmt::format("stopped after {} of {} questions; the same command goes on from there\n",
                    file.results().size(), prepared.task->specs().size()));
  }
  return finished;
}

void summarise(const EvalOptions& options, const OpenedModel& opened,
               const PreparedTask& prepared) {
  prepared.file->sort();
  std::vector<eval::Result> results;
  for (const auto& [question, result] : prepared.file->results()) results.push_back(result);
  const auto depths = options.task.n_depths > 0 ? eval::Depths::kGrid : eval::Depths::kNone;
  const eval::Summary summary = eval::summarise(prepared.task->name(), results, depths);
  write_output(eval::table(summary));
  if (options.csv) base::write_file(*options.csv, eval::csv(summary));
  if (options.svg || options.png) {
    const std::string caption =
        fmt::format("{}, attention {}", base::utf8_name(model_name(opened.checkpoint)),
                    model::name_of(opened.engine_options.attention.mode));
    const std::string picture = eval::heat_map(summary, caption);
    if (options.svg) base::write_file(*options.svg, picture);
    if (options.png) write_png(*options.png, picture);
  }
}

}  // namespace

int run(const EvalOptions& options, dist::World& world) {
  const StopSignals signals;
  OpenedModel opened = world.agree([&] {
    require_replicas(options.batch.n_replicas, world.size());
    for (const auto& file : options.task.files) {
      require_readable_by_all(options.batch.n_replicas, "--input", file);
    }
    return open_model(options.model);
  });
  opened.files.push_back({vocabulary_path(opened, options.tokenizer), InputFile::Readers::kSome});
  for (const auto& path : options.task.files) {
    opened.files.push_back({path, InputFile::Readers::kSome});
  }
  const bool leads_replica = world.rank() % (world.size() / options.batch.n_replicas) == 0;
  const PreparedTask prepared = world.agree([&] {
    if (world.leads_job()) return prepare_to_lead(options, opened);
    return leads_replica ? prepare(options, opened) : PreparedTask();
  });
  opened.engine_options.cache_memory = options.cache_memory;
  if (options.contexts) {
    opened.engine_options.contexts =
        share_contexts(*options.contexts, EmptyFolder::kRefused, opened, prepared.tokenizer.get(),
                       options.any_isa, world);
  }
  struct Work {
    std::size_t n_left, longest_in_memory;
  };
  Work work = world.agree([&] {
    if (!world.leads_job()) return Work();
    return Work{prepared.n_left(), most_in_memory(options, opened, prepared)};
  });
  world.communicator().broadcast(std::as_writable_bytes(std::span(&work, 1)), 0);
  std::vector<eval::MassCell> masses;
  if (work.n_left > 0) {
    const std::size_t n_tokens = world.leads_job() ? longest(options, *prepared.task) : 0;
    const double share = world.leads_job() ? prompt_share(options, n_tokens) : 0;
    const char* option = options.task.lengths.empty() ? "--input" : "--lengths";
    const auto engine =
        load_engine(opened, {n_tokens, n_tokens, share, option, work.longest_in_memory}, world,
                    options.batch.n_replicas);
    const auto leaders = world.communicator().split(leads_replica ? 0 : 1);
    if (!leads_replica) {
      engine->serve();
      return 0;
    }
    const bool finished =
        ask(options, opened, prepared, work.longest_in_memory, *engine, *leaders, signals);
    write_trace(*engine, options.model);
    log_usage(*engine, options.model);
    std::vector<dist::MassSample> samples;
    if (options.selection_mass) samples = engine->selection_masses();
    if (!world.leads_job()) return 0;
    if (!finished) return signals.exit_code();
    masses = eval::mass_cells(samples);
  }
  if (!world.leads_job()) return 0;
  summarise(options, opened, prepared);
  if (options.selection_mass) {
    write_output(eval::mass_table(masses));
    base::write_file(*options.selection_mass, eval::mass_csv(masses));
  }
  return 0;
}

}  // namespace longreach::launch
