#include "dist/engine/engine.hpp"

#include "dist/comm/gather_texts.hpp"
#include "dist/comm/gather_values.hpp"
#include "dist/engine/read_together.hpp"
#include "model/cache/attention_span.hpp"

#include <algorithm>
#include <bit>
#include <exception>
#include <utility>

namespace longreach::dist {
Session::Session(Session&& other) noexcept
    : engine_(std::exchange(other.engine_, nullptr)), id_(other.id_), n_tokens_(other.n_tokens_) {}

Session& Session::operator=(Session&& other) noexcept {
  std::swap(engine_, other.engine_);
  std::swap(id_, other.id_);
  std::swap(n_tokens_, other.n_tokens_);
  return *this;
}

Session::~Session() {
  // While an error ends the program, nobody may be there to be told.
  if (engine_ != nullptr && std::uncaught_exceptions() == engine_->n_exceptions_) {
    engine_->give(Command::kClose, id_);
  }
}

Engine::Engine(Communicator& world, const model::Checkpoint& checkpoint,
               const model::ModelConfig& config, const partition::Layout& layout,
               const EngineOptions& options)
    : world_(world),
      config_(config),
      layout_(layout),
      options_(options),
      grid_position_(world, layout_.grid),
      recorder_(options.recording),
      stage_(grid_position_, checkpoint, config_, layout_, options, recorder_),
      logits_(grid_position_, config.vocab_size, recorder_),
      pipeline_(grid_position_, stage_, logits_, recorder_),
      n_exceptions_(std::uncaught_exceptions()) {}

Engine::~Engine() {
  if (!leads() || std::uncaught_exceptions() != n_exceptions_) return;
  give(Command::kStop, 0);
  pipeline_.finish();
}

void Engine::serve() {
  LR_CHECK(!leads());
  pipeline_.follow([this](const Order& order) {
    switch (order.command) {
      case Command::kReadMemory:
        read_pass(order.amount);
        break;
      case Command::kReport:
        gather_usage();
        break;
      case Command::kMasses:
        gather_masses();
        break;
      case Command::kTrace:
        gather_trace({});
        break;
      default:
        break;
    }
  });
  stage_.finish_fingerprints();
}

void Engine::give(Command command, std::uint32_t session, std::uint32_t source) {
  FirstOrder order;
  order.order.command = command;
  order.order.session = session;
  order.order.source = source;
  pipeline_.give(order, {});
}

Session Engine::new_session() {
  const std::uint32_t id = n_sessions_++;
  give(Command::kOpen, id);
  return {*this, id, 0};
}

Session Engine::fork(const Session& session) {
  const std::uint32_t id = n_sessions_++;
  give(Command::kFork, id, session.id_);
  return {*this, id, session.n_tokens_};
}

void Engine::check_tokens(std::span<const base::TokenId> tokens) const {
  for (std::size_t i = 0; i < tokens.size(); ++i) {
    if (tokens[i] < 0 || static_cast<std::size_t>(tokens[i]) >= config_.vocab_size) {
      base::input_error("token {} at index {} is outside the vocabulary of {}", tokens[i], i,
                        config_.vocab_size);
    }
  }
}

bool Engine::submit(Session& session, std::span<const base::TokenId> tokens,
                    std::span<const std::size_t> wanted, LogitsSink sink,
                    const Progress& progress) {
  check_tokens(tokens);
  const auto shared_sink = std::make_shared<const LogitsSink>(std::move(sink));
  const bool whole_calls = stage_.attention().mode == model::AttentionMode::kReference;
  auto next = std::ranges::lower_bound(wanted, session.n_tokens_);
  for (std::size_t done = 0; done < tokens.size();) {
    const std::size_t n = std::min(model::kSliceTokens, tokens.size() - done);
    FirstOrder told;
    Order& order = told.order;
    order.command = Command::kRead;
    order.session = session.id_;
    order.n_rows = static_cast<std::uint32_t>(n);
    order.call_first = whole_calls ? done : 0;
    order.position = session.n_tokens_ - order.call_first;
    order.call_rows = whole_calls ? tokens.size() : n;
    std::ranges::copy(tokens.subspan(done, n), told.tokens.begin());
    LogitsBatch batch{session.id_, {}, shared_sink};
    for (; next != wanted.end() && *next < session.n_tokens_ + n; ++next) {
      order.wanted.set(*next - session.n_tokens_);
      batch.positions.push_back(*next);
      if (batch.positions.size() == kLogitRows) {
        logits_.expect(std::exchange(batch, {session.id_, {}, shared_sink}));
      }
    }
    if (!batch.positions.empty()) logits_.expect(std::move(batch));
    const auto report = [&](double share_of_slices) {
      const double n_done =
          whole_calls ? share_of_slices * static_cast<double>(tokens.size())
                      : static_cast<double>(done) + share_of_slices * static_cast<double>(n);
      return !progress || progress(n_done / static_cast<double>(tokens.size()));
    };
    const bool alone = grid_position_.grid.n_ranks() == 1;
    if (!pipeline_.give(told, alone ? Progress(report) : Progress())) {
      logits_.cancel();
      return false;
    }
    logits_.poll();
    done += n;
    session.n_tokens_ += n;
    if (!alone && !whole_calls && !report(0)) return false;
  }
  return true;
}

void Engine::wait_for(const Session& session) {
  while (logits_.expects(session.id_)) logits_.wait_for_next();
}

bool Engine::feed(Session& session, std::span<const base::TokenId> tokens,
                  std::span<const std::size_t> wanted, const LogitsSink& sink,
                  const Progress& progress) {
  if (!submit(session, tokens, wanted, sink, progress)) return false;
  wait_for(session);
  return true;
}

bool Engine::fill(Session& session, std::size_t n_tokens, std::uint64_t seed,
                  const Progress& progress) {
  FirstOrder told;
  told.order.command = Command::kFill;
  told.order.session = session.id_;
  told.order.amount = n_tokens;
  told.order.seed = seed;
  session.n_tokens_ += n_tokens;
  return pipeline_.give(told, grid_position_.grid.n_ranks() == 1 ? progress : Progress());
}

double Engine::read_bandwidth(std::size_t n_bytes) {
  FirstOrder told;
  told.order.command = Command::kReadMemory;
  told.order.amount = n_bytes;
  pipeline_.give(told, {});
  return read_pass(n_bytes);
}

double Engine::read_pass(std::size_t n_bytes) {
  if (!yardstick_ || yardstick_->size_bytes() != n_bytes) {
    yardstick_.reset();
    yardstick_.emplace(n_bytes, stage_.pool());
  }
  return read_together(world_, *yardstick_);
}

std::vector<RankUsage> Engine::usage() {
  give(Command::kReport, 0);
  return gather_usage();
}

std::vector<RankUsage> Engine::gather_usage() {
  const std::vector<TrafficBytes>& sent = stage_.exchange().sent_bytes();
  const std::size_t n_numbers = sizeof(ActivitySeconds) / sizeof(std::uint64_t);
  const std::size_t n_own = n_numbers + 2 + sent.size() * model::kTrafficKinds;
  std::vector<std::uint64_t> all(n_own * world_.size());
  auto next = all.begin() + static_cast<std::ptrdiff_t>(n_own * world_.rank());
  for (const double seconds : recorder_.seconds()) *next++ = std::bit_cast<std::uint64_t>(seconds);
  *next++ = pipeline_.sent_bytes();
  *next++ = logits_.sent_bytes();
  for (const TrafficBytes& bytes : sent) next = std::ranges::copy(bytes, next).out;
  std::vector<Range> parts;
  for (std::size_t r = 0; r < world_.size(); ++r) {
    parts.push_back({r * n_own * sizeof(all[0]), (r + 1) * n_own * sizeof(all[0])});
  }
  world_.all_gather(std::as_writable_bytes(std::span(all)), parts);
  std::vector<RankUsage> usage(world_.size());
  auto from = all.begin();
  for (RankUsage& rank : usage) {
    for (double& seconds : rank.seconds) seconds = std::bit_cast<double>(*from++);
    rank.pipeline_bytes = *from++;
    rank.logits_bytes = *from++;
    rank.block_bytes.resize(sent.size());
    for (TrafficBytes& bytes : rank.block_bytes) {
      for (std::uint64_t& number : bytes) number = *from++;
    }
  }
  return usage;
}

void Engine::measure_selection(std::size_t one_in) {
  FirstOrder told;
  told.order.command = Command::kMeasure;
  told.order.amount = one_in;
  pipeline_.give(told, {});
}

std::vector<MassSample> Engine::selection_masses() {
  give(Command::kMasses, 0);
  return gather_masses();
}

std::vector<MassSample> Engine::gather_masses() {
  std::vector<MassSample> all;
  for (const auto& samples : gather_lists(world_, stage_.masses())) {
    all.insert(all.end(), samples.begin(), samples.end());
  }
  return all;
}

void Engine::write_trace(const std::filesystem::path& file) {
  give(Command::kTrace, 0);
  gather_trace(file);
}

void Engine::gather_trace(const std::filesystem::path& file) {
  recorder_.compare_clocks(world_);
  const std::string replica = grid_position_.ranks->size() < world_.size()
                                  ? fmt::format("replica {}, ", grid_position_.replica)
                                  : "";
  const std::vector<std::string> names =
      gather_texts(world_, fmt::format("rank {}: {}stage {}, shard {}", world_.rank(), replica,
                                       grid_position_.stage, grid_position_.shard));
  recorder_.write_trace(world_, names, file);
}

std::size_t Engine::weight_bytes() const {
  const partition::RunSizes sizes =
      model::run_sizes(config_, stage_.attention(), options_.weights, 1, 1, 1);
  std::size_t bytes = 0;
  for (const partition::Range& blocks : layout_.stage_blocks) {
    for (std::size_t s = 0; s < layout_.grid.n_shards; ++s) {
      bytes += partition::memory_need(sizes, blocks, {s, layout_.grid.n_shards}).weights;
    }
  }
  return bytes;
}

std::size_t Engine::bytes_per_token(const Session& session) const {
  std::size_t bytes = weight_bytes() + model::recurrent_bytes(config_);
  for (const model::BlockRef& block : config_.execution_order()) {
    if (block.kind == model::BlockKind::kSparse) {
      bytes += config_.n_head * model::attended_bytes(stage_.attention(), session.n_tokens_);
    }
  }
  return bytes;
}

}  // namespace longreach::dist
