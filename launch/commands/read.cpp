#include "launch/commands/read.hpp"

#include "generation/generator.hpp"
#include "kernels/base/error.hpp"
#include "kernels/base/json.hpp"
#include "kernels/base/read_file.hpp"
#include "kernels/base/seconds.hpp"
#include "kernels/base/write_all.hpp"
#include "launch/open_model.hpp"
#include "launch/progress.hpp"
#include "launch/request.hpp"
#include "launch/saved_context.hpp"
#include "launch/signals.hpp"
#include "launch/standard_streams.hpp"
#include "launch/token_file.hpp"
#include "launch/usage.hpp"

#include <fmt/format.h>

#include <algorithm>
#include <chrono>
#include <memory>
#include <optional>
#include <span>
#include <utility>
#include <variant>
#include <vector>

namespace longreach::launch {
namespace {

using base::TokenId;

/// A text and the context it goes to; on the leader.
struct Reading {
  std::unique_ptr<model::Tokenizer> tokenizer;
  std::vector<TokenId> tokens;
  std::optional<dist::ContextDirectory> context;
};

Reading open_reading(const ReadOptions& options, const OpenedModel& opened) {
  const std::string text = options.text_file ? base::read_file(*options.text_file) : read_input();
  NamedFiles files = model_files(opened, options.model, options.tokenizer);
  if (options.text_file) files.add_input("--file", *options.text_file);
  files.check_outputs();
  Reading reading{open_tokenizer_of(opened.checkpoint, opened.config, options.tokenizer), {}, {}};
  reading.tokens = reading.tokenizer->encode(text);
  check_vocabulary(reading.tokens, opened.config.vocab_size,
                   "the text (does --tokenizer fit the model?)");
  begin_text(reading.tokens, options.bos, opened.config.vocab_size);
  if (reading.tokens.empty()) base::input_error("the text is empty, at least one token is needed");
  reading.context.emplace(dist::ContextDirectory::open_to_write(
      options.save, context_settings(opened, reading.tokenizer.get())));
  require_beginning(*reading.context, reading.tokens);
  return reading;
}

/// Reads what the context does not hold yet.
void read(const OpenedModel& opened, std::size_t every, dist::Engine& engine, Reading& reading,
          const StopSignals& signals) {
  dist::ContextDirectory& context = *reading.context;
  const std::span<const TokenId> tokens = reading.tokens;
  const std::size_t n_begin = std::min(context.n_tokens(), tokens.size());
  const std::size_t n_left = tokens.size() - n_begin;
  const auto start = std::chrono::steady_clock::now();
  std::size_t n_read = 0;
  if (n_left > 0) {
    ProgressLine line(n_left);
    generation::Generator generator(engine, opened.config, *reading.tokenizer,
                                    {.step_seconds = generation::kNoLimit});
    generation::Request request;
    request.prompt.assign(tokens.end() - static_cast<std::ptrdiff_t>(n_left), tokens.end());
    request.saving = generation::Saving{.every = every};
    const auto id = generator.submit(
        std::move(request),
        [&](const generation::Event& event) {
          if (const auto* const saved = std::get_if<generation::Saved>(&event)) {
            context.add_state(tokens.first(saved->n_tokens));
          } else if (const auto* const part = std::get_if<generation::PromptProgress>(&event)) {
            n_read = part->n_read;
            line.update(static_cast<double>(n_read) / static_cast<double>(n_left));
          } else if (const auto* const end = std::get_if<generation::Finished>(&event)) {
            if (end->reason == generation::FinishReason::kFailed) {
              base::input_error(
                  "{}{}", end->error,
                  context.n_tokens() == 0
                      ? ""
                      : fmt::format(" ({} tokens are saved: the same command goes on)",
                                    context.n_tokens()));
            }
          }
        },
        session_after(engine, n_begin));
    while (generator.n_requests() > 0) {
      generator.step();
      if (signals.received()) generator.cancel(id);
    }
  }
  base::write_message(fmt::format(
      "{} of {} tokens read in {:.1f} s; {} holds {} tokens and {} state{}\n", n_read,
      tokens.size(), base::seconds_since(start), base::utf8_name(context.path().string()),
      context.n_tokens(), context.states().size(), context.states().size() == 1 ? "" : "s"));
  if (context.n_tokens() < tokens.size()) {
    base::write_message("stopped; the same command goes on from there\n");
  }
}

}  // namespace

int run(const ReadOptions& options, dist::World& world) {
  const StopSignals signals;
  OpenedModel opened = world.agree([&] { return open_model(options.model); });
  opened.engine_options.cache_memory = options.cache_memory;
  opened.files.push_back({vocabulary_path(opened, options.tokenizer), InputFile::Readers::kSome});
  if (options.text_file) {
    opened.files.push_back({*options.text_file, InputFile::Readers::kSome});
  }
  Reading reading =
      world.agree([&] { return world.leads_job() ? open_reading(options, opened) : Reading(); });
  std::vector<dist::ContextFolders> contexts;
  if (reading.context) contexts.push_back(reading.context->folders());
  opened.engine_options.contexts = dist::share_folders(world.communicator(), contexts);
  const std::size_t n_tokens = reading.tokens.size();
  const std::size_t every = tokens_between_states(options.states_every, opened);
  const auto engine = load_engine(
      opened, {n_tokens, n_tokens, 1.0, "--file", generation::kStatesInMemory * every}, world);
  if (!engine->leads()) {
    engine->serve();
    return 0;
  }
  read(opened, every, *engine, reading, signals);
  write_trace(*engine, options.model);
  log_usage(*engine, options.model);
  return reading.context->n_tokens() < n_tokens ? signals.exit_code() : 0;
}

}  // namespace longreach::launch
