#include "dist/engine/pipeline.hpp"

#include <algorithm>

namespace longreach::dist {
namespace {

using base::MatView;

void copy_rows(MatView<const float> from, MatView<float> to) {
  for (std::size_t i = 0; i < from.rows(); ++i) std::ranges::copy(from.row(i), to.row(i).begin());
}

}  // namespace

MatView<float> Pipeline::Parcel::rows(std::size_t n_embd) {
  return {reinterpret_cast<float*>(bytes_.data() + sizeof(Order)), order().n_rows, n_embd};
}

MatView<float> Pipeline::Parcel::v_first(std::size_t n_embd, std::size_t n_columns) {
  const MatView<float> before = rows(n_embd);
  return {before.data() + before.rows() * n_embd, before.rows(), n_columns};
}

std::size_t Pipeline::Parcel::size(std::size_t n_embd, std::size_t n_columns) {
  return sizeof(Order) + order().n_rows * (n_embd + n_columns) * sizeof(float);
}

Pipeline::Pipeline(GridPosition& grid_position, Stage& stage, LogitsReturn& logits,
                   Recorder& recorder)
    : grid_position_(grid_position), stage_(stage), logits_(logits), recorder_(recorder) {
  const std::size_t n_columns = stage.v_first_columns().size();
  const std::size_t bytes =
      sizeof(Order) + model::kSliceTokens * (stage.config().n_embd + n_columns) * sizeof(float);
  if (!grid_position.is_first_stage()) {
    for (Parcel& parcel : coming_) parcel = Parcel(bytes);
  }
  if (!grid_position.is_last_stage()) {
    for (Parcel& parcel : leaving_) parcel = Parcel(bytes);
  }
}

void Pipeline::receive_into(Parcel& parcel) {
  parcel.message = grid_position_.stages->receive(parcel.all(), grid_position_.stage - 1);
}

bool Pipeline::give(const FirstOrder& order, const model::Progress& progress) {
  FirstOrder told = order;
  if (grid_position_.grid.n_shards > 1) {
    grid_position_.shards->broadcast(std::as_writable_bytes(std::span(&told, 1)), 0);
    sent_bytes_ += sizeof(told) * (grid_position_.grid.n_shards - 1);
  }
  if (told.order.command == Command::kRead) {
    const Order& slice = told.order;
    stage_.embed(std::span(told.tokens).first(slice.n_rows),
                 stage_.rows(slice.call_first, slice.n_rows, slice.call_rows));
  }
  return carry_out(told.order, progress);
}

void Pipeline::follow(const std::function<void(const Order&)>& act) {
  if (!grid_position_.is_first_stage()) receive_into(coming_[next_coming_]);
  for (;;) {
    Order order;
    if (grid_position_.is_first_stage()) {
      FirstOrder told;
      {
        const auto span = recorder_.span(Activity::kWaitForSlice);
        grid_position_.shards->broadcast(std::as_writable_bytes(std::span(&told, 1)), 0);
      }
      order = told.order;
      if (order.command == Command::kRead) {
        stage_.embed(std::span(told.tokens).first(order.n_rows),
                     stage_.rows(order.call_first, order.n_rows, order.call_rows));
      }
    } else {
      Parcel& parcel = coming_[next_coming_];
      next_coming_ = 1 - next_coming_;
      {
        const auto span = recorder_.span(Activity::kWaitForSlice);
        parcel.message->wait();
      }
      order = parcel.order();
      if (order.command != Command::kStop) receive_into(coming_[next_coming_]);
      if (order.command == Command::kRead) {
        const std::size_t n_embd = stage_.config().n_embd;
        const partition::Range own = stage_.v_first_columns();
        copy_rows(parcel.rows(n_embd),
                  stage_.rows(order.call_first, order.n_rows, order.call_rows));
        copy_rows(parcel.v_first(n_embd, own.size()),
                  stage_.v_first(order.call_first, order.n_rows).cols(own.begin, own.size()));
      }
    }
    carry_out(order, {});
    if (!is_about_session(order.command)) act(order);
    if (order.command == Command::kStop) break;
  }
  finish();
}

bool Pipeline::carry_out(const Order& order, const model::Progress& progress) {
  switch (order.command) {
    case Command::kRead:
      return read(order, progress);
    case Command::kOpen:
      stage_.open(order.session);
      break;
    case Command::kFork:
      stage_.fork(order.session, order.source);
      break;
    case Command::kClose:
      stage_.close(order.session);
      break;
    case Command::kFill:
      pass_on(order);  // the stages do not wait for each other
      return stage_.fill(order.session, order.amount, order.seed, progress);
    case Command::kMeasure:
      stage_.measure_selection(order.amount);
      break;
    case Command::kReadMemory:
    case Command::kReport:
    case Command::kMasses:
    case Command::kTrace:
    case Command::kStop:
      break;
  }
  pass_on(order);
  return true;
}

bool Pipeline::read(const Order& order, const model::Progress& progress) {
  call_.push_back(order);
  if (order.call_first + order.n_rows < order.call_rows) return true;
  const std::vector<Order> call = std::move(call_);
  call_.clear();
  if (!stage_.run(order, progress)) return false;
  for (const Order& slice : call) {
    if (grid_position_.is_last_stage()) {
      give_logits(slice);
    } else {
      pass_on(slice);
    }
  }
  return true;
}

void Pipeline::pass_on(const Order& order) {
  if (grid_position_.is_last_stage()) return;
  Parcel& parcel = leaving_[next_leaving_];
  next_leaving_ = 1 - next_leaving_;
  if (parcel.message) {
    const auto span = recorder_.span(Activity::kWaitToSend);
    wait_for(*parcel.message);
  }
  const std::size_t n_embd = stage_.config().n_embd;
  const partition::Range own = stage_.v_first_columns();
  parcel.order() = order;
  if (order.n_rows > 0) {
    const auto values = stage_.v_first(order.call_first, order.n_rows);
    copy_rows(stage_.rows(order.call_first, order.n_rows, order.call_rows), parcel.rows(n_embd));
    copy_rows(values.cols(own.begin, own.size()), parcel.v_first(n_embd, own.size()));
  }
  const auto used = parcel.all().first(parcel.size(n_embd, own.size()));
  parcel.message = grid_position_.stages->send(used, grid_position_.stage + 1);
  sent_bytes_ += used.size();
}

void Pipeline::give_logits(const Order& order) {
  std::vector<std::size_t> rows;
  for (std::size_t i = 0; i < order.n_rows; ++i) {
    if (order.wanted.test(i)) rows.push_back(order.call_first + i);
  }
  for (std::size_t first = 0; first < rows.size(); first += kLogitRows) {
    logits_.give(
        stage_.logits(std::span(rows).subspan(first, std::min(kLogitRows, rows.size() - first))));
  }
}

void Pipeline::wait_for(Message& message) {
  if (!grid_position_.leads()) {
    message.wait();
    return;
  }
  while (!message.done()) logits_.poll();
}

void Pipeline::finish() {
  for (Parcel& parcel : leaving_) {
    if (parcel.message) wait_for(*parcel.message);
    parcel.message.reset();
  }
  logits_.finish();
}

}  // namespace longreach::dist
