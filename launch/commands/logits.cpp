#include "launch/commands/logits.hpp"

#include "kernels/base/error.hpp"
#include "kernels/base/read_file.hpp"
#include "kernels/base/sha256.hpp"
#include "launch/call_list.hpp"
#include "launch/npy.hpp"
#include "launch/open_model.hpp"
#include "launch/progress.hpp"
#include "launch/saved_context.hpp"
#include "launch/signals.hpp"
#include "launch/standard_streams.hpp"
#include "launch/token_file.hpp"
#include "launch/usage.hpp"

#include <fmt/format.h>

#include <algorithm>
#include <numeric>
#include <optional>
#include <span>
#include <vector>

namespace longreach::launch {
namespace {

using base::TokenId;

constexpr std::size_t kBest = 5;

/// A position whose logits are recorded, and the row of --out they go to.
struct Recorded {
  std::size_t position;
  std::size_t row;
  auto operator<=>(const Recorded&) const = default;
};

/// The rows of --out in order of positions; a position may have several rows.
std::vector<Recorded> recorded_rows(const std::optional<std::string>& positions,
                                    std::size_t n_fed) {
  std::vector<std::size_t> wanted(n_fed);
  if (positions) {
    wanted = parse_positions(*positions, n_fed);
  } else {
    std::iota(wanted.begin(), wanted.end(), std::size_t{0});
  }
  std::vector<Recorded> rows;
  rows.reserve(wanted.size());
  for (const std::size_t position : wanted) rows.push_back({position, rows.size()});
  std::ranges::sort(rows);
  return rows;
}

/// "position 99:  5 3.250000  17 3.125000": the best tokens, the lower id first among equals.
std::string best_text(std::size_t position, std::span<const float> logits) {
  std::vector<std::size_t> ids(logits.size());
  std::iota(ids.begin(), ids.end(), std::size_t{0});
  // NaN goes last: a comparison with NaN as "neither is better" would not be an order.
  const auto key = [&logits](std::size_t id) {
    return std::pair(
        logits[id] == logits[id] ? -logits[id] : std::numeric_limits<float>::infinity(), id);
  };
  const std::size_t n_best = std::min(kBest, ids.size());
  std::ranges::partial_sort(ids, ids.begin() + static_cast<std::ptrdiff_t>(n_best), {}, key);
  std::string text = fmt::format("position {}:", position);
  for (const std::size_t id : std::span(ids).first(n_best)) {
    text += fmt::format("  {} {:.6f}", id, logits[id]);
  }
  return text + "\n";
}

/// Where the recorded logits go. Rows come in order of positions, as the engine gives them.
class LogitsRecorder {
 public:
  LogitsRecorder(const LogitsOptions& options, std::vector<Recorded> rows, std::size_t vocab_size)
      : rows_(std::move(rows)), print_best_(!options.out && !options.hash) {
    if (options.out) file_.emplace(*options.out, rows_.size(), vocab_size);
    if (options.hash) hash_.emplace();
  }

  /// The distinct positions from `begin` up to `end`, ascending, each with `n_before` added.
  std::vector<std::size_t> positions_between(std::size_t begin, std::size_t end,
                                             std::size_t n_before = 0) const {
    std::vector<std::size_t> positions;
    for (auto row = first_row(begin); row != rows_.end() && row->position < end; ++row) {
      const std::size_t position = n_before + row->position;
      if (positions.empty() || positions.back() != position) positions.push_back(position);
    }
    return positions;
  }

  void record(std::size_t position, std::span<const float> logits) {
    if (hash_) hash_->update(std::as_bytes(logits));
    if (print_best_ && write_output(best_text(position, logits)) == WriteResult::kReaderGone) {
      reader_gone_ = true;
    }
    if (!file_) return;
    for (auto row = first_row(position); row != rows_.end() && row->position == position; ++row) {
      file_->write_row(row->row, logits);
    }
  }

  /// Whether nobody reads what is printed any more.
  bool reader_gone() const { return reader_gone_; }

  void finish() {
    if (file_) file_->finish();
    if (hash_) write_output(hash_->hex_digest() + "\n");
  }

 private:
  std::vector<Recorded>::const_iterator first_row(std::size_t position) const {
    return std::ranges::lower_bound(rows_, position, {}, &Recorded::position);
  }

  std::vector<Recorded> rows_;
  bool print_best_;
  bool reader_gone_ = false;
  std::optional<NpyMatrixWriter> file_;
  std::optional<base::Sha256> hash_;
};

/// What is fed, how, and where the logits go.
struct Recording {
  std::vector<TokenId> tokens;
  std::vector<std::size_t> calls;
  std::unique_ptr<LogitsRecorder> recorder;
  ContextPoint before;
};

void check_outputs(const LogitsOptions& options, const OpenedModel& opened, std::size_t n_ranks) {
  NamedFiles files = model_files(opened, options.model, {});
  files.add_input("--tokens", options.tokens);
  files.add_output("--out", options.out);
  for (std::size_t rank = 0; options.fingerprints && rank < n_ranks; ++rank) {
    files.add_output("--fingerprints", dist::fingerprint_file(*options.fingerprints, rank));
  }
  files.check_outputs();
}

Recording recording_of(const LogitsOptions& options, const OpenedModel& opened) {
  const std::string file_name = options.tokens.string();
  Recording recording;
  recording.tokens = parse_tokens(base::read_file(options.tokens), file_name);
  if (recording.tokens.empty()) base::input_error("{}: holds no tokens", file_name);
  check_vocabulary(recording.tokens, opened.config.vocab_size, file_name);
  const std::size_t n_tokens = recording.tokens.size();
  recording.calls = options.calls ? parse_calls(*options.calls, n_tokens) : std::vector{n_tokens};
  const auto& calls = recording.calls;
  recording.tokens.resize(std::accumulate(calls.begin(), calls.end(), std::size_t{0}));
  recording.recorder = std::make_unique<LogitsRecorder>(
      options, recorded_rows(options.positions, recording.tokens.size()), opened.config.vocab_size);
  if (options.context) {
    recording.before = context_point(*options.context, options.at,
                                     context_settings(opened, nullptr, options.any_isa));
  }
  return recording;
}

/// How many of the rows need no logits.
double prompt_share(const Recording& recording) {
  const std::size_t n_fed = recording.tokens.size();
  if (n_fed == 0) return 0;
  const std::size_t n_wanted = recording.recorder->positions_between(0, n_fed).size();
  return 1 - static_cast<double>(n_wanted) / static_cast<double>(n_fed);
}

}  // namespace

int run(const LogitsOptions& options, dist::World& world) {
  const StopSignals signals;
  OpenedModel opened = world.agree([&] { return open_model(options.model); });
  opened.engine_options.fingerprints = options.fingerprints;
  opened.engine_options.cache_memory = options.cache_memory;
  opened.files.push_back({options.tokens, InputFile::Readers::kSome});
  Recording recording = world.agree([&] {
    if (!world.leads_job()) return Recording();
    check_outputs(options, opened, world.size());
    return recording_of(options, opened);
  });
  opened.engine_options.contexts =
      dist::share_folders(world.communicator(), recording.before.folders);
  const std::size_t n_fed = recording.tokens.size();
  const std::size_t n_before = recording.before.tokens.size();
  const std::size_t longest = recording.calls.empty() ? 0 : std::ranges::max(recording.calls);
  const double share = world.leads_job() ? prompt_share(recording) : 0;
  const auto engine = load_engine(
      opened,
      {n_before + n_fed, longest, share, "--tokens", n_before + n_fed - recording.before.n_saved()},
      world);
  if (!engine->leads()) {
    engine->serve();
    return 0;
  }

  LogitsRecorder& recorder = *recording.recorder;
  dist::Session session = session_after(*engine, recording.before.n_saved());
  engine->read(session, recording.before.to_read(), {}, {});
  ProgressLine line(n_fed);
  std::size_t begin = 0;
  for (const std::size_t length : recording.calls) {
    const bool finished = engine->read(
        session, std::span(recording.tokens).subspan(begin, length),
        recorder.positions_between(begin, begin + length, n_before),
        [&recorder, n_before](std::size_t position, std::span<const float> logits) {
          recorder.record(position - n_before, logits);
        },
        [&](double share_done) {
          const double n_done =
              static_cast<double>(begin) + share_done * static_cast<double>(length);
          line.update(n_done / static_cast<double>(n_fed));
          return !signals.received() && !recorder.reader_gone();
        });
    if (!finished) return signals.exit_code();
    begin += length;
  }
  engine->wait_for(session);
  recorder.finish();
  engine->finish_fingerprints();
  write_trace(*engine, options.model);
  log_usage(*engine, options.model);
  return 0;
}

}  // namespace longreach::launch
