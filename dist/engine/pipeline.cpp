#include "dist/engine/pipeline.hpp"

#include <algorithm>
#include <chrono>
#include <utility>

namespace longreach::dist {
namespace {

using base::MatView;
using base::TokenId;
using model::Segment;

/// How often ranks report how busy they are: as often as anybody looks.
constexpr std::chrono::seconds kBusyInterval(1);

StepHeader header_of(const model::Step& step) {
  return {static_cast<std::uint32_t>(step.segments().size()),
          static_cast<std::uint32_t>(step.n_rows()), step.wanted(), step.weighed()};
}

std::vector<std::size_t> wanted_rows(const model::Step& step) {
  std::vector<std::size_t> rows;
  for (std::size_t i = 0; i < step.n_rows(); ++i) {
    if (step.wanted().test(i)) rows.push_back(i);
  }
  return rows;
}

/// What the first stage needs of a step behind its header: segments, then tokens.
struct StepTokens {
  explicit StepTokens(const StepHeader& header)
      : segments(header.n_segments), tokens(header.n_rows) {}

  std::vector<std::byte> packed() const {
    std::vector<std::byte> bytes(size_bytes());
    const auto rest = std::ranges::copy(std::as_bytes(std::span(segments)), bytes.begin()).out;
    std::ranges::copy(std::as_bytes(std::span(tokens)), rest);
    return bytes;
  }
  void unpack(std::span<const std::byte> bytes) {
    const auto first = std::as_writable_bytes(std::span(segments));
    std::ranges::copy(bytes.first(first.size()), first.begin());
    std::ranges::copy(bytes.subspan(first.size()),
                      std::as_writable_bytes(std::span(tokens)).begin());
  }
  std::size_t size_bytes() const {
    return segments.size() * sizeof(Segment) + tokens.size() * sizeof(TokenId);
  }

  std::vector<Segment> segments;
  std::vector<TokenId> tokens;
};

}  // namespace

Pipeline::StepMessage::StepMessage(std::size_t n_embd, std::size_t n_columns)
    : n_embd_(n_embd),
      n_columns_(n_columns),
      bytes_(sizeof(EngineMessage) +
             model::kMostStepRows * (sizeof(Segment) + (n_embd + n_columns) * sizeof(float))) {}

std::span<Segment> Pipeline::StepMessage::segments() {
  return {reinterpret_cast<Segment*>(bytes_.data() + sizeof(EngineMessage)), step().n_segments};
}

MatView<float> Pipeline::StepMessage::rows() {
  const std::span<Segment> before = segments();
  return {reinterpret_cast<float*>(before.data() + before.size()), step().n_rows, n_embd_};
}

MatView<float> Pipeline::StepMessage::v_first() {
  const MatView<float> before = rows();
  return {before.data() + before.rows() * n_embd_, before.rows(), n_columns_};
}

std::span<std::byte> Pipeline::StepMessage::used() {
  std::size_t n_bytes = sizeof(EngineMessage);
  if (std::holds_alternative<StepHeader>(header())) {
    n_bytes += segments().size_bytes() + step().n_rows * (n_embd_ + n_columns_) * sizeof(float);
  }
  return all().first(n_bytes);
}

Pipeline::Pipeline(GridPosition& grid_position, const model::ModelConfig& config, Stage& stage,
                   LogitsReturn& logits, Recorder& recorder, bool reports_busy)
    : grid_position_(grid_position),
      stage_(stage),
      logits_(logits),
      recorder_(recorder),
      rest_(*grid_position.ranks),
      busy_(*grid_position.ranks, recorder,
            reports_busy ? kBusyInterval : BusyReports::Clock::duration::max()) {
  const model::ShardExtents extents =
      model::shard_extents(config, {grid_position.shard, grid_position.grid.n_shards});
  const auto new_message = [&] { return StepMessage(config.n_embd, extents.head_columns.size()); };
  if (!grid_position.is_first_stage()) {
    for (StepMessage& message : coming_) message = new_message();
  }
  if (!grid_position.is_last_stage()) {
    for (StepMessage& message : leaving_) message = new_message();
  }
}

void Pipeline::broadcast(std::span<std::byte> bytes) {
  grid_position_.shards->broadcast(bytes, 0);
  if (grid_position_.leads()) sent_bytes_ += bytes.size() * (grid_position_.grid.n_shards - 1);
}

bool Pipeline::submit(const model::Step& step, std::span<const TokenId> tokens,
                      const model::Progress& progress) {
  wake();
  if (grid_position_.grid.n_shards > 1) {
    const StepHeader header = header_of(step);
    EngineMessage message = header;
    broadcast(std::as_writable_bytes(std::span(&message, 1)));
    StepTokens body(header);
    std::ranges::copy(step.segments(), body.segments.begin());
    std::ranges::copy(tokens, body.tokens.begin());
    std::vector<std::byte> bytes = body.packed();
    broadcast(bytes);
  }
  stage_.embed(tokens, stage_.rows(step.n_rows()));
  return run(step, progress);
}

bool Pipeline::submit(const EngineMessage& message, const model::Progress& progress) {
  wake();
  if (grid_position_.grid.n_shards > 1) {
    EngineMessage copy = message;
    broadcast(std::as_writable_bytes(std::span(&copy, 1)));
  }
  return handle(message, progress);
}

void Pipeline::rest() {
  if (is_resting_) return;
  submit(Sleep{}, {});
  is_resting_ = true;
}

void Pipeline::wake() {
  if (!std::exchange(is_resting_, false)) return;
  rest_.wake();
  busy_.begin();
}

Pipeline::Received Pipeline::next_from_leader() {
  Received received;
  const auto span = recorder_.span(Activity::kWaitForStep);
  broadcast(std::as_writable_bytes(std::span(&received.message, 1)));
  if (const auto* header = std::get_if<StepHeader>(&received.message)) {
    StepTokens body(*header);
    std::vector<std::byte> bytes(body.size_bytes());
    broadcast(bytes);
    body.unpack(bytes);
    stage_.embed(body.tokens, stage_.rows(header->n_rows));
    received.segments = std::move(body.segments);
  }
  return received;
}

Pipeline::Received Pipeline::next_from_stage_before() {
  StepMessage& coming = coming_[next_coming_];
  next_coming_ = 1 - next_coming_;
  {
    const auto span = recorder_.span(Activity::kWaitForStep);
    coming.message->wait();
  }
  Received received{coming.header(), {}};
  if (!std::holds_alternative<Stop>(received.message)) receive_into(coming_[next_coming_]);
  if (const auto* header = std::get_if<StepHeader>(&received.message)) {
    received.segments.assign(coming.segments().begin(), coming.segments().end());
    base::copy_rows(coming.rows(), stage_.rows(header->n_rows));
    base::copy_rows(coming.v_first(), stage_.v_first(header->n_rows));
  }
  return received;
}

void Pipeline::receive_into(StepMessage& message) {
  message.message = grid_position_.stages->receive(message.all(), grid_position_.stage - 1);
}

void Pipeline::serve(const std::function<void(const EngineMessage&)>& handle_here) {
  if (!grid_position_.is_first_stage()) receive_into(coming_[next_coming_]);
  for (;;) {
    Received received =
        grid_position_.is_first_stage() ? next_from_leader() : next_from_stage_before();
    if (const auto* header = std::get_if<StepHeader>(&received.message)) {
      run(model::Step(std::move(received.segments), header->wanted, header->weighed), {});
      continue;
    }
    handle(received.message, {});
    handle_here(received.message);
    if (std::holds_alternative<Stop>(received.message)) break;
  }
  finish();
}

bool Pipeline::run(const model::Step& step, const model::Progress& progress) {
  if (!stage_.run(step, progress)) return false;
  if (step.weighed().any()) send_evidence(step);
  if (grid_position_.is_last_stage()) {
    send_logits(step);
  } else {
    pass_on(step);
  }
  busy_.after_step();
  return true;
}

bool Pipeline::handle(const EngineMessage& message, const model::Progress& progress) {
  pass_on(message);  // the stages do not wait for each other
  return std::visit(
      Overloaded{
          [&](const OpenSession& m) { return stage_.open(m), true; },
          [&](const ForkSession& m) { return stage_.fork(m.session, m.source), true; },
          [&](const CloseSession& m) { return stage_.close(m.session), true; },
          [&](const FillSession& m) {
            return stage_.fill(m.session, m.n_tokens, m.seed, progress);
          },
          [&](const MeasureSelection& m) { return stage_.measure_selection(m.one_in), true; },
          [&](const Sleep&) {
            if (!grid_position_.leads()) rest_.wait_until_woken();
            busy_.begin();
            return true;
          },
          [](const auto&) { return true; }},  // about the engine
      message);
}

Pipeline::StepMessage& Pipeline::next_leaving() {
  StepMessage& leaving = leaving_[next_leaving_];
  next_leaving_ = 1 - next_leaving_;
  if (leaving.message) {
    const auto span = recorder_.span(Activity::kWaitToSend);
    wait_for(*leaving.message);
  }
  return leaving;
}

void Pipeline::depart(StepMessage& message) {
  const std::span<std::byte> used = message.used();
  message.message = grid_position_.stages->send(used, grid_position_.stage + 1);
  sent_bytes_ += used.size();
}

void Pipeline::pass_on(const EngineMessage& message) {
  if (grid_position_.is_last_stage()) return;
  StepMessage& leaving = next_leaving();
  leaving.header() = message;
  depart(leaving);
}

void Pipeline::pass_on(const model::Step& step) {
  StepMessage& leaving = next_leaving();
  leaving.header() = header_of(step);
  std::ranges::copy(step.segments(), leaving.segments().begin());
  base::copy_rows(stage_.rows(step.n_rows()), leaving.rows());
  base::copy_rows(stage_.v_first(step.n_rows()), leaving.v_first());
  depart(leaving);
}

void Pipeline::send_evidence(const model::Step& step) {
  const std::vector<RowEvidence> evidence = stage_.take_evidence();
  const std::vector<std::size_t> rows = wanted_rows(step);
  for_logit_batches(rows.size(), [&](std::size_t first, std::size_t n) {
    const auto batch = std::span(rows).subspan(first, n);
    if (std::ranges::none_of(batch, [&](std::size_t row) { return step.weighed().test(row); })) {
      return;
    }
    const auto begin = std::ranges::lower_bound(evidence, batch.front(), {}, &RowEvidence::row);
    const auto end = std::ranges::upper_bound(evidence, batch.back(), {}, &RowEvidence::row);
    logits_.send_evidence({begin, end});
  });
}

void Pipeline::send_logits(const model::Step& step) {
  const std::vector<std::size_t> rows = wanted_rows(step);
  for_logit_batches(rows.size(), [&](std::size_t first, std::size_t n) {
    logits_.send(stage_.logits(std::span(rows).subspan(first, n)));
  });
}

void Pipeline::wait_for(Message& message) {
  if (!grid_position_.leads()) {
    message.wait();
    return;
  }
  while (!message.done()) logits_.poll();
}

void Pipeline::finish() {
  for (StepMessage& leaving : leaving_) {
    if (leaving.message) wait_for(*leaving.message);
    leaving.message.reset();
  }
  logits_.finish();
  busy_.finish();
}

std::vector<double> Pipeline::busy_shares() const {
  return is_resting_ ? std::vector<double>(busy_.shares().size()) : busy_.shares();
}

}  // namespace longreach::dist
