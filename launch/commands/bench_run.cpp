#include "launch/commands/bench_run.hpp"

#include "generation/generator.hpp"
#include "kernels/base/seconds.hpp"
#include "launch/machine/machine.hpp"
#include "launch/progress.hpp"
#include "partition/ownership.hpp"

#include <algorithm>
#include <array>
#include <chrono>
#include <cstdint>
#include <functional>
#include <random>
#include <span>
#include <utility>
#include <vector>

namespace longreach::launch {
namespace {

using base::seconds_since;
using base::TokenId;
using generation::Generator;
using Clock = std::chrono::steady_clock;

/// Fixed, so that every run computes the same.
constexpr std::uint64_t kSeed = 1;

/// Prompts from this length on are also timed by eighths.
constexpr std::size_t kLongPrompt = 16384;

/// Every token stands for the same text: models need not name a vocabulary to be measured.
class AnyVocabulary : public model::Tokenizer {
 public:
  std::vector<TokenId> encode(std::string_view text) const override {
    return std::vector<TokenId>(text.size());
  }
  std::optional<std::string_view> find(TokenId) const override { return name(); }
  std::string_view name() const override { return "-"; }
};

std::vector<TokenId> random_tokens(std::size_t n, std::size_t vocab_size, std::uint64_t seed) {
  std::mt19937_64 engine(seed);
  std::vector<TokenId> tokens(n);
  for (TokenId& token : tokens) token = static_cast<TokenId>(engine() % vocab_size);
  return tokens;
}

/// Continues the tokens, greedily and to that length in any case.
generation::Request request_of(const BenchRun& run, std::vector<TokenId> prompt,
                               std::size_t n_new) {
  generation::Request request;
  request.prompt = std::move(prompt);
  request.n_new = n_new;
  request.sampler.temperature = 0;
  request.sampler.presence = request.sampler.frequency = 0;
  request.sampler.banned = {run.opened.config.end_token};
  return request;
}

/// A step; returns false when a signal came.
bool step(const BenchRun& run, Generator& generator,
          const std::function<void(double share_of_step)>& report) {
  const bool finished = generator.step([&](double share_of_step) {
    report(share_of_step);
    return !run.signals.received();
  });
  return finished && !run.signals.received();
}

std::size_t n_rounds(const BenchOptions& options) { return options.n_warmups + options.n_repeats; }

BenchResult new_result(const BenchRun& run, std::string_view question, std::size_t context,
                       std::size_t n_tokens) {
  BenchResult result;
  result.question = question;
  result.grid = run.engine.grid();
  result.context = context;
  result.n_tokens = n_tokens;
  result.n_warmups = run.options.n_warmups;
  return result;
}

/// Beside each repeat, as the speed of a shared machine's memory changes.
void measure_read_bandwidth(const BenchRun& run, BenchResult& result) {
  if (result.read_memory_bytes == 0) {
    result.read_memory_bytes = read_memory_bytes(run.options, run.engine.grid());
  }
  result.read_bandwidths.push_back(run.engine.read_bandwidth(result.read_memory_bytes));
}

bool has_forks(const BenchOptions& options) {
  return options.contexts_of_streams == StreamContexts::kForked;
}

/// Sessions after contexts that nobody has read: each has its own, or all are forks of one. Empty
/// when a signal came.
std::vector<dist::Session> filled_sessions(const BenchRun& run, std::size_t context) {
  const std::size_t n_streams = run.options.n_streams;
  const std::size_t n_filled = has_forks(run.options) ? 1 : n_streams;
  ProgressLine line(context * n_filled, "filling");
  std::vector<dist::Session> sessions;
  for (std::size_t i = 0; i < n_filled; ++i) {
    sessions.push_back(run.engine.new_session());
    const auto report = [&](double done) {
      line.update((static_cast<double>(i) + done) / static_cast<double>(n_filled));
      return !run.signals.received();
    };
    if (!run.engine.fill(sessions.back(), context, kSeed + i, report)) return {};
  }
  while (sessions.size() < n_streams) sessions.push_back(run.engine.fork(sessions.front()));
  return sessions;
}

/// Sequences that a generator continues after what sessions have read, and when their tokens come.
class Streams {
 public:
  /// Submits a request for each session, of which at most so many tokens are asked. The references
  /// must outlive this object, and this object the generator's last step.
  Streams(const BenchRun& run, Generator& generator, std::vector<dist::Session> sessions,
          std::size_t most_tokens)
      : run_(run), generator_(generator), streams_(sessions.size()) {
    // Each sees other tokens than its neighbours.
    const auto first = random_tokens(sessions.size(), run.opened.config.vocab_size, kSeed);
    for (std::size_t s = 0; s < sessions.size(); ++s) {
      const auto take = [this, s](const generation::Event& event) {
        if (std::holds_alternative<generation::NewToken>(event)) count(streams_[s]);
      };
      generator.submit(request_of(run, {first[s]}, most_tokens), take, std::move(sessions[s]));
    }
  }
  Streams(const Streams&) = delete;
  Streams& operator=(const Streams&) = delete;

  /// Tokens that each stream has got at least.
  std::size_t n_tokens() const {
    return std::ranges::min_element(streams_, {}, &Stream::n_tokens)->n_tokens;
  }

  /// Decodes so many more of each. Returns false when a signal came.
  bool decode(std::size_t n, const std::function<void(std::size_t n_done)>& report = {}) {
    const std::size_t before = n_tokens();
    while (n_tokens() < before + n) {
      const bool goes_on = step(run_, generator_, [&](double) {
        if (report) report(n_tokens() - before);
      });
      if (!goes_on) return false;
    }
    return true;
  }

  /// Times between tokens go here from now on, if anywhere.
  void record_to(TokenTimes* times) {
    if (times_ != nullptr) times_->seconds += seconds_since(start_);
    times_ = times;
    start_ = Clock::now();
  }

 private:
  struct Stream {
    std::size_t n_tokens = 0;
    Clock::time_point last;
  };

  void count(Stream& stream) {
    const Clock::time_point now = Clock::now();
    if (times_ != nullptr) {
      times_->intervals.push_back(std::chrono::duration<double>(now - stream.last).count());
    }
    stream.last = now;
    ++stream.n_tokens;
  }

  const BenchRun& run_;
  Generator& generator_;
  std::vector<Stream> streams_;
  TokenTimes* times_ = nullptr;
  Clock::time_point start_;
};

/// Bytes that a token of any stream reads, after so many: the streams of a step read the weights
/// together, and there are as many steps as there are stages, which work at once.
std::size_t stream_bytes(const BenchRun& run, std::size_t n_before) {
  const std::size_t n_streams = run.options.n_streams, of_weights = run.engine.weight_bytes();
  const std::size_t n_steps = std::min(run.engine.grid().n_stages, n_streams);
  return run.engine.bytes_per_token(n_before) - of_weights + of_weights * n_steps / n_streams;
}

/// Tokens of a repeat of each stream: one before those that are timed, with which all stages get
/// steps again.
std::size_t round_tokens(const BenchOptions& options) { return options.n_tokens + 1; }

/// Decodes after contexts that nobody has read, in all streams at once.
std::optional<BenchResult> measure_decode(const BenchRun& run, std::size_t context) {
  const BenchOptions& options = run.options;
  std::vector<dist::Session> sessions = filled_sessions(run, context);
  if (sessions.empty()) return std::nullopt;
  BenchResult result = new_result(run, "decode", context, options.n_tokens);
  result.n_streams = options.n_streams;
  result.forks = has_forks(options);
  const AnyVocabulary vocabulary;
  Generator generator(run.engine, run.opened.config, vocabulary,
                      {.max_running = options.n_streams});
  const std::size_t n_all = n_rounds(options) * round_tokens(options);
  Streams streams(run, generator, std::move(sessions), n_all);
  ProgressLine line(n_all, "decoding");
  for (std::size_t round = 0; round < n_rounds(options); ++round) {
    const std::size_t n_before = round * round_tokens(options);
    const auto decode = [&](std::size_t n) {
      return streams.decode(n, [&](std::size_t n_done) {
        line.update(static_cast<double>(n_before + n_done) / static_cast<double>(n_all));
      });
    };
    if (!decode(1)) return std::nullopt;
    if (round == options.n_warmups + options.n_repeats / 2) {  // the context grows
      result.bytes_per_token = stream_bytes(run, context + streams.n_tokens());
    }
    const Clock::time_point start = Clock::now();
    if (!decode(options.n_tokens)) return std::nullopt;
    if (round < options.n_warmups) continue;
    result.seconds.push_back(seconds_since(start) /
                             static_cast<double>(options.n_tokens * options.n_streams));
    measure_read_bandwidth(run, result);
  }
  return result;
}

/// What reading a prompt took.
struct PromptRead {
  double seconds = 0;
  std::size_t n_steps = 0;
};

/// Reads a prompt to the first token after it, beside whatever else the generator has, and reports
/// how many tokens are read. Nothing when a signal came.
std::optional<PromptRead> read_prompt(const BenchRun& run, Generator& generator,
                                      const std::vector<TokenId>& prompt,
                                      const std::function<void(double n_done)>& report) {
  std::size_t n_read = 0;
  PromptRead read;
  bool is_read = false;
  const Clock::time_point start = Clock::now();
  const auto id = generator.submit(request_of(run, prompt, 1), [&](const generation::Event& event) {
    if (const auto* progress = std::get_if<generation::PromptProgress>(&event)) {
      n_read = progress->n_read;
      ++read.n_steps;
      report(static_cast<double>(n_read));
    } else if (std::holds_alternative<generation::NewToken>(event)) {
      read.seconds = seconds_since(start);
      is_read = true;
    }
  });
  while (!is_read) {
    const bool finished = step(run, generator, [&](double share_of_step) {
      const auto n_step = std::min(generator.rows_in_step(id), prompt.size() - n_read);
      report(static_cast<double>(n_read) + share_of_step * static_cast<double>(n_step));
    });
    if (!finished) return std::nullopt;
  }
  return read;
}

/// Reads a prompt of random tokens.
std::optional<BenchResult> measure_prefill(const BenchRun& run, std::size_t context) {
  constexpr std::size_t kParts = 8;
  BenchResult result = new_result(run, "prefill", context, context);
  const std::vector<TokenId> tokens = random_tokens(context, run.opened.config.vocab_size, kSeed);
  const AnyVocabulary vocabulary;
  Generator generator(run.engine, run.opened.config, vocabulary,
                      {.step_seconds = generation::kNoLimit});
  std::array<std::vector<double>, kParts> parts;
  const std::size_t n_all = context * n_rounds(run.options);
  ProgressLine line(n_all, "reading");
  for (std::size_t round = 0; round < n_rounds(run.options); ++round) {
    std::vector<double> part_ends;
    const Clock::time_point start = Clock::now();
    const auto read = read_prompt(run, generator, tokens, [&](double n_done) {
      while (part_ends.size() < kParts &&
             n_done * kParts >= static_cast<double>((part_ends.size() + 1) * context)) {
        part_ends.push_back(seconds_since(start));
      }
      line.update((static_cast<double>(round * context) + n_done) / static_cast<double>(n_all));
    });
    if (!read) return std::nullopt;
    // Each step reads all weights once. Caches and states hardly count beside them and its
    // products.
    result.bytes_per_token = run.engine.weight_bytes() * read->n_steps / context;
    if (round < run.options.n_warmups) continue;
    result.seconds.push_back(read->seconds / static_cast<double>(context));
    part_ends.back() = read->seconds;
    for (std::size_t part = 0; part < kParts; ++part) {
      const double begin = part == 0 ? 0 : part_ends[part - 1];
      parts[part].push_back((part_ends[part] - begin) * kParts / static_cast<double>(context));
    }
    measure_read_bandwidth(run, result);
  }
  if (context >= kLongPrompt) {
    for (const std::vector<double>& part : parts) result.eighths.push_back(median(part));
  }
  return result;
}

/// Tokens that a stream may get in a repeat of `mixed`.
std::size_t most_mixed_tokens(const BenchOptions& options) {
  // Nearly every step beside them has that many rows of the prompt, or more.
  constexpr std::size_t kLeast = generation::StepCost::kLeastPromptRows - 1;
  return round_tokens(options) + options.n_prompt / kLeast;
}

/// Reads a prompt with nothing beside it; decodes in all streams with nothing beside them; then
/// both.
std::optional<BenchResult> measure_mixed(const BenchRun& run, std::size_t context) {
  const BenchOptions& options = run.options;
  BenchResult result = new_result(run, "mixed", context, options.n_tokens);
  result.n_streams = options.n_streams;
  result.forks = has_forks(options);
  result.bytes_per_token = stream_bytes(run, context + options.n_tokens / 2);
  result.mixed.emplace();
  MixedTimes& times = *result.mixed;
  times.n_prompt = options.n_prompt;
  times.step_ms = options.step_ms;
  const auto prompt = random_tokens(options.n_prompt, run.opened.config.vocab_size, kSeed);
  generation::GeneratorOptions generator_options{.max_running = options.n_streams + 1};
  if (options.step_ms) generator_options.step_seconds = *options.step_ms / 1e3;
  const AnyVocabulary vocabulary;
  for (std::size_t round = 0; round < n_rounds(options); ++round) {
    Generator generator(run.engine, run.opened.config, vocabulary, generator_options);
    const auto read = [&](std::string_view what) {
      ProgressLine line(options.n_prompt, what);
      return read_prompt(run, generator, prompt, [&](double n_done) {
        line.update(n_done / static_cast<double>(options.n_prompt));
      });
    };
    const auto alone = read("reading alone");
    if (!alone) return std::nullopt;

    std::vector<dist::Session> sessions = filled_sessions(run, context);
    if (sessions.empty()) return std::nullopt;
    Streams streams(run, generator, std::move(sessions), most_mixed_tokens(options));
    TokenTimes without_prompt, with_prompt;
    if (!streams.decode(1)) return std::nullopt;
    streams.record_to(&without_prompt);
    if (!streams.decode(options.n_tokens)) return std::nullopt;
    streams.record_to(&with_prompt);
    const auto beside_streams = read("reading beside others");
    if (!beside_streams) return std::nullopt;
    streams.record_to(nullptr);

    if (round < options.n_warmups) continue;
    result.seconds.push_back(without_prompt.seconds /
                             static_cast<double>(without_prompt.intervals.size()));
    times.without_prompt += without_prompt;
    times.with_prompt += with_prompt;
    times.alone.push_back(alone->seconds);
    times.beside_streams.push_back(beside_streams->seconds);
    measure_read_bandwidth(run, result);
  }
  return result;
}

}  // namespace

std::size_t read_memory_bytes(const BenchOptions& options, const partition::Grid& grid) {
  const std::size_t wanted = options.read_memory_mib
                                 ? *options.read_memory_mib << 20
                                 : std::max(std::size_t{1} << 30, 4 * cache_bytes());
  const std::size_t bytes = std::min(wanted, available_memory_bytes() / (2 * grid.n_ranks()));
  return bytes / sizeof(std::uint64_t) * sizeof(std::uint64_t);
}

RunLength bench_length(const BenchOptions& options, const OpenedModel& opened,
                       std::size_t context) {
  if (options.question == BenchQuestion::kPrefill) return {context, context, 1, "--context"};
  const std::size_t chunk_size = opened.engine_options.attention.chunk_size;
  const auto held = [&](std::size_t n) { return (n + chunk_size - 1) / chunk_size * chunk_size; };
  const bool mixed = options.question == BenchQuestion::kMixed;
  const std::size_t n_decoded =
      mixed ? most_mixed_tokens(options) : n_rounds(options) * round_tokens(options);
  const std::size_t n_own = has_forks(options) ? context % chunk_size : context;
  const std::size_t n_shared = has_forks(options) ? context - n_own : 0;
  const std::size_t of_streams = n_shared + options.n_streams * held(n_own + n_decoded);
  if (!mixed) return {of_streams, 1, 0, "--context"};
  const std::size_t n_rows = options.n_prompt + options.n_streams * n_decoded;
  const double prompt_share = static_cast<double>(options.n_prompt) / static_cast<double>(n_rows);
  return {of_streams + held(options.n_prompt), 1, prompt_share, "--context, --prompt-tokens"};
}

std::optional<BenchResult> measure(const BenchRun& run, std::size_t context) {
  switch (run.options.question) {
    case BenchQuestion::kDecode:
      return measure_decode(run, context);
    case BenchQuestion::kPrefill:
      return measure_prefill(run, context);
    default:
      return measure_mixed(run, context);
  }
}

}  // namespace longreach::launch
