#include "serve/load_generator.hpp"

#include "kernels/base/error.hpp"
#include "kernels/base/hash.hpp"
#include "kernels/base/seconds.hpp"

#include <fmt/format.h>
#include <nlohmann/json.hpp>

#include <chrono>
#include <cmath>
#include <memory>
#include <random>
#include <utility>

namespace longreach::serve {
namespace {

using Clock = std::chrono::steady_clock;

/// What random numbers are for: each has a stream of its own.
enum class RandomUse : std::uint64_t { kPrefix, kPrompt, kArrival, kLeaving };

std::mt19937_64 random_stream(std::uint64_t seed, RandomUse use, std::uint64_t index = 0) {
  const std::uint64_t number = base::mix_bits(seed + base::kSplitMixStep) + index;
  return std::mt19937_64(base::mix_bits(number * 4 + static_cast<std::uint64_t>(use)));
}

/// From 0 to below 1.
double random_share(std::mt19937_64& random) {
  return static_cast<double>(random() >> 11) * 0x1p-53;
}

/// So many token ids as items of a list of JSON.
std::string random_ids(std::mt19937_64 random, std::size_t n, std::size_t vocab_size) {
  std::string items;
  for (std::size_t i = 0; i < n; ++i) {
    if (i > 0) items += ',';
    items += fmt::format_int(1 + random() % (vocab_size - 1)).c_str();
  }
  return items;
}

/// A client that is being answered.
struct RunningRequest {
  Clock::time_point start;
  StreamedAnswer answer;
  std::optional<std::size_t> n_to_leave;  ///< Chunks after which the client leaves.
};

/// Lives as long as the client may call it: a run that is left leaves requests behind.
class LoadRun : public std::enable_shared_from_this<LoadRun> {
 public:
  LoadRun(HttpClient& client, const Load& load)
      : client_(client),
        load_(load),
        prefix_(random_ids(random_stream(load.seed, RandomUse::kPrefix), load.n_prefix,
                           load.vocab_size)),
        arrivals_(random_stream(load.seed, RandomUse::kArrival)) {}

  LoadResult run(const std::function<bool(const LoadProgress&)>& goes_on) {
    start_ = Clock::now();
    await_arrival(0);
    client_.run([&] { return goes_on(progress_); });
    result_.seconds = base::seconds_since(start_);
    return std::move(result_);
  }

 private:
  /// The next client comes so many seconds after the start. Also those that come at once come one
  /// by one, so that connections are not kept waiting while prompts are made.
  void await_arrival(double seconds) {
    const auto delay =
        std::chrono::duration_cast<Clock::duration>(std::chrono::duration<double>(seconds));
    client_.at(start_ + delay, [self = shared_from_this(), seconds] {
      self->arrive();
      if (self->n_arrived_ == self->load_.n_requests) return;
      const double interval = -std::log1p(-random_share(self->arrivals_));
      self->await_arrival(seconds + interval / self->load_.request_rate);
    });
  }

  void arrive() {
    ++n_arrived_;
    send_waiting();
  }

  void send_waiting() {
    while (n_sent_ < n_arrived_ && (load_.max_running == 0 || n_running_ < load_.max_running)) {
      send();
    }
  }

  void send() {
    const std::size_t index = n_sent_++;
    ++n_running_;
    std::string body = body_of(index);
    const auto running = std::make_shared<RunningRequest>();
    running->n_to_leave = chunks_to_leave(index);
    running->start = Clock::now();
    const auto self = shared_from_this();
    client_.post(
        "/v1/completions", std::move(body),
        {.take = [self, running](std::string_view bytes) { return self->take(*running, bytes); },
         .end = [self, running](const HttpEnd& end) { self->end_of(*running, end); }});
  }

  std::string body_of(std::size_t index) const {
    nlohmann::ordered_json fields = {{"max_tokens", load_.n_generated},
                                     {"temperature", 0},
                                     {"ignore_eos", true},
                                     {"stream", true},
                                     {"stream_options", {{"include_usage", true}}}};
    if (!load_.model.empty()) fields["model"] = load_.model;
    std::string body = fields.dump(-1, ' ', false, nlohmann::json::error_handler_t::replace);
    body.pop_back();
    body += ",\"prompt\":[" + prefix_;
    if (!prefix_.empty()) body += ',';
    body += random_ids(random_stream(load_.seed, RandomUse::kPrompt, index), load_.n_prompt,
                       load_.vocab_size);
    return body + "]}";
  }

  /// Of a client that leaves: it does so before the last token.
  std::optional<std::size_t> chunks_to_leave(std::size_t index) const {
    std::mt19937_64 random = random_stream(load_.seed, RandomUse::kLeaving, index);
    if (random_share(random) >= load_.share_abandoned) return std::nullopt;
    return 1 + random() % (load_.n_generated - 1);
  }

  bool take(RunningRequest& running, std::string_view bytes) {
    const std::size_t n_before = running.answer.n_chunks();
    try {
      running.answer.push(bytes, base::seconds_since(running.start));
    } catch (const base::InputError& error) {
      fail(error.what());
      return false;
    }
    progress_.n_chunks += running.answer.n_chunks() - n_before;
    if (running.answer.is_complete() || !running.n_to_leave ||
        running.answer.n_chunks() < *running.n_to_leave) {
      return true;
    }
    ++result_.n_abandoned;
    count_end();
    return false;
  }

  void end_of(const RunningRequest& running, const HttpEnd& end) {
    if (end.status != 0 && end.status != 200) return fail(refusal_text(end.status, end.body));
    if (!end.fault.empty() && !running.answer.is_complete()) return fail(end.fault);
    try {
      result_.answers.push_back(running.answer.times());
    } catch (const base::InputError& error) {
      return fail(error.what());
    }
    count_end();
  }

  void fail(std::string fault) {
    if (result_.n_failed++ == 0) result_.first_failure = std::move(fault);
    count_end();
  }

  void count_end() {
    ++progress_.n_ended;
    --n_running_;
    send_waiting();
  }

  HttpClient& client_;
  Load load_;
  std::string prefix_;  ///< Items of a list of JSON.
  std::mt19937_64 arrivals_;
  Clock::time_point start_;
  std::size_t n_arrived_ = 0, n_sent_ = 0, n_running_ = 0;
  LoadProgress progress_;
  LoadResult result_;
};

}  // namespace

LoadResult run_load(HttpClient& client, const Load& load,
                    const std::function<bool(const LoadProgress&)>& goes_on) {
  return std::make_shared<LoadRun>(client, load)->run(goes_on);
}

}  // namespace longreach::serve
