#include "launch/commands/generate.hpp"

#include "generation/sampler.hpp"
#include "generation/text_stream.hpp"
#include "kernels/base/error.hpp"
#include "kernels/base/read_file.hpp"
#include "kernels/base/seconds.hpp"
#include "kernels/base/sha256.hpp"
#include "kernels/base/write_all.hpp"
#include "launch/open_model.hpp"
#include "launch/progress.hpp"
#include "launch/signals.hpp"
#include "launch/standard_streams.hpp"
#include "launch/statistics.hpp"
#include "launch/token_file.hpp"
#include "launch/usage.hpp"

#include <fmt/format.h>

#include <algorithm>
#include <array>
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
  std::vector<TokenId> tokens;
};

std::string read_prompt(const GenerateOptions& options) {
  std::string prompt;
  if (options.prompt) {
    prompt = *options.prompt;
  } else {
    prompt = options.prompt_file ? base::read_file(*options.prompt_file) : read_input();
  }
  if (prompt.empty()) base::input_error("the prompt is empty, at least one byte is needed");
  return prompt;
}

Prompt tokenize(const GenerateOptions& options, const OpenedModel& opened,
                const std::string& text) {
  const std::size_t vocab_size = opened.config.vocab_size;
  check_vocabulary(options.stop_tokens, vocab_size, "--stop-token");
  check_vocabulary(options.sampler.banned, vocab_size, "--ban-token");
  Prompt prompt{open_tokenizer_of(opened.checkpoint, opened.config, options.tokenizer), {}};
  prompt.tokens = prompt.tokenizer->encode(text);
  check_vocabulary(prompt.tokens, vocab_size, "the prompt (does --tokenizer fit the model?)");
  return prompt;
}

std::uint64_t random_seed() {
  std::random_device device;
  return std::uint64_t{device()} << 32 | device();
}

generation::SamplerOptions sampler_options(const GenerateOptions& options, std::uint64_t seed,
                                           const std::vector<TokenId>& never) {
  generation::SamplerOptions sampler = options.sampler;
  sampler.banned.insert(sampler.banned.end(), never.begin(), never.end());
  // Greedy is meant as the plain best token unless penalties are asked for.
  const bool greedy = sampler.temperature == 0;
  sampler.presence = options.presence_penalty.value_or(greedy ? 0 : sampler.presence);
  sampler.frequency = options.frequency_penalty.value_or(greedy ? 0 : sampler.frequency);
  sampler.seed = seed;
  return sampler;
}

/// One continuation: holds what the steps from the first to the last token share.
class Generation {
 public:
  Generation(const GenerateOptions& options, dist::Engine& engine, const model::ModelConfig& config,
             const model::Tokenizer& tokenizer, const StopSignals& signals,
             RunStatistics& statistics)
      : options_(options),
        engine_(engine),
        end_token_(config.end_token),
        tokenizer_(tokenizer),
        signals_(signals),
        statistics_(statistics),
        session_(engine.new_session()),
        sampler_(tokenizer, sampler_options(options, statistics.seed,
                                            model::ids_without_text(tokenizer, config.vocab_size,
                                                                    config.end_token))),
        text_(options.stop_strings) {}

  /// From the prompt to the last token. Returns why it ended there.
  std::string run(std::span<const TokenId> prompt) {
    std::string reason = read(prompt) ? decode(prompt.size()) : kSignal;
    if (write_output(text_.flush()) == WriteResult::kReaderGone) reason = kReaderGone;
    statistics_.bytes_per_token = engine_.bytes_per_token(session_.n_tokens());
    statistics_.logits_hash = hash_.hex_digest();
    return reason;
  }

 private:
  static constexpr auto kSignal = "signal";
  static constexpr auto kReaderGone = "closed output";

  /// Feeds the prompt as one call, which draws the first token. Returns false when a signal stopped
  /// it.
  bool read(std::span<const TokenId> prompt) {
    ProgressLine line(prompt.size());
    const Clock::time_point start = Clock::now();
    const bool finished = feed(prompt, prompt.size() - 1, [&](double share_done) {
      statistics_.share_read = share_done;
      line.update(share_done);
      return !signals_.received();
    });
    if (finished) statistics_.share_read = 1;
    statistics_.prompt_seconds = seconds_since(start);
    return finished;
  }

  std::string decode(std::size_t position) {
    const Clock::time_point start = Clock::now();
    for (;; ++position) {
      if (next_ == end_token_) return "end token";
      if (std::ranges::count(options_.stop_tokens, next_) > 0)
        return fmt::format("token {}", next_);
      sampler_.record(next_);
      ++statistics_.n_generated;
      if (write_output(text_.push(tokenizer_.bytes(next_))) == WriteResult::kReaderGone)
        return kReaderGone;
      if (text_.stopped()) return "stop string";
      if (statistics_.n_generated == options_.n_tokens) return "token limit";
      if (!feed(std::array{next_}, position, [this](double) { return !signals_.received(); }))
        return kSignal;
      ++statistics_.n_decode_calls;
      statistics_.decode_seconds = seconds_since(start);
      if (signals_.received()) return kSignal;
    }
  }

  /// One call; the logits of its last position draw the next token.
  bool feed(std::span<const TokenId> tokens, std::size_t last_position,
            const dist::Progress& progress) {
    return engine_.feed(
        session_, tokens, std::array{last_position},
        [this](std::size_t, std::span<const float> logits) {
          hash_.update(std::as_bytes(logits));
          next_ = sampler_.sample(logits);
        },
        progress);
  }

  const GenerateOptions& options_;
  dist::Engine& engine_;
  TokenId end_token_;
  const model::Tokenizer& tokenizer_;
  const StopSignals& signals_;
  RunStatistics& statistics_;
  dist::Session session_;
  generation::Sampler sampler_;
  generation::TextStream text_;
  base::Sha256 hash_;
  TokenId next_ = 0;
};

}  // namespace

int run(const GenerateOptions& options, dist::World& world) {
  const std::string text =
      world.agree([&] { return world.leads_job() ? read_prompt(options) : std::string(); });
  const StopSignals signals;  // from here on there is something to end cleanly

  OpenedModel opened = world.agree([&] { return open_model(options.model); });
  opened.files.push_back({vocabulary_path(opened, options.tokenizer), InputFile::Readers::kSome});
  opened.files.push_back(
      {options.prompt_file.value_or(std::filesystem::path()), InputFile::Readers::kSome});
  const auto prompt = world.agree([&] {
    if (!world.leads_job()) return Prompt();
    NamedFiles files = model_files(opened, options.model, options.tokenizer);
    if (options.prompt_file) files.add_input("--prompt-file", *options.prompt_file);
    files.check_outputs();
    return tokenize(options, opened, text);
  });
  const auto engine = load_engine(
      opened, {prompt.tokens.size() + options.n_tokens, prompt.tokens.size(), "-n"}, world);
  if (!engine->leads()) {
    engine->serve();
    return 0;
  }

  RunStatistics statistics;
  statistics.n_prompt = prompt.tokens.size();
  statistics.seed = options.seed.value_or(random_seed());
  Generation generation(options, *engine, opened.config, *prompt.tokenizer, signals, statistics);
  statistics.stop_reason = generation.run(prompt.tokens);
  write_trace(*engine, options.model);
  // A line of its own, but nothing that would show in a log of the errors alone.
  const bool after_text = statistics.n_generated > 0 && error_follows_output();
  base::write_message(fmt::format("{}{}\n", after_text ? "\n" : "", statistics_text(statistics)));
  log_usage(*engine, options.model);
  return signals.exit_code();
}

}  // namespace longreach::launch
