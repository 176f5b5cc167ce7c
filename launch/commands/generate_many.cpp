#include "launch/commands/generate_many.hpp"

#include "eval/settings.hpp"
#include "generation/generator.hpp"
#include "generation/work_share.hpp"
#include "kernels/base/error.hpp"
#include "kernels/base/line_file.hpp"
#include "kernels/base/lines.hpp"
#include "kernels/base/seconds.hpp"
#include "kernels/base/write_all.hpp"
#include "launch/generator_options.hpp"
#include "launch/open_model.hpp"
#include "launch/progress.hpp"
#include "launch/prompt_file.hpp"
#include "launch/request.hpp"
#include "launch/run_settings.hpp"
#include "launch/signals.hpp"
#include "launch/usage.hpp"

#include <fmt/format.h>

#include <algorithm>
#include <chrono>
#include <map>
#include <memory>
#include <span>
#include <utility>
#include <vector>

namespace longreach::launch {
namespace {

using base::seconds_since;
using Clock = std::chrono::steady_clock;
using Prompts = std::vector<PromptLine>;

std::size_t n_tokens_of(const PromptLine& prompt) {
  return prompt.request.prompt.size() + prompt.request.n_new;
}

/// The results of a file of prompts; on the leader of the job.
class Results {
 public:
  /// Opens the file and reads what an earlier run left there. Errors: InputError naming it: lines
  /// that are no results, or not of these prompts with these options.
  Results(const std::filesystem::path& path, const Prompts& prompts)
      : prompts_(prompts), file_(path), is_done_(prompts.size()) {
    for (std::size_t i = 0; i < prompts.size(); ++i) index_of_[prompts[i].number] = i;
    const base::LineFile::Content content = file_.read();
    std::size_t n_lines = 0;
    base::for_lines(content.lines, [&](std::size_t number, std::string_view text) {
      count(text, base::line_name(path, number));
      n_lines = number;
    });
    if (content.torn.empty()) return;
    if (!is_cut_short(content.torn)) {
      base::input_error("{}: is no line of results", base::line_name(path, n_lines + 1));
    }
    file_.truncate(content.lines.size());
  }

  bool is_done(std::size_t prompt) const { return is_done_[prompt]; }
  std::size_t n_done() const { return n_done_; }
  std::size_t n_failed() const { return n_failed_; }
  /// Those of this run.
  std::size_t n_generated() const { return n_generated_; }

  void add(const std::string& line) {
    n_generated_ += count(line, file_.name().string()).n_tokens;
    file_.append(line);
  }

  void sync() { file_.sync(); }

  /// Puts the lines in the order of the prompts.
  void sort() {
    file_.sort([this](std::size_t number, std::string_view text) {
      return read_result(text, base::line_name(file_.name(), number)).line;
    });
  }

 private:
  ResultHead count(std::string_view text, const std::string& where) {
    const ResultHead head = read_result(text, where);
    const auto found = index_of_.find(head.line);
    if (found == index_of_.end() || prompts_[found->second].fingerprint != head.fingerprint) {
      base::input_error(
          "{}: is a result of other prompts, another model or other options; give this run another "
          "--out",
          where);
    }
    if (is_done_[found->second]) {
      base::input_error("{}: the prompt of line {} has a result already", where, head.line);
    }
    is_done_[found->second] = true;
    ++n_done_;
    if (head.failed) ++n_failed_;
    return head;
  }

  const Prompts& prompts_;
  base::LineFile file_;
  std::map<std::size_t, std::size_t> index_of_;  ///< By number of the line.
  std::vector<bool> is_done_;
  std::size_t n_done_ = 0, n_failed_ = 0, n_generated_ = 0;
};

/// The prompts that have no result, as work that replicas share; where the leader of the job is.
class SharedPrompts final : public generation::SharedWork {
 public:
  SharedPrompts(const Prompts& prompts, Results& results, std::size_t n_replicas,
                const StopSignals& signals)
      : prompts_(prompts), results_(results), signals_(signals), replicas_(n_replicas) {
    for (std::size_t i = 0; i < prompts.size(); ++i) {
      if (results.is_done(i)) continue;
      to_do_.push_back(i);
      n_tokens_to_do_ += static_cast<double>(n_tokens_of(prompts[i]));
    }
  }

  std::size_t n_left() const override { return to_do_.size() - n_handed_out_; }
  std::optional<std::size_t> hand_out(std::size_t) override {
    if (n_left() == 0) return std::nullopt;
    return to_do_[n_handed_out_++];
  }
  void add_result(std::size_t, std::size_t, const std::string& line) override {
    results_.add(line);
  }
  void set_progress(std::size_t replica, const generation::WorkProgress& progress) override {
    replicas_[replica] = progress;
  }
  bool carry_on() override {
    status_.update([this] { return text(); });
    return !signals_.received();
  }

  std::size_t n_tokens_read() const {
    std::size_t sum = 0;
    for (const auto& replica : replicas_) sum += replica.n_tokens_read;
    return sum;
  }

 private:
  std::string text() const {
    double done = 0;
    for (const auto& replica : replicas_) done += replica.work_done;
    return progress_text("prompts", results_.n_done(), prompts_.size(), n_tokens_read(),
                         seconds_since(start_), done / std::max(n_tokens_to_do_, 1.0));
  }

  const Prompts& prompts_;
  Results& results_;
  const StopSignals& signals_;
  std::vector<std::size_t> to_do_;
  std::size_t n_handed_out_ = 0;
  double n_tokens_to_do_ = 0;
  std::vector<generation::WorkProgress> replicas_;
  Clock::time_point start_ = Clock::now();
  StatusLine status_{PlainLines::kEveryMinute};
};

/// The prompts of a replica that are under way.
class PromptWorker final : public generation::Worker {
 public:
  PromptWorker(const Prompts& prompts, generation::Generator& generator, std::size_t n_at_once,
               generation::WorkSource& source)
      : prompts_(prompts), generator_(generator), n_at_once_(n_at_once), source_(source) {}

  std::size_t n_room() const override { return n_at_once_ - under_way_.size(); }
  std::size_t n_under_way() const override { return under_way_.size(); }

  void begin(std::size_t index) override {
    const PromptLine& prompt = prompts_[index];
    if (!prompt.error.empty()) return add(index, error_line(prompt, prompt.error));
    UnderWay& own = under_way_[index];
    try {
      generator_.submit(prompt.request, [this, index, &own](const generation::Event& event) {
        std::visit([&](const auto& each) { take(index, own, each); }, event);
      });
    } catch (const base::InputError& error) {
      under_way_.erase(index);
      add(index, error_line(prompt, error.what()));
    }
  }

  bool step(const dist::Progress& progress) override { return generator_.step(progress); }

  generation::WorkProgress progress() const override {
    double done = n_done_;
    for (const auto& [index, own] : under_way_) {
      done += static_cast<double>(own.n_read + own.continuation.tokens.size());
    }
    return {done, generator_.n_tokens_read()};
  }

 private:
  struct UnderWay {
    Continuation continuation;
    std::size_t n_read = 0;
    Clock::time_point start = Clock::now();
  };

  void take(std::size_t, UnderWay& own, const generation::PromptProgress& progress) {
    own.n_read = progress.n_read;
    own.continuation.n_shared = progress.n_shared;
  }
  void take(std::size_t, UnderWay&, const generation::Saved&) {}
  void take(std::size_t, UnderWay&, const generation::PromptLogprobs&) {}
  void take(std::size_t, UnderWay& own, const generation::NewToken& token) {
    own.continuation.tokens.push_back(token.token);
    own.continuation.text += token.text;
    if (token.logprobs) own.continuation.logprobs.push_back(*token.logprobs);
  }
  void take(std::size_t index, UnderWay& own, const generation::Finished& finished) {
    own.continuation.text += finished.text;
    own.continuation.finished = finished;
    const PromptLine& prompt = prompts_[index];
    const std::string line = finished.reason == generation::FinishReason::kFailed
                                 ? error_line(prompt, finished.error)
                                 : result_line(prompt, own.continuation, seconds_since(own.start));
    under_way_.erase(index);
    add(index, line);
  }

  void add(std::size_t index, const std::string& line) {
    n_done_ += static_cast<double>(n_tokens_of(prompts_[index]));
    source_.add_result(index, line, progress());
  }

  const Prompts& prompts_;
  generation::Generator& generator_;
  std::size_t n_at_once_;
  generation::WorkSource& source_;
  std::map<std::size_t, UnderWay> under_way_;
  /// Tokens of prompts that are done, with all that they might have generated.
  double n_done_ = 0;
};

/// What the leaders of replicas need before a model is loaded; that of the job alone has the
/// results.
struct Preparation {
  std::unique_ptr<model::Tokenizer> tokenizer;
  eval::Settings settings = {};
  std::unique_ptr<Prompts> prompts;
  std::unique_ptr<Results> results;

  std::size_t n_left() const { return prompts->size() - results->n_done(); }
};

Preparation prepare(const GenerateOptions& options, const OpenedModel& opened, bool leads_job) {
  if (leads_job) {
    NamedFiles files = model_files(opened, options.model, options.tokenizer);
    files.add_input("--prompts", *options.prompts);
    files.add_output("--out", options.out);
    files.check_outputs();
  }
  const std::size_t vocab_size = opened.config.vocab_size;
  check_vocabulary(options.continuation, vocab_size);
  Preparation prepared;
  prepared.tokenizer = open_tokenizer_of(opened.checkpoint, opened.config, options.tokenizer);
  prepared.settings = run_settings(opened, *prepared.tokenizer, options.bos);
  prepared.prompts = std::make_unique<Prompts>(
      read_prompts(*options.prompts, options.continuation, *prepared.tokenizer, options.bos,
                   vocab_size, eval::settings_text(prepared.settings)));
  if (leads_job) prepared.results = std::make_unique<Results>(*options.out, *prepared.prompts);
  return prepared;
}

/// The longest of the prompts, with what is generated, and the share of prompts among all tokens.
RunLength length_of(const Prompts& prompts) {
  RunLength length{1, 1, 0, "--prompts"};
  double n_prompt = 0, n_all = 1;
  for (const PromptLine& prompt : prompts) {
    length.context_tokens = std::max(length.context_tokens, n_tokens_of(prompt));
    length.longest_call_tokens = std::max(length.longest_call_tokens, prompt.request.prompt.size());
    n_prompt += static_cast<double>(prompt.request.prompt.size());
    n_all += static_cast<double>(n_tokens_of(prompt));
  }
  length.prompt_share = n_prompt / n_all;
  return length;
}

/// Continues what has no result yet, on the leaders of all replicas. Returns whether all is done,
/// which that of the job knows.
bool continue_all(const GenerateOptions& options, const OpenedModel& opened,
                  const Preparation& prepared, dist::Engine& engine, dist::Communicator& leaders,
                  const StopSignals& signals) {
  const Prompts& prompts = *prepared.prompts;
  generation::GeneratorOptions generator_options = launch::generator_options(
      opened.room, length_of(prompts).context_tokens, options.batch.n_parallel);
  if (options.batch.step_ms) generator_options.step_seconds = *options.batch.step_ms / 1e3;
  generation::Generator generator(engine, opened.config, *prepared.tokenizer, generator_options);
  // As many wait as run, so that one that ends is followed at once.
  const std::size_t n_at_once = 2 * generator_options.max_running;
  const std::string settings = eval::settings_text(prepared.settings);
  const auto finish = [&](std::unique_ptr<generation::WorkSource> source) {
    PromptWorker worker(prompts, generator, n_at_once, *source);
    return generation::work(*source, worker);
  };
  if (!prepared.results) return finish(generation::remote_source(settings, leaders));
  Results& results = *prepared.results;
  const Clock::time_point start = Clock::now();
  std::size_t n_read = 0;
  bool finished = false;
  {
    SharedPrompts shared(prompts, results, leaders.size(), signals);
    finished = finish(generation::leading_source(shared, settings, leaders));
    n_read = shared.n_tokens_read();
  }
  results.sync();
  const double seconds = seconds_since(start);
  base::write_message(fmt::format(
      "{} of {} prompts; {} tokens read and generated, {:.1f} tokens/s; {} generated, {:.1f} "
      "tokens/s; {:.1f} s{}\n",
      results.n_done(), prompts.size(), n_read, static_cast<double>(n_read) / seconds,
      results.n_generated(), static_cast<double>(results.n_generated()) / seconds, seconds,
      finished ? "" : "; stopped, the same command goes on from there"));
  return finished;
}

}  // namespace

int run_prompts(const GenerateOptions& options, dist::World& world) {
  const StopSignals signals;
  OpenedModel opened = world.agree([&] {
    require_replicas(options.batch.n_replicas, world.size());
    require_readable_by_all(options.batch.n_replicas, "--prompts", *options.prompts);
    return open_model(options.model);
  });
  opened.files.push_back({vocabulary_path(opened, options.tokenizer), InputFile::Readers::kSome});
  opened.files.push_back({*options.prompts, InputFile::Readers::kSome});
  const bool leads_replica = world.rank() % (world.size() / options.batch.n_replicas) == 0;
  const Preparation prepared = world.agree(
      [&] { return leads_replica ? prepare(options, opened, world.leads_job()) : Preparation(); });
  std::size_t n_left = world.leads_job() ? prepared.n_left() : 0;
  world.communicator().broadcast(std::as_writable_bytes(std::span(&n_left, 1)), 0);
  if (n_left > 0) {
    const RunLength length =
        world.leads_job() ? length_of(*prepared.prompts) : RunLength{1, 1, 0, "--prompts"};
    const auto engine = load_engine(opened, length, world, options.batch.n_replicas);
    const auto leaders = world.communicator().split(leads_replica ? 0 : 1);
    if (!leads_replica) {
      engine->serve();
      return 0;
    }
    const bool finished = continue_all(options, opened, prepared, *engine, *leaders, signals);
    write_trace(*engine, options.model);
    log_usage(*engine, options.model);
    if (world.leads_job() && !finished) return signals.exit_code();
  }
  if (!world.leads_job()) return 0;
  prepared.results->sort();
  if (const std::size_t n_failed = prepared.results->n_failed(); n_failed > 0) {
    base::input_error("{}: {} of {} prompts failed; their lines in {} say why",
                      options.prompts->string(), n_failed, prepared.prompts->size(),
                      options.out->string());
  }
  return 0;
}

}  // namespace longreach::launch
