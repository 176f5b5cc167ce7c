#include "launch/commands/generate.hpp"

#include "generation/generator.hpp"
#include "kernels/base/error.hpp"
#include "kernels/base/json.hpp"
#include "kernels/base/output_file.hpp"
#include "kernels/base/read_file.hpp"
#include "kernels/base/seconds.hpp"
#include "kernels/base/write_all.hpp"
#include "launch/commands/generate_many.hpp"
#include "launch/evidence.hpp"
#include "launch/open_model.hpp"
#include "launch/progress.hpp"
#include "launch/request.hpp"
#include "launch/saved_context.hpp"
#include "launch/signals.hpp"
#include "launch/standard_streams.hpp"
#include "launch/statistics.hpp"
#include "launch/token_file.hpp"
#include "launch/usage.hpp"

#include <fmt/format.h>

#include <algorithm>
#include <chrono>
#include <random>
#include <span>

namespace longreach::launch {
namespace {

using base::seconds_since;
using base::TokenId;
using Clock = std::chrono::steady_clock;

/// What to continue, as the model reads it.
struct Prompt {
  std::unique_ptr<model::Tokenizer> tokenizer;
  std::vector<TokenId> all;                     ///< After the context's text, if there is one.
  std::size_t n_saved = 0;                      ///< The first ones, which a state holds.
  std::vector<dist::ContextFolders> contexts;   ///< That state's.
  std::optional<dist::ContextDirectory> saved;  ///< What it is saved to.

  std::size_t n_left() const { return all.size() - n_saved; }
};

/// What the context of --save does not hold yet is to be read.
void open_saved(const std::filesystem::path& directory, const dist::ContextSettings& settings,
                const ContextPoint& before, Prompt& prompt) {
  std::optional<dist::ContextParent> parent;
  if (before.n_saved() > 0) parent = before.state;
  prompt.saved.emplace(dist::ContextDirectory::open_to_write(directory, settings, parent));
  require_beginning(*prompt.saved, prompt.all);
  prompt.n_saved = prompt.saved->n_tokens();
  if (prompt.n_saved >= prompt.all.size()) {
    base::input_error("--save {}: holds this prompt already; name another context",
                      base::utf8_name(directory.string()));
  }
  prompt.contexts = {prompt.saved->folders()};
}

std::string read_prompt(const GenerateOptions& options) {
  std::string prompt;
  if (options.prompt) {
    prompt = *options.prompt;
  } else {
    prompt = options.prompt_file ? base::read_file(*options.prompt_file) : read_input();
  }
  return prompt;
}

Prompt tokenize(const GenerateOptions& options, const OpenedModel& opened,
                const std::string& text) {
  const std::size_t vocab_size = opened.config.vocab_size;
  check_vocabulary(options.continuation, vocab_size);
  Prompt prompt{
      open_tokenizer_of(opened.checkpoint, opened.config, options.tokenizer), {}, 0, {}, {}};
  std::vector<TokenId> tokens = prompt.tokenizer->encode(text);
  check_vocabulary(tokens, vocab_size, "the prompt (does --tokenizer fit the model?)");
  if (!options.context) begin_text(tokens, options.bos, vocab_size);
  if (tokens.empty()) base::input_error("the prompt is empty, at least one token is needed");
  if (!options.context && !options.save) {
    prompt.all = std::move(tokens);
    return prompt;
  }
  const auto settings = context_settings(opened, prompt.tokenizer.get(), options.any_isa);
  ContextPoint before;
  if (options.context) before = context_point(*options.context, options.at, settings);
  prompt.all = before.tokens;
  prompt.all.insert(prompt.all.end(), tokens.begin(), tokens.end());
  prompt.n_saved = before.n_saved();
  prompt.contexts = before.folders;
  if (options.save) open_saved(*options.save, settings, before, prompt);
  return prompt;
}

std::uint64_t random_seed() {
  std::random_device device;
  return std::uint64_t{device()} << 32 | device();
}

/// Errors: InputError if the request failed.
std::string reason_text(const generation::Finished& finished) {
  using generation::FinishReason;
  switch (finished.reason) {
    case FinishReason::kEndToken:
      return "end token";
    case FinishReason::kStopToken:
      return fmt::format("token {}", *finished.end_token);
    case FinishReason::kStopString:
      return "stop string";
    case FinishReason::kLength:
      return "token limit";
    case FinishReason::kFailed:
      base::input_error("{}", finished.error);
    default:
      return std::string(generation::name_of(finished.reason));
  }
}

/// One continuation, from the prompt to the last token.
class Generation {
 public:
  /// Saves a state every so many tokens if there is a context to save to. The arguments must
  /// outlive it.
  Generation(const GenerateOptions& options, const OpenedModel& opened, Prompt& prompt,
             std::size_t saves_every, dist::Engine& engine, const StopSignals& signals)
      : engine_(engine),
        signals_(signals),
        prompt_(prompt),
        generator_(engine, opened.config, *prompt.tokenizer,
                   {.step_seconds = generation::kNoLimit}),
        line_(prompt.n_left()) {
    statistics_.n_prompt = prompt.n_left();
    statistics_.seed = options.continuation.seed.value_or(random_seed());
    const auto left = std::span(prompt.all).subspan(prompt.n_saved);
    auto request = request_of(options.continuation, {left.begin(), left.end()}, statistics_.seed);
    if (prompt.saved) request.saving = generation::Saving{.every = saves_every};
    request.wants_evidence = options.wants_evidence;
    id_ = generator_.submit(
        std::move(request),
        [this](const generation::Event& event) {
          std::visit([this](const auto& each) { take(each); }, event);
        },
        session_after(engine, prompt.n_saved));
  }

  struct Outcome {
    RunStatistics statistics;
    std::vector<generation::Passage> evidence;  ///< What the text looked at, if that was asked for.
  };

  /// Writes the text as it comes.
  Outcome run() {
    while (generator_.n_requests() > 0) {
      const bool finished = generator_.step([this](double share_of_step) {
        show_progress(share_of_step);
        // A state that is to be saved is that of whole steps.
        return prompt_.saved || !signals_.received();
      });
      if (!finished || signals_.received()) stop("signal");
    }
    statistics_.bytes_per_token = engine_.bytes_per_token(prompt_.n_saved + statistics_.n_prompt +
                                                          statistics_.n_decode_calls);
    return {statistics_, evidence_};
  }

 private:
  void show_progress(double share_of_step) {
    const std::size_t n_left = statistics_.n_prompt - n_read_;
    if (n_left == 0) return;
    const auto n_step = static_cast<double>(std::min(generator_.rows_in_step(id_), n_left));
    statistics_.share_read = (static_cast<double>(n_read_) + share_of_step * n_step) /
                             static_cast<double>(statistics_.n_prompt);
    statistics_.prompt_seconds = seconds_since(start_);
    line_.update(statistics_.share_read);
  }

  void take(const generation::PromptProgress& progress) {
    show_progress(0);
    n_read_ = progress.n_read;
    statistics_.share_read =
        static_cast<double>(n_read_) / static_cast<double>(statistics_.n_prompt);
    statistics_.prompt_seconds = seconds_since(start_);
    decode_start_ = Clock::now();
  }
  void take(const generation::Saved& state) {
    prompt_.saved->add_state(std::span(prompt_.all).first(state.n_tokens));
  }
  void take(const generation::PromptLogprobs&) {}
  void take(const generation::NewToken& token) {
    count_decoding();
    if (prompt_.saved) prompt_.all.push_back(token.token);
    ++statistics_.n_generated;
    write(token.text);
  }
  void take(const generation::Finished& finished) {
    count_decoding();
    write(finished.text);
    statistics_.stop_reason = stopped_by_.empty() ? reason_text(finished) : stopped_by_;
    statistics_.logits_hash = finished.logits_sha256;
    evidence_ = finished.evidence;
  }

  void count_decoding() {
    if (generator_.n_tokens_read() <= statistics_.n_prompt) return;
    statistics_.n_decode_calls = generator_.n_tokens_read() - statistics_.n_prompt;
    statistics_.decode_seconds = seconds_since(decode_start_);
  }

  void write(const std::string& text) {
    if (write_output(text) == WriteResult::kReaderGone) stop("closed output");
  }

  void stop(const char* reason) {
    if (stopped_by_.empty()) stopped_by_ = reason;
    generator_.cancel(id_);
  }

  dist::Engine& engine_;
  const StopSignals& signals_;
  RunStatistics statistics_;
  Prompt& prompt_;  ///< Generated tokens are added to it, if they are saved.
  std::vector<generation::Passage> evidence_;
  generation::Generator generator_;
  ProgressLine line_;
  std::size_t n_read_ = 0;
  generation::RequestId id_ = 0;
  std::string stopped_by_;  ///< Something outside.
  Clock::time_point start_ = Clock::now(), decode_start_ = start_;
};

void report_evidence(const GenerateOptions& options, const Prompt& prompt,
                     std::span<const generation::Passage> evidence) {
  if (options.evidence_file) {
    base::write_file(*options.evidence_file,
                     evidence_lines(evidence, prompt.all, *prompt.tokenizer));
  } else {
    base::write_message(evidence_text(evidence, prompt.all, *prompt.tokenizer));
  }
}

}  // namespace

int run(const GenerateOptions& options, dist::World& world) {
  if (options.prompts) return run_prompts(options, world);
  const std::string text =
      world.agree([&] { return world.leads_job() ? read_prompt(options) : std::string(); });
  const StopSignals signals;  // from here on there is something to end cleanly

  OpenedModel opened = world.agree([&] { return open_model(options.model); });
  opened.engine_options.cache_memory = options.cache_memory;
  opened.files.push_back({vocabulary_path(opened, options.tokenizer), InputFile::Readers::kSome});
  opened.files.push_back(
      {options.prompt_file.value_or(std::filesystem::path()), InputFile::Readers::kSome});
  Prompt prompt = world.agree([&] {
    if (!world.leads_job()) return Prompt();
    NamedFiles files = model_files(opened, options.model, options.tokenizer);
    if (options.prompt_file) files.add_input("--prompt-file", *options.prompt_file);
    files.add_output("--evidence", options.evidence_file);
    files.check_outputs();
    if (options.wants_evidence) require_sparse_blocks("--evidence", opened);
    return tokenize(options, opened, text);
  });
  opened.engine_options.contexts = dist::share_folders(world.communicator(), prompt.contexts);
  const std::size_t n_new = options.continuation.n_tokens, n_all = prompt.all.size() + n_new;
  const double prompt_share =
      static_cast<double>(prompt.n_left()) / static_cast<double>(prompt.n_left() + n_new);
  std::size_t n_in_memory = n_all - prompt.n_saved, saves_every = 0;
  if (options.save) {
    saves_every = tokens_between_states({}, opened);
    n_in_memory = std::min(n_in_memory, generation::kStatesInMemory * saves_every + n_new);
  }
  const auto engine =
      load_engine(opened, {n_all, prompt.n_left(), prompt_share, "-n", n_in_memory}, world);
  if (!engine->leads()) {
    engine->serve();
    return 0;
  }

  const auto [statistics, evidence] =
      Generation(options, opened, prompt, saves_every, *engine, signals).run();
  write_trace(*engine, options.model);
  // A line of its own, but nothing that would show in a log of the errors alone.
  const bool after_text = statistics.n_generated > 0 && error_follows_output();
  base::write_message(fmt::format("{}{}\n", after_text ? "\n" : "", statistics_text(statistics)));
  if (options.wants_evidence) report_evidence(options, prompt, evidence);
  log_usage(*engine, options.model);
  return signals.exit_code();
}

}  // namespace longreach::launch
