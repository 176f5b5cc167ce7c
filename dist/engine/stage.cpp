#include "dist/engine/stage.hpp"

#include "kernels/simd/isa.hpp"
#include "model/reference/call.hpp"
#include "model/synthetic.hpp"

#include <algorithm>

namespace longreach::dist {
namespace {

using base::MatView;

model::Weights load(const model::Checkpoint& checkpoint, const model::ModelConfig& config,
                    const model::Part& part, base::ProductFormat product,
                    kernels::ThreadPool& pool) {
  kernels::active_isa();  // a wrong LONGREACH_ISA ends here, not in the middle of a run
  model::Weights weights = model::load_weights(checkpoint, config, part, product, pool);
  checkpoint.release_pages();
  return weights;
}

}  // namespace

Stage::Stage(const GridPosition& grid_position, const model::Checkpoint& checkpoint,
             const model::ModelConfig& config, const partition::Layout& layout,
             const EngineOptions& options, Recorder& recorder)
    : checkpoint_(checkpoint),
      config_(config),
      attention_(options.attention),
      initial_states_(options.initial_states),
      blocks_(layout.stage_blocks[grid_position.stage]),
      first_rank_(grid_position.stage * grid_position.grid.n_shards),
      recorder_(recorder),
      exchange_(*grid_position.shards, config.execution_order().size(), options.chunks, recorder),
      pool_(options.n_threads, options.thread_started),
      weights_(load(checkpoint, config, {blocks_, exchange_.shard()},
                    {options.weights, options.activations}, pool_)),
      workspace_(config, options.n_threads),
      context_{config_,
               attention_,
               weights_,
               workspace_,
               pool_,
               exchange_,
               model::shard_extents(config, exchange_.shard()),
               &no_observer_,
               options.activations},
      hidden_(grid_position.is_last_stage() ? model::kLogitRows : 0, config.n_embd),
      logits_(grid_position.is_last_stage() ? model::kLogitRows : 0,
              context_.extents.vocabulary.size()) {
  if (options.cache_memory) exchange_.chunk_store().limit_mapped_heads(*options.cache_memory);
  for (const ContextFolders& context : options.contexts) {
    add_context(context);
  }
  if (!options.fingerprints) return;
  const std::size_t rank = first_rank_ + grid_position.shard;
  context_.observer = &fingerprints_.emplace(*options.fingerprints, rank, grid_position.shard);
}

model::SequenceState& Stage::add_session(std::uint32_t session) {
  const auto [added, is_new] =
      sessions_.emplace(session, model::SequenceState(config_, attention_, blocks_, exchange_));
  LR_CHECK(is_new);
  return added->second;
}

void Stage::open(const OpenSession& message) {
  model::SequenceState& state = add_session(message.session);
  if (initial_states_.empty()) return;
  initial_states_[message.initial_state].copy_to(state, weights_.part, config_.n_head);
}

void Stage::fork(std::uint32_t session, std::uint32_t source) {
  sessions_.emplace(session, sessions_.at(source).fork());
}

bool Stage::fill(std::uint32_t session, std::size_t n_tokens, std::uint64_t seed,
                 const model::Progress& progress) {
  return model::append_random_tokens(sessions_.at(session), weights_.part, config_.n_head, n_tokens,
                                     seed, pool_, progress);
}

void Stage::add_context(const ContextFolders& folders) {
  contexts_.try_emplace(n_contexts_++, folders, config_, attention_, blocks_, exchange_.shard());
}

void Stage::save(const SaveSession& message) {
  LR_CHECK(!is_saving() || saving_->context == message.context);
  saving_ = message;
  contexts_.at(message.context)
      .save(sessions_.at(message.session), message.n_tokens, message.n_written,
            exchange_.chunk_store().reaches_all(),
            [this](const std::string& own) { return first_error(own); });
}

std::string Stage::first_error(const std::string& own) {
  const std::vector<std::string> errors = exchange_.gather(own);
  if (!own.empty()) return own;
  const auto other = std::ranges::find_if_not(errors, &std::string::empty);
  if (other == errors.end()) return {};
  return fmt::format("rank {}: {}", first_rank_ + static_cast<std::size_t>(other - errors.begin()),
                     *other);
}

void Stage::finish_saving() {
  if (const auto saving = std::exchange(saving_, {})) contexts_.at(saving->context).finish();
}

void Stage::close(std::uint32_t session) {
  // What is being written holds chunks, which all shards must let go of at the same time.
  if (is_saving() && saving_->session == session) finish_saving();
  sessions_.erase(session);
}

void Stage::restore(const RestoreSession& message) {
  contexts_.at(message.context)
      .restore(add_session(message.session), message.n_tokens,
               exchange_.chunk_store().reaches_all());
}

MatView<float> Stage::v_first(std::size_t n) {
  const partition::Range columns = context_.extents.head_columns;
  return workspace_.v_first.first(n).cols(columns.begin, columns.size());
}

void Stage::embed(std::span<const base::TokenId> tokens, MatView<float> x) {
  model::embed(context_, tokens, x);
  checkpoint_.release_pages();  // a row of the embedding brings its neighbours into memory
}

bool Stage::run(const model::Step& step, const model::Progress& progress) {
  const auto span = recorder_.span(Activity::kRead, step.n_rows());
  std::vector<model::SequenceState*> states;
  for (const model::Segment& segment : step.segments()) {
    states.push_back(&sessions_.at(segment.session));
  }
  const bool asks_evidence = step.weighed().any();
  LR_CHECK(!asks_evidence || context_.observer == &no_observer_);
  if (asks_evidence) context_.observer = &evidence_;
  const bool finished =
      model::run_blocks(context_, step, rows(step.n_rows()),
                        workspace_.v_first.first(step.n_rows()), states, progress);
  if (asks_evidence) context_.observer = &no_observer_;
  recorder_.end_block();
  return finished;
}

bool Stage::run_reference_call(std::uint32_t session, std::size_t position,
                               std::span<const base::TokenId> tokens,
                               std::span<const std::size_t> wanted, const LogitsSink& sink,
                               const model::Progress& progress) {
  const auto span = recorder_.span(Activity::kRead, tokens.size());
  model::Rows x(tokens.size(), config_.n_embd), v_first(tokens.size(), config_.n_embd);
  const auto rows = x.first(tokens.size());
  embed(tokens, rows);
  const bool finished = model::reference::run_call(
      context_, position, rows, v_first.first(tokens.size()), sessions_.at(session), progress);
  recorder_.end_block();
  if (!finished) return false;
  for_logit_batches(wanted.size(), [&](std::size_t first, std::size_t n) {
    const auto batch = logits_of(rows, wanted.subspan(first, n));
    for (std::size_t i = 0; i < n; ++i) sink(wanted[first + i], batch.row(i));
  });
  return true;
}

void Stage::measure_selection(std::size_t one_in) {
  LR_CHECK(!fingerprints_ && (attention_.mode == model::AttentionMode::kMoba ||
                              attention_.mode == model::AttentionMode::kFull));
  context_.observer = &meter_.emplace(one_in, exchange_.shard().index);
}

std::span<const MassSample> Stage::masses() const {
  return meter_ ? meter_->samples() : std::span<const MassSample>();
}

MatView<const float> Stage::logits(std::span<const std::size_t> step_rows) {
  return logits_of(rows(step_rows.back() + 1), step_rows);
}

MatView<const float> Stage::logits_of(MatView<const float> x, std::span<const std::size_t> wanted) {
  const auto span = recorder_.span(Activity::kLogits, wanted.size());
  const auto hidden = hidden_.first(wanted.size());
  for (std::size_t i = 0; i < wanted.size(); ++i) {
    std::ranges::copy(x.row(wanted[i]), hidden.row(i).begin());
  }
  const auto logits = logits_.first(wanted.size());
  model::compute_logits(context_, hidden, logits);
  return logits;
}

}  // namespace longreach::dist
