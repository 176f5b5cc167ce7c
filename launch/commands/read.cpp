#include "launch/commands/read.hpp"

#include "kernels/base/error.hpp"
#include "kernels/base/json.hpp"
#include "kernels/base/read_file.hpp"
#include "kernels/base/seconds.hpp"
#include "kernels/base/write_all.hpp"
#include "launch/open_model.hpp"
#include "launch/progress.hpp"
#include "launch/saved_context.hpp"
#include "launch/signals.hpp"
#include "launch/standard_streams.hpp"
#include "launch/token_file.hpp"
#include "launch/usage.hpp"
#include "model/state.hpp"
#include "model/step.hpp"

#include <fmt/format.h>

#include <algorithm>
#include <chrono>
#include <deque>
#include <optional>
#include <span>
#include <vector>

namespace longreach::launch {
namespace {

using base::TokenId;

/// A text and the context it goes to; on the leader.
struct Reading {
  std::vector<TokenId> tokens;
  std::optional<dist::ContextDirectory> context;
};

/// Errors: InputError if the context holds something else.
void require_beginning(const dist::ContextDirectory& context, std::span<const TokenId> tokens) {
  const std::vector<TokenId> saved = context.tokens();
  const std::size_t n = std::min(saved.size(), tokens.size());
  const auto differs = std::ranges::mismatch(std::span(saved).first(n), tokens.first(n)).in1;
  const auto n_alike = static_cast<std::size_t>(differs - std::span(saved).begin());
  if (n_alike < n) {
    base::input_error("{}: holds {} tokens of another text: {} tokens agree",
                      base::utf8_name(context.path().string()), saved.size(), n_alike);
  }
}

Reading open_reading(const ReadOptions& options, const OpenedModel& opened) {
  const std::string text = options.text_file ? base::read_file(*options.text_file) : read_input();
  if (text.empty()) base::input_error("the text is empty, at least one byte is needed");
  NamedFiles files = model_files(opened, options.model, options.tokenizer);
  if (options.text_file) files.add_input("--file", *options.text_file);
  files.check_outputs();
  const auto tokenizer = open_tokenizer_of(opened.checkpoint, opened.config, options.tokenizer);
  Reading reading{tokenizer->encode(text), {}};
  check_vocabulary(reading.tokens, opened.config.vocab_size,
                   "the text (does --tokenizer fit the model?)");
  reading.context = dist::ContextDirectory::open_to_write(
      options.save, context_settings(opened, tokenizer.get()));
  require_beginning(*reading.context, reading.tokens);
  return reading;
}

/// States between chunks are small: they hold no open one.
std::size_t tokens_between_states(const ReadOptions& options, const OpenedModel& opened) {
  constexpr std::size_t kDefault = 8192, kCachePerState = 10;
  const partition::RunSizes sizes = run_sizes(opened, {1, 1, 1.0, "--file"});
  const std::size_t chunk_size = sizes.chunk_size;
  const std::size_t bytes_of_chunks = opened.config.n_sparse * sizes.cache.chunk_bytes;
  std::size_t every = kDefault;
  if (bytes_of_chunks > 0) {
    const std::size_t wanted = kCachePerState * model::recurrent_bytes(opened.config);
    every = std::max(every, (wanted + bytes_of_chunks - 1) / bytes_of_chunks * chunk_size);
  }
  every = options.states_every.value_or(every);
  return (every + chunk_size - 1) / chunk_size * chunk_size;
}

/// Reads what the context does not hold yet.
void read(const ReadOptions& options, std::size_t every, dist::Engine& engine, Reading& reading,
          const StopSignals& signals) {
  dist::ContextDirectory& context = *reading.context;
  const std::span<const TokenId> tokens = reading.tokens;
  const std::size_t n_begin = context.n_tokens();
  const auto start = std::chrono::steady_clock::now();
  std::size_t n_read = n_begin;
  if (n_begin < tokens.size()) {
    dist::Session session = n_begin > 0 ? engine.restore(n_begin) : engine.new_session();
    ProgressLine line(tokens.size() - n_begin);
    std::deque<std::size_t> begun;
    const auto name_saved = [&] {
      for (; !begun.empty() && begun.front() <= engine.n_saved_tokens(); begun.pop_front()) {
        context.add_state(tokens.first(begun.front()));
      }
    };
    while (n_read < tokens.size() && !signals.received()) {
      const std::size_t border = std::min((n_read / every + 1) * every, tokens.size());
      const std::size_t n = std::min(border - n_read, model::kStepRows);
      engine.read(session, tokens.subspan(n_read, n), {}, {});
      n_read += n;
      line.update(static_cast<double>(n_read - n_begin) /
                  static_cast<double>(tokens.size() - n_begin));
      if (n_read == border || signals.received()) {
        engine.save(session);
        begun.push_back(n_read);
      }
      name_saved();
    }
    engine.finish_saving();
    name_saved();
  }
  base::write_message(fmt::format(
      "{} of {} tokens read in {:.1f} s; {} holds {} tokens, {} states\n", n_read - n_begin,
      tokens.size(), base::seconds_since(start), base::utf8_name(options.save.string()),
      context.n_tokens(), context.states().size()));
  if (n_read < tokens.size()) {
    base::write_message("stopped; the same command goes on from there\n");
  }
}

}  // namespace

int run(const ReadOptions& options, dist::World& world) {
  const StopSignals signals;
  OpenedModel opened = world.agree([&] { return open_model(options.model); });
  opened.engine_options.contexts = {options.save};
  opened.engine_options.cache_memory = options.cache_memory;
  opened.files.push_back({vocabulary_path(opened, options.tokenizer), InputFile::Readers::kSome});
  if (options.text_file) {
    opened.files.push_back({*options.text_file, InputFile::Readers::kSome});
  }
  Reading reading =
      world.agree([&] { return world.leads_job() ? open_reading(options, opened) : Reading(); });
  const std::size_t n_tokens = reading.tokens.size();
  const std::size_t every = tokens_between_states(options, opened);
  // Chunks move to files when the state after theirs is saved.
  const auto engine = load_engine(opened, {n_tokens, n_tokens, 1.0, "--file", 2 * every}, world);
  if (!engine->leads()) {
    engine->serve();
    return 0;
  }
  read(options, every, *engine, reading, signals);
  write_trace(*engine, options.model);
  log_usage(*engine, options.model);
  return reading.context->n_tokens() < n_tokens ? signals.exit_code() : 0;
}

}  // namespace longreach::launch
