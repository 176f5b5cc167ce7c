#include "dist/engine/evidence_return.hpp"

#include <algorithm>
#include <span>
#include <utility>

namespace longreach::dist {

EvidenceReturn::EvidenceReturn(Communicator& ranks) : ranks_(ranks.split(0)) {}

void EvidenceReturn::send(std::vector<RowEvidence> part) {
  if (ranks_->rank() == 0) {
    own_.push_back(std::move(part));
    return;
  }
  const auto has_left = [](const Part& sent) {
    return sent.size_message->done() && (!sent.message || sent.message->done());
  };
  while (!leaving_.empty() && has_left(*leaving_.front())) leaving_.pop_front();
  Part& leaving = *leaving_.emplace_back(std::make_unique<Part>());
  leaving.n_rows = part.size();
  leaving.evidence = std::move(part);
  leaving.size_message = ranks_->send(std::as_bytes(std::span(&leaving.n_rows, 1)), 0);
  const auto bytes = std::as_bytes(std::span(leaving.evidence));
  if (!bytes.empty()) leaving.message = ranks_->send(bytes, 0);
  sent_bytes_ += sizeof(leaving.n_rows) + bytes.size();
}

void EvidenceReturn::finish() {
  for (; !leaving_.empty(); leaving_.pop_front()) {
    leaving_.front()->size_message->wait();
    if (leaving_.front()->message) leaving_.front()->message->wait();
  }
}

void EvidenceReturn::start_receiving() {
  if (!coming_.empty()) return;
  coming_.resize(ranks_->size() - 1);
  for (std::size_t i = 0; i < coming_.size(); ++i) {
    coming_[i].size_message =
        ranks_->receive(std::as_writable_bytes(std::span(&coming_[i].n_rows, 1)), i + 1);
  }
}

void EvidenceReturn::receive_rest(Part& part, std::size_t from) {
  if (part.message || part.n_rows == 0) return;
  part.evidence.resize(part.n_rows);
  part.message = ranks_->receive(std::as_writable_bytes(std::span(part.evidence)), from);
}

bool EvidenceReturn::is_complete() {
  start_receiving();
  bool all_done = !own_.empty();
  for (std::size_t i = 0; i < coming_.size(); ++i) {
    Part& part = coming_[i];
    const bool has_size = part.size_message->done();
    if (has_size) receive_rest(part, i + 1);
    all_done = all_done && has_size && (!part.message || part.message->done());
  }
  return all_done;
}

void EvidenceReturn::wait() {
  start_receiving();
  for (std::size_t i = 0; i < coming_.size(); ++i) {
    coming_[i].size_message->wait();
    receive_rest(coming_[i], i + 1);
    if (coming_[i].message) coming_[i].message->wait();
  }
}

std::vector<RowEvidence> EvidenceReturn::take() {
  std::vector<RowEvidence> sum = std::move(own_.front());
  own_.pop_front();
  for (const Part& part : coming_) {
    sum.insert(sum.end(), part.evidence.begin(), part.evidence.end());
  }
  coming_.clear();
  add_up(sum);
  return sum;
}

}  // namespace longreach::dist
