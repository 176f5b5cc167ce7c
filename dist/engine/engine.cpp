#include "dist/engine/engine.hpp"

#include "dist/comm/gather_texts.hpp"
#include "dist/comm/gather_values.hpp"
#include "dist/engine/read_together.hpp"
#include "model/cache/attention_span.hpp"
#include "model/run_sizes.hpp"

#include <algorithm>
#include <array>
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
  // While an error ends the program, nobody may be there to hear of it.
  if (engine_ != nullptr && std::uncaught_exceptions() == engine_->n_exceptions_) close();
}

void Session::close() { std::exchange(engine_, nullptr)->pipeline_.submit(CloseSession{id_}, {}); }

Engine::Engine(Communicator& world, const model::Checkpoint& checkpoint,
               const model::ModelConfig& config, const partition::Layout& layout,
               const EngineOptions& options)
    : world_(world),
      config_(config),
      layout_(layout),
      options_(options),
      grid_position_(world, layout_.grid),
      recorder_(options.recording),
      logits_(grid_position_, config.vocab_size, config.n_head * config.n_sparse, recorder_),
      pipeline_(grid_position_, config_, stage_, logits_, recorder_, options.reports_busy),
      reports_(*grid_position_.ranks),
      stage_(grid_position_, checkpoint, config_, layout_, options, recorder_),
      n_contexts_(options.contexts.size()),
      n_exceptions_(std::uncaught_exceptions()) {
  LR_CHECK(options.attention.mode != model::AttentionMode::kReference ||
           layout.grid.n_ranks() == 1);
}

Engine::~Engine() {
  if (!leads() || std::uncaught_exceptions() != n_exceptions_) return;
  pipeline_.submit(Stop{}, {});
  pipeline_.finish();
}

void Engine::serve() {
  LR_CHECK(!leads());
  pipeline_.serve([this](const EngineMessage& message) {
    std::visit(Overloaded{[this](const SaveSession& m) { save_part(m); },
                          [this](const FinishSaving&) {
                            has_begun_state_ = false;
                            together([&] { stage_.finish_saving(); });
                          },
                          [this](const AddContext&) { add_context_part({}); },
                          [this](const DropContext& m) { stage_.drop_context(m.context); },
                          [this](const RestoreSession& m) { together([&] { stage_.restore(m); }); },
                          [this](const ReadMemory& m) { read_pass(m.n_bytes); },
                          [this](const CollectUsage&) { gather_usage(); },
                          [this](const CollectMasses&) { gather_masses(); },
                          [this](const CollectTrace&) { gather_trace({}); },
                          [](const auto&) {}},  // about a session
               message);
  });
  reports_.finish();
  stage_.finish_fingerprints();
}

Session Engine::new_session(std::size_t initial_state) {
  LR_CHECK(initial_state < std::max<std::size_t>(1, options_.initial_states.size()));
  const std::uint32_t id = n_sessions_++;
  pipeline_.submit(OpenSession{id, static_cast<std::uint32_t>(initial_state)}, {});
  return {*this, id, 0};
}

Session Engine::fork(const Session& session) {
  const std::uint32_t id = n_sessions_++;
  pipeline_.submit(ForkSession{id, session.id_}, {});
  return {*this, id, session.n_tokens_};
}

void Engine::cancel(Session session) {
  logits_.drop(session.id_);
  session.close();
}

void Engine::check_tokens(std::span<const base::TokenId> tokens) const {
  for (std::size_t i = 0; i < tokens.size(); ++i) {
    if (tokens[i] < 0 || static_cast<std::size_t>(tokens[i]) >= config_.vocab_size) {
      base::input_error("token {} at index {} is outside the vocabulary of {}", tokens[i], i,
                        config_.vocab_size);
    }
  }
}

bool Engine::has_evidence() const {
  return config_.n_sparse > 0 && (options_.attention.mode == model::AttentionMode::kMoba ||
                                  options_.attention.mode == model::AttentionMode::kFull);
}

std::size_t Engine::prompt_step_rows(const Session& session) const {
  return model::prompt_step_rows(config_, options_.attention, session.n_tokens_);
}

bool Engine::submit(std::span<const SegmentRequest> segments, const Progress& progress) {
  LR_CHECK(stage_.attention().mode != model::AttentionMode::kReference);
  std::vector<model::Segment> of_step;
  std::vector<base::TokenId> tokens;
  std::vector<ExpectedRow> expected;
  model::RowSet wanted, weighed;
  for (const SegmentRequest& request : segments) {
    const Session& session = *request.session;
    LR_CHECK(std::ranges::none_of(
        of_step, [&](const model::Segment& other) { return other.session == session.id_; }));
    LR_CHECK(request.evidence == nullptr || has_evidence());
    check_tokens(request.tokens);
    const std::size_t n = request.tokens.size();
    const auto first = std::ranges::lower_bound(request.wanted, session.n_tokens_);
    for (auto position = first;
         position != request.wanted.end() && *position < session.n_tokens_ + n; ++position) {
      const std::size_t row = tokens.size() + *position - session.n_tokens_;
      wanted.set(row);
      weighed.set(row, request.evidence != nullptr);
      expected.push_back({session.id_, *position, request.sink, row, request.evidence});
    }
    of_step.push_back({session.id_, static_cast<std::uint32_t>(n), session.n_tokens_});
    tokens.insert(tokens.end(), request.tokens.begin(), request.tokens.end());
  }
  logits_.expect(expected);
  const bool alone = grid_position_.grid.n_ranks() == 1;
  if (!pipeline_.submit(model::Step(std::move(of_step), wanted, weighed), tokens,
                        alone ? progress : Progress())) {
    logits_.cancel();
    return false;
  }
  for (const SegmentRequest& request : segments) {
    request.session->n_tokens_ += request.tokens.size();
  }
  logits_.poll();
  return true;
}

bool Engine::read(Session& session, std::span<const base::TokenId> tokens,
                  std::span<const std::size_t> wanted, LogitsSink sink, const Progress& progress) {
  check_tokens(tokens);
  if (stage_.attention().mode == model::AttentionMode::kReference) {
    return read_reference_call(session, tokens, wanted, sink, progress);
  }
  const auto shared_sink = std::make_shared<const LogitsSink>(std::move(sink));
  for (std::size_t done = 0; done < tokens.size();) {
    const std::size_t n_rows = prompt_step_rows(session);
    const auto part = tokens.subspan(done, std::min(n_rows, tokens.size() - done));
    const auto report = [&](double share_of_step) {
      const double n_done =
          static_cast<double>(done) + share_of_step * static_cast<double>(part.size());
      return !progress || progress(n_done / static_cast<double>(tokens.size()));
    };
    if (!submit(std::array{SegmentRequest{&session, part, wanted, shared_sink}}, report)) {
      return false;
    }
    done += part.size();
    // Elsewhere the step itself has asked.
    if (grid_position_.grid.n_ranks() > 1 && progress &&
        !progress(static_cast<double>(done) / static_cast<double>(tokens.size()))) {
      return false;
    }
  }
  return true;
}

bool Engine::read_reference_call(Session& session, std::span<const base::TokenId> tokens,
                                 std::span<const std::size_t> wanted, const LogitsSink& sink,
                                 const Progress& progress) {
  if (tokens.empty()) return true;
  const std::size_t first = session.n_tokens_;
  std::vector<std::size_t> of_call;
  for (const std::size_t position : wanted) {
    if (position >= first && position < first + tokens.size()) of_call.push_back(position - first);
  }
  const LogitsSink by_position = [&](std::size_t index, std::span<const float> logits) {
    sink(first + index, logits);
  };
  session.n_tokens_ += tokens.size();
  const bool is_done =
      stage_.run_reference_call(session.id_, first, tokens, of_call, by_position, progress);
  pipeline_.report_busy();
  return is_done;
}

void Engine::wait_for(const Session& session) {
  while (logits_.expects(session.id_)) logits_.wait_for_next();
}

bool Engine::feed(Session& session, std::span<const base::TokenId> tokens,
                  std::span<const std::size_t> wanted, LogitsSink sink, const Progress& progress) {
  if (!read(session, tokens, wanted, std::move(sink), progress)) return false;
  wait_for(session);
  return true;
}

bool Engine::fill(Session& session, std::size_t n_tokens, std::uint64_t seed,
                  const Progress& progress) {
  session.n_tokens_ += n_tokens;
  return pipeline_.submit(FillSession{session.id_, n_tokens, seed},
                          grid_position_.grid.n_ranks() == 1 ? progress : Progress());
}

std::optional<std::string> Engine::together(const std::function<void()>& part) {
  // A rank whose logits nobody takes would not come to this.
  while (logits_.expects_any()) logits_.wait_for_next();
  std::string error;
  try {
    part();
  } catch (const base::InputError& thrown) {
    error = thrown.what();
  }
  const std::vector<std::string> errors = gather_texts(*grid_position_.ranks, error);
  const auto first = std::ranges::find_if_not(errors, &std::string::empty);
  if (first == errors.end()) return std::nullopt;
  const auto rank = static_cast<std::size_t>(first - errors.begin());
  return rank == 0 ? *first : fmt::format("rank {}: {}", rank, *first);
}

std::size_t Engine::add_context(const ContextFolders& folders) {
  pipeline_.submit(AddContext{}, {});
  add_context_part(folders);
  return n_contexts_++;
}

void Engine::add_context_part(const ContextFolders& folders) {
  together([&] { stage_.add_context(share_folders(*grid_position_.ranks, {folders}).front()); });
}

void Engine::drop_context(std::size_t context) {
  const DropContext message{static_cast<std::uint32_t>(context)};
  pipeline_.submit(message, {});
  stage_.drop_context(message.context);
}

void Engine::save_part(const SaveSession& message) {
  // The leader expects a report of each, also of one that could not be begun as another had failed.
  const bool ends_another = std::exchange(has_begun_state_, true);
  std::string error;
  try {
    stage_.save(message);
  } catch (const base::InputError& thrown) {
    if (leads()) throw;
    error = thrown.what();
  }
  if (ends_another && !leads()) reports_.send(error);
}

void Engine::save(const Session& session, std::size_t context) {
  if (context != std::exchange(saved_context_, context)) {
    LR_CHECK(n_begun_tokens_ == n_finished_tokens_);
    n_begun_tokens_ = n_finished_tokens_ = 0;
  }
  const SaveSession message{session.id_, static_cast<std::uint32_t>(context), session.n_tokens_,
                            n_saved_tokens(context)};
  pipeline_.submit(message, {});
  if (n_begun_tokens_ > n_finished_tokens_) reports_.expect(n_begun_tokens_);
  n_begun_tokens_ = session.n_tokens_;
  save_part(message);
}

std::size_t Engine::n_saved_tokens(std::size_t context) {
  return context == saved_context_ ? std::max(n_finished_tokens_, reports_.poll()) : 0;
}

void Engine::finish_saving() {
  pipeline_.submit(FinishSaving{}, {});
  std::exception_ptr reported;  // thrown once all ranks have finished: they wait for each other
  try {
    reports_.wait();
  } catch (const SaveError&) {
    reported = std::current_exception();
  }
  const auto error = together([&] { stage_.finish_saving(); });
  if (reported) std::rethrow_exception(reported);
  if (error) throw SaveError(*error);
  n_finished_tokens_ = n_begun_tokens_;
}

void Engine::abandon_saving() {
  pipeline_.submit(FinishSaving{}, {});
  reports_.drop();
  together([&] { stage_.finish_saving(); });
  n_begun_tokens_ = n_finished_tokens_;
}

Session Engine::restore(std::size_t n_tokens, std::size_t context) {
  const std::uint32_t id = n_sessions_++;
  const RestoreSession message{id, static_cast<std::uint32_t>(context), n_tokens};
  pipeline_.submit(message, {});
  if (const auto error = together([&] { stage_.restore(message); })) {
    pipeline_.submit(CloseSession{id}, {});
    throw base::InputError(*error);
  }
  return {*this, id, n_tokens};
}

double Engine::read_bandwidth(std::size_t n_bytes) {
  pipeline_.submit(ReadMemory{n_bytes}, {});
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
  pipeline_.submit(CollectUsage{}, {});
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
  pipeline_.submit(MeasureSelection{one_in}, {});
}

std::vector<MassSample> Engine::selection_masses() {
  pipeline_.submit(CollectMasses{}, {});
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
  pipeline_.submit(CollectTrace{}, {});
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

std::size_t Engine::bytes_per_token(std::size_t n_tokens) const {
  std::size_t bytes = weight_bytes() + model::recurrent_bytes(config_);
  for (const model::BlockRef& block : config_.execution_order()) {
    if (block.kind == model::BlockKind::kSparse) {
      bytes += config_.n_head * model::attended_bytes(stage_.attention(), n_tokens);
    }
  }
  return bytes;
}

}  // namespace longreach::dist
