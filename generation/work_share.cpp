#include "generation/work_share.hpp"

#include "dist/comm/gather_texts.hpp"
#include "kernels/base/error.hpp"

#include <algorithm>
#include <chrono>
#include <cstdint>
#include <deque>
#include <span>
#include <thread>
#include <vector>

namespace longreach::generation {
namespace {

using Clock = std::chrono::steady_clock;

/// How often a replica reports how far it is.
constexpr std::chrono::milliseconds kStatusPause{250};
/// How long the leader of the job sleeps while it only waits for the others.
constexpr std::chrono::milliseconds kIdlePause{5};

/// What the leader of a replica reports to that of the job. Sent as it lies in memory.
struct Report {
  WorkProgress progress;
  std::uint64_t n_wanted = 0;  ///< So many pieces more than it has asked for before.
  std::uint64_t piece = 0;
  std::uint64_t n_line_bytes = 0;  ///< The line of the piece's result follows, if there is one.
  std::uint64_t is_last = 0;       ///< Nothing follows.
};

/// What it is answered. Ends with kEnd, which comes when the run is stopped, or answers the last
/// report.
struct Assignment {
  enum class Kind : std::uint64_t { kBegin, kNoneLeft, kEnd };
  Kind kind = Kind::kEnd;
  std::uint64_t piece = 0;
};

template <typename Value>
std::span<std::byte> bytes_of(Value& value) {
  return std::as_writable_bytes(std::span(&value, 1));
}

/// Messages to one rank that nobody waits for before the end.
template <typename Head>
class Outbox {
 public:
  Outbox(dist::Communicator& leaders, std::size_t to) : leaders_(leaders), to_(to) {}

  /// A text, if it is not empty, leaves after the head.
  void send(const Head& head, const std::string& text = {}) {
    drop_what_has_left();
    Entry& entry = entries_.emplace_back(Entry{head, text, {}, {}});
    entry.head_message = leaders_.send(bytes_of(entry.head), to_);
    if (text.empty()) return;
    entry.text_message = leaders_.send(std::as_bytes(std::span(entry.text)), to_);
  }

  bool is_empty() {
    drop_what_has_left();
    return entries_.empty();
  }

  void wait() {
    for (; !entries_.empty(); entries_.pop_front()) {
      entries_.front().head_message->wait();
      if (entries_.front().text_message) entries_.front().text_message->wait();
    }
  }

 private:
  struct Entry {
    Head head;
    std::string text;
    std::unique_ptr<dist::Message> head_message, text_message;

    bool has_left() {
      return head_message->done() && (text_message == nullptr || text_message->done());
    }
  };

  void drop_what_has_left() {
    while (!entries_.empty() && entries_.front().has_left()) entries_.pop_front();
  }

  dist::Communicator& leaders_;
  std::size_t to_;
  std::deque<Entry> entries_;  ///< Whose elements stay where they are.
};

/// Whether all replicas run the same, which may read their own copies of files, is seen from their
/// settings. Collective; the first of the leaders reports the error.
void require_one_run(dist::Communicator& leaders, const std::string& settings) {
  const std::vector<std::string> texts = dist::gather_texts(leaders, settings);
  if (leaders.rank() != 0) return;
  for (std::size_t replica = 1; replica < texts.size(); ++replica) {
    if (texts[replica] == texts[0]) continue;
    base::input_error(
        "replica {} would compute {}, replica 0 {}: do all nodes have the same files?", replica,
        texts[replica], texts[0]);
  }
}

/// Which replica may have how many pieces, and which it gets: bookkeeping without messages.
class Shares {
 public:
  Shares(SharedWork& work, std::size_t n_replicas) : work_(work), replicas_(n_replicas) {}

  /// A piece for the replica, if there is one for it now.
  std::optional<std::size_t> next(std::size_t replica) {
    Replica& own = replicas_[replica];
    if (own.none_left) return std::nullopt;
    if (work_.n_left() > 0 && has_share(own)) return std::nullopt;
    const auto piece = work_.hand_out(replica);
    if (piece) {
      ++own.n_under_way;
    } else {
      own.none_left = own.n_under_way == 0 || work_.n_left() == 0;
    }
    return piece;
  }

  void end_piece(std::size_t replica) { --replicas_[replica].n_under_way; }

  void end_all() {
    for (Replica& replica : replicas_) replica.none_left = true;
  }

  bool none_left(std::size_t replica) const { return replicas_[replica].none_left; }
  std::size_t n_under_way(std::size_t replica) const { return replicas_[replica].n_under_way; }

 private:
  struct Replica {
    std::size_t n_under_way = 0;
    bool none_left = false;
  };

  /// Whether it has as many of the pieces under way or left as the other replicas that may get more
  /// can have: who asks first must not take what others have room for.
  bool has_share(const Replica& own) const {
    std::size_t n_pieces = work_.n_left(), n_replicas = 0;
    for (const Replica& replica : replicas_) {
      if (replica.none_left) continue;
      n_pieces += replica.n_under_way;
      ++n_replicas;
    }
    const std::size_t even = n_pieces / n_replicas;
    if (own.n_under_way != even) return own.n_under_way > even;
    const auto n_larger = std::ranges::count_if(replicas_, [even](const Replica& replica) {
      return !replica.none_left && replica.n_under_way > even;
    });
    return static_cast<std::size_t>(n_larger) >= n_pieces % n_replicas;
  }

  SharedWork& work_;
  std::vector<Replica> replicas_;
};

/// Another replica as the leader of the job sees it.
struct OtherReplica {
  OtherReplica(dist::Communicator& leaders, std::size_t replica) : assignments(leaders, replica) {}

  Report report;
  std::string line;                       ///< Of the report's result.
  std::unique_ptr<dist::Message> coming;  ///< The report, or the line.
  bool line_is_coming = false;
  bool has_ended = false;

  Outbox<Assignment> assignments;
  std::size_t n_wanted = 0;  ///< Pieces that it has asked for and not got.
  bool knows_none_left = false, is_dismissed = false;
};

class LeadingSource final : public WorkSource {
 public:
  LeadingSource(SharedWork& work, const std::string& settings, dist::Communicator& leaders)
      : work_(work), leaders_(leaders), shares_(work, leaders.size()) {
    require_one_run(leaders, settings);
    for (std::size_t replica = 1; replica < leaders.size(); ++replica) {
      others_.emplace_back(leaders, replica);
      receive_report(replica);
    }
  }

  std::optional<std::size_t> next(std::size_t n_room) override {
    LR_CHECK(n_room > 0);
    return look_after_others() ? shares_.next(0) : std::nullopt;
  }

  std::optional<std::size_t> wait_for_next(std::size_t n_room) override {
    LR_CHECK(shares_.n_under_way(0) == 0);  // then there is a piece for it now, or never
    return next(n_room);
  }

  bool none_left() const override { return shares_.none_left(0); }

  bool carry_on(const WorkProgress& progress) override {
    work_.set_progress(0, progress);
    return look_after_others();
  }

  void add_result(std::size_t piece, const std::string& line,
                  const WorkProgress& progress) override {
    work_.set_progress(0, progress);
    take_result(0, piece, line);
  }

  bool finish() override {
    while (!all_ended()) {
      look_after_others();
      std::this_thread::sleep_for(kIdlePause);
    }
    for (OtherReplica& other : others_) other.assignments.wait();
    return !is_stopped_;
  }

 private:
  OtherReplica& other(std::size_t replica) { return others_[replica - 1]; }

  /// Does what the others wait for. Returns whether the run goes on.
  bool look_after_others() {
    if (!is_stopped_ && !work_.carry_on()) {
      is_stopped_ = true;
      shares_.end_all();
      for (OtherReplica& other : others_) dismiss(other);
    }
    for (std::size_t replica = 1; replica < leaders_.size(); ++replica) hear(replica);
    if (!is_stopped_) hand_out();
    return !is_stopped_;
  }

  bool all_ended() const {
    return std::ranges::all_of(others_, [](const OtherReplica& other) { return other.has_ended; });
  }

  void receive_report(std::size_t replica) {
    other(replica).coming = leaders_.receive(bytes_of(other(replica).report), replica);
  }

  /// Takes what has come of another replica.
  void hear(std::size_t replica) {
    OtherReplica& from = other(replica);
    while (!from.has_ended && from.coming->done()) {
      from.coming->wait();
      if (!from.line_is_coming && from.report.n_line_bytes > 0) {
        from.line.resize(from.report.n_line_bytes);
        from.coming = leaders_.receive(std::as_writable_bytes(std::span(from.line)), replica);
        from.line_is_coming = true;
        continue;
      }
      from.line_is_coming = false;
      handle(from.report, replica);
      if (!from.has_ended) receive_report(replica);
    }
  }

  void handle(const Report& report, std::size_t replica) {
    OtherReplica& from = other(replica);
    work_.set_progress(replica, report.progress);
    if (report.n_line_bytes > 0) take_result(replica, report.piece, from.line);
    from.n_wanted += report.n_wanted;
    from.has_ended = report.is_last != 0;
    if (from.has_ended) dismiss(from);
  }

  void take_result(std::size_t replica, std::size_t piece, const std::string& line) {
    shares_.end_piece(replica);
    work_.add_result(replica, piece, line);
  }

  /// Answers who has asked for pieces, as far as that can be done now.
  void hand_out() {
    for (std::size_t replica = 1; replica < leaders_.size(); ++replica) {
      OtherReplica& to = other(replica);
      while (to.n_wanted > 0) {
        const auto piece = shares_.next(replica);
        if (!piece) break;
        to.assignments.send({Assignment::Kind::kBegin, *piece});
        --to.n_wanted;
      }
      if (shares_.none_left(replica) && !to.knows_none_left && !to.is_dismissed) {
        to.assignments.send({Assignment::Kind::kNoneLeft, 0});
        to.knows_none_left = true;
      }
    }
  }

  static void dismiss(OtherReplica& other) {
    if (!other.is_dismissed) other.assignments.send({Assignment::Kind::kEnd, 0});
    other.is_dismissed = true;
  }

  SharedWork& work_;
  dist::Communicator& leaders_;
  Shares shares_;
  std::deque<OtherReplica> others_;  ///< From replica 1 on.
  bool is_stopped_ = false;
};

class RemoteSource final : public WorkSource {
 public:
  RemoteSource(const std::string& settings, dist::Communicator& leaders)
      : leaders_(leaders), reports_(leaders, 0) {
    require_one_run(leaders, settings);
    receive();
  }

  std::optional<std::size_t> next(std::size_t n_room) override {
    LR_CHECK(n_room > 0);
    take_assignments();
    if (n_room > n_wanted_ && !none_left_) {
      reports_.send({.progress = progress_, .n_wanted = n_room - n_wanted_});
      n_wanted_ = n_room;
    }
    return begin();
  }

  std::optional<std::size_t> wait_for_next(std::size_t n_room) override {
    LR_CHECK(n_under_way_ == 0);
    auto piece = next(n_room);
    while (!piece && !none_left_) {
      take_assignment();
      piece = begin();
    }
    return piece;
  }

  bool none_left() const override { return none_left_ && to_begin_.empty(); }

  bool carry_on(const WorkProgress& progress) override {
    progress_ = progress;
    take_assignments();
    if (is_ended_) return false;
    const Clock::time_point now = Clock::now();
    if (now < next_status_ || !reports_.is_empty()) return true;
    next_status_ = now + kStatusPause;
    reports_.send({.progress = progress_});
    return true;
  }

  void add_result(std::size_t piece, const std::string& line,
                  const WorkProgress& progress) override {
    LR_CHECK(!line.empty());
    progress_ = progress;
    --n_under_way_;
    reports_.send({.progress = progress_, .piece = piece, .n_line_bytes = line.size()}, line);
  }

  bool finish() override {
    reports_.send({.progress = progress_, .is_last = 1});
    while (!is_ended_) take_assignment();
    reports_.wait();
    return false;
  }

 private:
  void receive() { coming_ = leaders_.receive(bytes_of(assignment_), 0); }

  /// Takes the assignments that have come.
  void take_assignments() {
    while (!is_ended_ && coming_->done()) take_assignment();
  }

  /// Waits for an assignment.
  void take_assignment() {
    coming_->wait();

    if (assignment_.kind == Assignment::Kind::kBegin) {
      to_begin_.push_back(assignment_.piece);
    } else {
      none_left_ = true;
    }
    is_ended_ = assignment_.kind == Assignment::Kind::kEnd;
    if (is_ended_) {
      to_begin_.clear();
    } else {
      receive();
    }
  }

  std::optional<std::size_t> begin() {
    if (to_begin_.empty()) return std::nullopt;
    const std::size_t piece = to_begin_.front();
    to_begin_.pop_front();
    --n_wanted_;
    ++n_under_way_;
    return piece;
  }

  dist::Communicator& leaders_;
  Outbox<Report> reports_;
  Assignment assignment_;
  std::unique_ptr<dist::Message> coming_;
  std::deque<std::size_t> to_begin_;  ///< Pieces that have come.
  std::size_t n_wanted_ = 0;          ///< Pieces asked for and not begun.
  std::size_t n_under_way_ = 0;
  bool none_left_ = false, is_ended_ = false;
  WorkProgress progress_;
  Clock::time_point next_status_ = {};
};

}  // namespace

std::unique_ptr<WorkSource> leading_source(SharedWork& work, const std::string& settings,
                                           dist::Communicator& leaders) {
  return std::make_unique<LeadingSource>(work, settings, leaders);
}

std::unique_ptr<WorkSource> remote_source(const std::string& settings,
                                          dist::Communicator& leaders) {
  return std::make_unique<RemoteSource>(settings, leaders);
}

bool work(WorkSource& source, Worker& worker) {
  const auto carry_on = [&](double) { return source.carry_on(worker.progress()); };
  for (;;) {
    while (const std::size_t n_room = worker.n_room()) {
      const bool is_idle = worker.n_under_way() == 0;
      const auto piece = is_idle ? source.wait_for_next(n_room) : source.next(n_room);
      if (!piece) break;
      worker.begin(*piece);
    }
    if (worker.n_under_way() == 0) break;
    // On several ranks a step does not ask.
    if (!worker.step(carry_on) || !carry_on(1)) break;
  }
  return source.finish();
}

}  // namespace longreach::generation
