#include "eval/dispatch.hpp"

#include "dist/comm/gather_texts.hpp"
#include "eval/question_scheduler.hpp"
#include "kernels/base/error.hpp"

#include <algorithm>
#include <chrono>
#include <cstdint>
#include <span>
#include <thread>
#include <utility>
#include <vector>

namespace longreach::eval {
namespace {

using Clock = std::chrono::steady_clock;

/// How often a replica reports how far it is.
constexpr std::chrono::milliseconds kStatusPause{250};
/// How long the leader of the job sleeps while it only waits for the others.
constexpr std::chrono::milliseconds kIdlePause{5};

/// What the leader of a replica reports to that of the job. Sent as it lies in memory.
struct Report {
  enum class Kind : std::uint32_t {
    kStatus,  ///< It is in the middle of a question.
    kReady,   ///< It asks for a question.
    kEnded,   ///< It has nothing more to report.
  };
  Kind kind = Kind::kStatus;
  double share_of_question = 0;
  std::uint64_t n_tokens_read = 0;
  std::uint64_t n_line_bytes = 0;  ///< The line of a result follows, if there is one.
};

/// The answer: the question to ask, or that there is none, which may also come in the middle
/// of one. Nothing comes after that.
struct Assignment {
  static constexpr std::uint64_t kNone = ~std::uint64_t{0};
  std::uint64_t question = kNone;
};

template <typename Value>
std::span<std::byte> bytes_of(Value& value) {
  return std::as_writable_bytes(std::span(&value, 1));
}

/// Whether all replicas run the same, which may read their own copies of files, is seen from their
/// settings. Collective; the first of the leaders reports the error.
void require_one_run(dist::Communicator& leaders, const Settings& settings) {
  const std::vector<std::string> texts = dist::gather_texts(leaders, settings_text(settings));
  if (leaders.rank() != 0) return;
  for (std::size_t replica = 1; replica < texts.size(); ++replica) {
    if (texts[replica] == texts[0]) continue;
    base::input_error(
        "replica {} would compute {}, replica 0 {}: do all nodes have the same files?", replica,
        texts[replica], texts[0]);
  }
}

/// Another replica as the leader of the job sees it.
struct OtherReplica {
  Report report;
  Assignment assignment;
  std::unique_ptr<dist::Message> coming, leaving;
  bool is_dismissed = false;  ///< It has received its last assignment: none.
  bool has_ended = false;
};

class SchedulingSource final : public QuestionSource {
 public:
  SchedulingSource(const Task& task, const Settings& settings, ResultFile& file,
                   dist::Communicator& leaders, Watch watch)
      : file_(file),
        leaders_(leaders),
        watch_(std::move(watch)),
        scheduler_(task.specs(), file.results(), leaders.size()),
        tracker_(task, file.results(), leaders.size()),
        others_(leaders.size() - 1) {
    require_one_run(leaders, settings);
    for (std::size_t i = 0; i < others_.size(); ++i) receive_from(i);
  }

  std::optional<std::size_t> next() override {
    if (!watch_and_serve()) return std::nullopt;
    return assign(0);
  }

  bool carry_on(double share_of_question, std::size_t n_tokens_read) override {
    tracker_.read(0, share_of_question, n_tokens_read);
    return watch_and_serve();
  }

  void add_result(const std::string& line, std::size_t n_tokens_read) override {
    tracker_.read(0, 1, n_tokens_read);
    tracker_.end(0, file_.add(line));
  }

  bool finish() override {
    while (!all_ended()) {
      watch_and_serve();
      std::this_thread::sleep_for(kIdlePause);
    }
    for (OtherReplica& other : others_) other.leaving->wait();
    return !is_stopped_;
  }

 private:
  /// Does what the others wait for. Returns whether the run goes on.
  bool watch_and_serve() {
    if (!is_stopped_ && !watch_(tracker_.progress())) {
      is_stopped_ = true;
      for (std::size_t i = 0; i < others_.size(); ++i) {
        if (!others_[i].is_dismissed) send_to(i, std::nullopt);
      }
    }
    for (std::size_t i = 0; i < others_.size(); ++i) {
      while (!others_[i].has_ended && others_[i].coming->done()) hear(i);
    }
    return !is_stopped_;
  }

  bool all_ended() const {
    return std::ranges::all_of(others_, [](const OtherReplica& other) { return other.has_ended; });
  }

  std::optional<std::size_t> assign(std::size_t replica) {
    const auto question = scheduler_.next(replica);
    if (question) tracker_.begin(replica, *question);
    return question;
  }

  void receive_from(std::size_t i) {
    others_[i].coming = leaders_.receive(bytes_of(others_[i].report), i + 1);
  }

  /// A report of another replica has come.
  void hear(std::size_t i) {
    OtherReplica& other = others_[i];
    const std::size_t replica = i + 1;
    other.coming->wait();
    const Report report = other.report;
    tracker_.read(replica, report.share_of_question, report.n_tokens_read);
    if (report.n_line_bytes > 0) {
      std::string line(report.n_line_bytes, '\0');
      leaders_.receive(std::as_writable_bytes(std::span(line)), replica)->wait();
      tracker_.end(replica, file_.add(line));
    }
    other.has_ended = report.kind == Report::Kind::kEnded;
    if (!other.has_ended) receive_from(i);
    if (report.kind == Report::Kind::kReady && !other.is_dismissed) send_to(i, assign(replica));
  }

  void send_to(std::size_t i, std::optional<std::size_t> question) {
    OtherReplica& other = others_[i];
    if (other.leaving) other.leaving->wait();  // it has been asked for, so it is taken
    other.assignment.question = question.value_or(Assignment::kNone);
    other.is_dismissed = !question;
    other.leaving = leaders_.send(bytes_of(other.assignment), i + 1);
  }

  ResultFile& file_;
  dist::Communicator& leaders_;
  Watch watch_;
  QuestionScheduler scheduler_;
  Tracker tracker_;
  std::vector<OtherReplica> others_;
  bool is_stopped_ = false;
};

class RemoteSource final : public QuestionSource {
 public:
  RemoteSource(const Settings& settings, dist::Communicator& leaders) : leaders_(leaders) {
    require_one_run(leaders, settings);
    receive();
  }

  std::optional<std::size_t> next() override {
    send({.kind = Report::Kind::kReady,
          .share_of_question = 0,
          .n_tokens_read = n_tokens_read_,
          .n_line_bytes = line_.size()});
    if (!line_.empty()) leaders_.send(std::as_bytes(std::span(line_)), 0)->wait();
    line_.clear();
    coming_->wait();
    if (assignment_.question == Assignment::kNone) return std::nullopt;
    const std::size_t question = assignment_.question;
    receive();
    return question;
  }

  bool carry_on(double share_of_question, std::size_t n_tokens_read) override {
    if (coming_->done()) return false;  // nothing but an end comes unasked
    const Clock::time_point now = Clock::now();
    if (now < next_status_ || (leaving_ && !leaving_->done())) return true;
    next_status_ = now + kStatusPause;
    report_ = {Report::Kind::kStatus, share_of_question, n_tokens_read, 0};
    leaving_ = leaders_.send(bytes_of(report_), 0);
    return true;
  }

  void add_result(const std::string& line, std::size_t n_tokens_read) override {
    line_ = line;
    n_tokens_read_ = n_tokens_read;
  }

  bool finish() override {
    send({.kind = Report::Kind::kEnded,
          .share_of_question = 0,
          .n_tokens_read = n_tokens_read_,
          .n_line_bytes = 0});
    return false;
  }

 private:
  void receive() { coming_ = leaders_.receive(bytes_of(assignment_), 0); }

  void send(const Report& report) {
    if (leaving_) leaving_->wait();
    report_ = report;
    leaving_ = leaders_.send(bytes_of(report_), 0);
    leaving_->wait();
  }

  dist::Communicator& leaders_;
  Assignment assignment_;
  Report report_;
  std::unique_ptr<dist::Message> coming_, leaving_;
  std::string line_;
  std::size_t n_tokens_read_ = 0;
  Clock::time_point next_status_ = {};
};

}  // namespace

std::unique_ptr<QuestionSource> scheduling_source(const Task& task, const Settings& settings,
                                                  ResultFile& file, dist::Communicator& leaders,
                                                  Watch watch) {
  return std::make_unique<SchedulingSource>(task, settings, file, leaders, std::move(watch));
}

std::unique_ptr<QuestionSource> remote_source(const Settings& settings,
                                              dist::Communicator& leaders) {
  return std::make_unique<RemoteSource>(settings, leaders);
}

}  // namespace longreach::eval
