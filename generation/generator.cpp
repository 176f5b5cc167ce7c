#include "generation/generator.hpp"

#include "generation/logprobs.hpp"
#include "kernels/base/error.hpp"
#include "kernels/base/seconds.hpp"
#include "model/step.hpp"

#include <algorithm>
#include <array>
#include <exception>
#include <utility>

namespace longreach::generation {

using base::TokenId;

namespace {

/// A prefix is kept where it saves so many tokens at least beyond one that is known.
constexpr std::size_t kLeastGain = 32;
/// Seconds; a clock holds more.
constexpr double kLatestDeadline = 1e8;

SchedulerOptions scheduler_options(const dist::Engine& engine, const GeneratorOptions& options,
                                   bool calls_are_units) {
  SchedulerOptions scheduler{.max_rows = model::kStepRows,
                             .n_steps = engine.grid().n_stages,
                             .step_seconds = options.step_seconds,
                             .memory_bytes = options.memory_bytes,
                             .max_running = std::min(options.max_running, model::kStepRows),
                             .max_waiting = options.max_waiting};
  if (calls_are_units) {
    scheduler.max_rows = std::numeric_limits<std::size_t>::max();
    scheduler.max_running = 1;
  }
  return scheduler;
}

}  // namespace

Generator::Active::Active(Request asked, EventSink events, const model::Tokenizer& tokenizer)
    : request(std::move(asked)),
      sink(std::move(events)),
      sampler(tokenizer, request.sampler),
      text(request.stop_strings) {}

std::size_t Generator::Active::n_sharable() const {
  const std::size_t most = n_prompt() - (request.n_new > 0 ? 1 : 0);
  return request.prompt_logprobs_from ? std::min(most, *request.prompt_logprobs_from - 1) : most;
}

std::vector<std::size_t> Generator::Active::wanted(std::size_t n) const {
  std::vector<std::size_t> positions;
  for (std::size_t i = n_read(); i < n_read() + n; ++i) {
    const bool gives_token = n_generated < request.n_new && i + 1 >= n_prompt();
    const bool is_of_prompt = request.prompt_logprobs_from && i + 1 < n_prompt() &&
                              i + 1 >= *request.prompt_logprobs_from;
    if (gives_token || is_of_prompt) positions.push_back(n_before + i);
  }
  return positions;
}

Generator::Generator(dist::Engine& engine, const model::ModelConfig& config,
                     const model::Tokenizer& tokenizer, const GeneratorOptions& options)
    : engine_(engine),
      tokenizer_(tokenizer),
      end_token_(config.end_token),
      calls_are_units_(engine.attention().mode == model::AttentionMode::kReference),
      options_(options),
      without_text_(model::ids_without_text(tokenizer, config.vocab_size, config.end_token)),
      scheduler_(scheduler_options(engine, options, calls_are_units_)),
      prefixes_(0, options.sequence_bytes) {
  options_.keeps_prefixes = options.keeps_prefixes && !calls_are_units_;
  fit_prefixes();
}

Generator::~Generator() {
  if (std::uncaught_exceptions() > 0) return;  // the sessions' own destructors know what to do
  for (auto& [id, active] : active_) {
    if (active->session) engine_.cancel(*std::move(active->session));
  }
}

RequestId Generator::submit(Request request, EventSink sink) {
  return add(std::move(request), std::move(sink), std::nullopt);
}

RequestId Generator::submit(Request request, EventSink sink, dist::Session after) {
  return add(std::move(request), std::move(sink), std::move(after));
}

RequestId Generator::add(Request request, EventSink sink, std::optional<dist::Session> after) {
  if (request.prompt.empty()) {
    base::input_error("the prompt is empty, at least one token is needed");
  }
  engine_.check_tokens(request.prompt);
  LR_CHECK(!request.prompt_logprobs_from || *request.prompt_logprobs_from > 0);
  if (request.wants_evidence && !engine_.has_evidence()) {
    base::input_error("evidence: expected a model with sparse blocks, and attention moba or full");
  }
  auto& banned = request.sampler.banned;
  banned.insert(banned.end(), without_text_.begin(), without_text_.end());
  LR_CHECK(!request.saving || (request.saving->every > 0 && saving_ == 0));
  auto active = std::make_unique<Active>(std::move(request), std::move(sink), tokenizer_);
  if (const auto seconds = active->request.deadline_seconds) {
    if (!(*seconds >= 0 && *seconds <= kLatestDeadline)) {
      base::input_error("a deadline: expected 0 to {:.0f} seconds, found {}", kLatestDeadline,
                        *seconds);
    }
    active->deadline = Clock::now() + std::chrono::duration_cast<Clock::duration>(
                                          std::chrono::duration<double>(*seconds));
  }
  if (after) active->n_before = after->n_tokens();
  active->session = std::move(after);
  const RequestSize size{active->n_prompt(), own_bytes(*active, n_in_files(*active)),
                         active->request.priority};
  if (!scheduler_.fits(size.bytes)) {
    base::input_error(
        "{} tokens need {:.4g} GB of memory beside the model, {:.4g} GB are available",
        active->n_before + active->n_prompt() + active->request.n_new,
        static_cast<double>(size.bytes) / 1e9, static_cast<double>(options_.memory_bytes) / 1e9);
  }
  active->id = ++n_submitted_;
  if (active->request.saving) saving_ = active->id;
  scheduler_.add(active->id, size);
  may_begin_ = true;
  return active_.emplace(active->id, std::move(active)).first->first;
}

bool Generator::may_be_saved(const Active& active) const {
  return options_.saved != nullptr && options_.keeps_prefixes && active.request.initial_state == 0;
}

std::size_t Generator::n_in_files(const Active& active) const {
  if (active.session || !may_be_saved(active)) return 0;
  const auto saved = options_.saved->find(active.request.prompt, active.n_sharable(), 0);
  return saved ? saved->n_tokens : 0;
}

Generator::Active* Generator::find(RequestId id) {
  const auto found = active_.find(id);
  return found == active_.end() ? nullptr : found->second.get();
}

bool Generator::step(const dist::Progress& progress) {
  end_requests();
  begin_requests();
  const Clock::time_point start = Clock::now();
  const std::vector<RequestRows> rows = next_rows();
  if (!rows.empty() && !submit_step(rows, progress)) {
    LR_CHECK(saving_ == 0);
    return false;
  }
  const bool waits = rows.empty() && !under_way_.empty();
  if (waits) wait_for_oldest();
  const bool saves = save_known(rows.empty() && !waits);
  complete_saved_prompt();
  report_saved();
  // Or it would never end.
  LR_CHECK(!rows.empty() || waits || saves || !with_events_.empty() || scheduler_.n_running() == 0);
  dispatch_events(rows.empty() && !waits);
  if (!rows.empty()) scheduler_.observe(base::seconds_since(start));
  return true;
}

void Generator::end_requests() {
  for (const RequestId id : std::exchange(cancelled_, {})) {
    if (Active* const active = find(id)) finish(*active, {.reason = FinishReason::kCancelled});
  }
  std::vector<RequestId> late;
  for (const auto& [id, active] : active_) {
    if (active->deadline && Clock::now() >= *active->deadline) late.push_back(id);
  }
  for (const RequestId id : late) finish(*find(id), {.reason = FinishReason::kDeadline});
}

void Generator::begin_requests() {
  while (std::exchange(may_begin_, false)) {
    while (const auto id = scheduler_.begin_next(
               [this](RequestId waiting) { return !waits_for_prefix(*find(waiting)); })) {
      begin(*find(*id));
    }
  }
}

bool Generator::waits_for_prefix(const Active& active) const {
  if (active.session) return false;
  const Request& request = active.request;
  const auto found = prefixes_.find(request.initial_state, request.prompt, active.n_sharable());
  return found.n_promised > found.n_kept;
}

void Generator::begin(Active& active) {
  active.logits = std::make_shared<const dist::LogitsSink>(
      [this, &active](std::size_t position, std::span<const float> logits) {
        on_logits(active, position, logits);
      });
  if (active.request.wants_evidence) {
    active.evidence.emplace(active.n_before + active.n_prompt());
    active.evidence_sink = std::make_shared<const dist::EvidenceSink>(
        [&active](std::size_t, std::span<const dist::AttendedSpan> spans) {
          active.pending.evidence.assign(spans.begin(), spans.end());
        });
  }
  if (!active.session) {
    PrefixTree::Found found;
    try {
      found = recall(active);
    } catch (const base::InputError& error) {
      return finish(active, {.reason = FinishReason::kFailed, .error = error.what()});
    }
    if (found.n_kept > 0) {
      prefixes_.use(found.kept);
      active.session = engine_.fork(kept_.at(found.kept));
      active.n_shared = found.n_kept;
      share(active, found.kept, found.n_kept);
    } else {
      active.session = engine_.new_session(active.request.initial_state);
    }
    plan_borders(active, found);
    if (active.request.saving) plan_saving(active);
  }
  fit_prefixes();
  if (active.to_save.empty()) {
    after_rows(active);
  } else {
    scheduler_.set_under_way(active.id);
  }
}

PrefixTree::Found Generator::recall(const Active& active) {
  const std::vector<TokenId>& prompt = active.request.prompt;
  const PrefixTree::Root root = active.request.initial_state;
  const std::size_t most = active.n_sharable();
  const auto found = prefixes_.find(root, prompt, most);
  if (!may_be_saved(active)) return found;
  const auto saved = options_.saved->find(prompt, most, found.n_kept + kLeastGain);
  if (!saved) return found;
  const PrefixTree::KeptId kept = ++n_kept_;
  try {
    kept_.emplace(kept, engine_.restore(saved->n_tokens, saved->context));
  } catch (const base::InputError& error) {
    options_.saved->give_up(saved->context, error);
    return found;
  }
  drop(prefixes_.keep(root, std::span(prompt).first(saved->n_tokens), kept,
                      PrefixTree::Memory::kFiles));
  return prefixes_.find(root, prompt, most);
}

void Generator::plan_borders(Active& active, const PrefixTree::Found& found) {
  // What is saved is found in the files.
  if (!options_.keeps_prefixes || active.request.prompt_logprobs_from || active.request.saving) {
    return;
  }
  // Where others part from it, where others are expected to, and all of it but the token that draws
  // the first one.
  std::vector<std::size_t> lengths = active.request.shared_lengths;
  lengths.push_back(found.n_common);
  lengths.push_back(active.n_prompt() - 1);
  for (std::size_t n = (found.n_kept / kKeptEvery + 1) * kKeptEvery; n < active.n_prompt();
       n += kKeptEvery) {
    lengths.push_back(n);
  }
  std::ranges::sort(lengths);
  std::size_t known = found.n_kept;
  for (const std::size_t n : lengths) {
    if (n < known + kLeastGain || n >= active.n_prompt()) continue;
    active.borders.push_back(n);
    prefixes_.promise(active.request.initial_state, std::span(active.request.prompt).first(n),
                      active.id);
    known = n;
  }
  std::ranges::reverse(active.borders);
}

void Generator::keep_prefix(Active& active) {
  const PrefixTree::KeptId kept = ++n_kept_;
  kept_.emplace(kept, engine_.fork(*active.session));
  // What it shares with the prefix from now on is counted there.
  const std::size_t n_read = active.n_read(), before = scheduler_.bytes_of(active.id);
  scheduler_.set_bytes(active.id, own_bytes(active, n_read));
  fit_prefixes();
  const auto gone = prefixes_.keep(active.request.initial_state,
                                   std::span(active.request.prompt).first(n_read), kept);
  drop(gone);
  if (std::ranges::count(gone, kept) == 0) {
    share(active, kept, n_read);
  } else {
    scheduler_.set_bytes(active.id, before);
  }
  fit_prefixes();
  may_begin_ = true;
}

void Generator::save(Active& active, const dist::Session& session) {
  try_to_save(active, [&] {
    const Saving& saving = *active.request.saving;
    const std::size_t n_tokens = session.n_tokens(),
                      n_saved = std::max(saving.n_saved, engine_.n_saved_tokens(saving.context));
    if (n_tokens <= (begun_.empty() ? n_saved : begun_.back())) return;
    engine_.save(session, saving.context);
    begun_.push_back(n_tokens);
  });
}

void Generator::plan_saving(Active& active) {
  active.to_save = prefixes_.kept_along(active.request.initial_state, active.request.prompt,
                                        active.session->n_tokens());
  for (const PrefixTree::KeptId kept : active.to_save) prefixes_.pin(kept);
}

bool Generator::save_known(bool may_wait) {
  Active* const active = find(saving_);
  if (active == nullptr || active->to_save.empty() || saving_failed_) return false;
  if (!may_wait && !engine_.has_written()) return false;
  // What is saved stays until it is written: prefixes until the last one, which the session itself
  // is as long as.
  const std::size_t i = active->n_save_begun++;
  const bool is_last = i + 1 == active->to_save.size();
  save(*active, is_last ? *active->session : kept_.at(active->to_save[i]));
  if (is_last && !saving_failed_) {
    unpin_saved(*active);
    after_rows(*active);
  }
  return true;
}

void Generator::unpin_saved(Active& active) {
  for (const PrefixTree::KeptId kept : std::exchange(active.to_save, {})) prefixes_.unpin(kept);
}

void Generator::finish_saving(Active& active) {
  if (active.session && active.n_read() > 0) save(active, *active.session);
  try_to_save(active, [&] { engine_.finish_saving(); });
  report_saved();
  saving_ = 0;
}

void Generator::complete_saved_prompt() {
  Active* const active = find(saving_);
  if (begun_.empty() || active->n_read() < active->n_prompt() || !engine_.has_written()) return;
  try_to_save(*active, [&] { engine_.finish_saving(); });
}

void Generator::report_saved() {
  if (begun_.empty()) return;
  Active& active = *find(saving_);
  try_to_save(active, [&] {
    const std::size_t n_saved = engine_.n_saved_tokens(active.request.saving->context);
    for (; !begun_.empty() && begun_.front() <= n_saved; begun_.pop_front()) {
      active.sink(Saved{begun_.front()});
    }
  });
}

void Generator::try_to_save(Active& active, const std::function<void()>& part) {
  if (saving_failed_) return;
  try {
    part();
  } catch (const dist::SaveError& error) {
    engine_.abandon_saving();
    begun_.clear();
    saving_failed_ = true;
    active.pending.error = error.what();
    with_events_.insert(active.id);
  }
}

std::size_t Generator::own_bytes(const Active& active, std::size_t n_shared) const {
  std::size_t n_tokens = active.n_before + active.n_prompt() + active.request.n_new - n_shared;
  if (active.request.saving) {  // what is saved moves to files
    n_tokens =
        std::min(n_tokens, kStatesInMemory * active.request.saving->every + active.request.n_new);
  }
  return options_.sequence_bytes.of(n_tokens);
}

void Generator::share(Active& active, PrefixTree::KeptId kept, std::size_t n_kept) {
  if (active.kept != 0) prefixes_.unpin(active.kept);
  prefixes_.pin(kept);
  active.kept = kept;
  scheduler_.set_bytes(active.id, own_bytes(active, n_kept));
}

void Generator::fit_prefixes() {
  if (!options_.keeps_prefixes) return;
  const std::size_t taken = std::min(scheduler_.running_bytes(), options_.memory_bytes);
  drop(prefixes_.set_budget(options_.memory_bytes - taken));
  scheduler_.set_reserved(prefixes_.pinned_bytes());
}

void Generator::forget_prefixes() {
  drop(prefixes_.set_budget(0));
  fit_prefixes();
}

void Generator::drop(std::span<const PrefixTree::KeptId> gone) {
  for (const PrefixTree::KeptId kept : gone) kept_.erase(kept);
}

std::vector<RequestRows> Generator::next_rows() {
  // As many steps as there are stages keep all of them busy; more would only wait on the way.
  while (!under_way_.empty() && n_steps_ - under_way_.front().number >= engine_.grid().n_stages) {
    wait_for_oldest();
  }
  return scheduler_.next_step();
}

void Generator::wait_for_oldest() {
  const UnderWay oldest = std::move(under_way_.front());
  under_way_.pop_front();
  for (const RequestId id : oldest.requests) {
    const Active* const active = find(id);
    if (active != nullptr && active->last_step == oldest.number && active->n_rows_to_come > 0) {
      engine_.wait_for(*active->session);
    }
  }
  dispatch_events(false);
}

bool Generator::submit_step(std::span<const RequestRows> rows, const dist::Progress& progress) {
  std::vector<std::vector<std::size_t>> wanted;
  wanted.reserve(rows.size());  // spans of it are taken
  std::vector<dist::SegmentRequest> segments;
  UnderWay step{n_steps_++, {}};
  for (const RequestRows& part : rows) {
    Active& active = *find(part.id);
    const std::size_t n_read = active.n_read();
    const auto tokens =
        n_read < active.n_prompt()
            ? std::span<const TokenId>(active.request.prompt).subspan(n_read, part.n_rows)
            : std::span<const TokenId>(&active.next, 1);
    wanted.push_back(active.wanted(tokens.size()));
    segments.push_back(
        {&*active.session, tokens, wanted.back(), active.logits, active.evidence_sink});
    active.n_rows_to_come += wanted.back().size();
    if (!wanted.back().empty()) {
      active.last_step = step.number;
      step.requests.push_back(part.id);
    }
    active.n_in_step = tokens.size();
    n_tokens_read_ += tokens.size();
  }
  if (calls_are_units_) {
    const dist::SegmentRequest& only = segments.front();
    if (!engine_.read(*only.session, only.tokens, only.wanted, *only.sink, progress)) return false;
  } else if (!engine_.submit(segments, progress)) {
    return false;
  }
  for (const RequestRows& part : rows) after_rows(*find(part.id));
  const bool has_come = std::ranges::all_of(
      step.requests, [this](RequestId id) { return find(id)->n_rows_to_come == 0; });
  if (!has_come) under_way_.push_back(std::move(step));
  return true;
}

void Generator::after_rows(Active& active) {
  const std::size_t n_read = active.n_read(), n_prompt = active.n_prompt();
  if (!active.borders.empty() && active.borders.back() == n_read) {
    active.borders.pop_back();
    keep_prefix(active);
  }
  if (n_read < n_prompt) {
    std::size_t n_until_border =
        (active.borders.empty() ? n_prompt : active.borders.back()) - n_read;
    if (active.request.saving) {
      // A context that holds the whole prompt holds the answer.
      if (n_read > 0 && active.n_until_state() == active.request.saving->every) {
        save(active, *active.session);
      }
      n_until_border = std::min(n_until_border, active.n_until_state());
    }
    scheduler_.set_prompt(active.id, n_prompt - n_read, n_until_border,
                          engine_.prompt_step_rows(*active.session));
  } else {
    scheduler_.set_under_way(active.id);
  }
  if (n_read <= n_prompt || active.is_complete()) with_events_.insert(active.id);
}

void Generator::on_logits(Active& active, std::size_t position, std::span<const float> logits) {
  --active.n_rows_to_come;
  with_events_.insert(active.id);
  const Request& request = active.request;
  const std::size_t n_top = request.n_top_logprobs.value_or(0), i = position - active.n_before;
  if (request.hashes_logits) active.hash.update(std::as_bytes(logits));
  if (i + 1 < active.n_prompt()) {
    active.pending.prompt.push_back({i + 1, logprobs_of(logits, request.prompt[i + 1], n_top)});
    return;
  }
  try {
    Pending::Drawn drawn{active.sampler.sample(logits), {}};
    if (request.n_top_logprobs) drawn.logprobs = logprobs_of(logits, drawn.token, n_top);
    active.pending.drawn = std::move(drawn);
  } catch (const base::InputError& error) {
    active.pending.error = error.what();
  }
}

bool Generator::is_being_saved(Active& active) {
  if (!active.request.saving) return false;
  save(active, *active.session);
  return !saving_failed_ && !engine_.has_written();
}

void Generator::dispatch_events(bool may_wait) {
  for (const RequestId id : std::exchange(with_events_, {})) {
    Active* const active = find(id);
    if (active == nullptr) continue;
    const Pending pending = std::exchange(active->pending, {});
    for (const PromptLogprobs& each : pending.prompt) active->sink(each);
    const std::size_t n_read = active->n_read(), n_prompt = active->n_prompt();
    if (n_read <= n_prompt && n_read > active->n_reported) {
      active->n_reported = n_read;
      active->sink(PromptProgress{n_read, active->n_shared});
    }
    if (!pending.error.empty()) {
      finish(*active, {.reason = FinishReason::kFailed, .error = pending.error});
    } else if (pending.drawn) {
      accept_token(*active, *pending.drawn, pending.evidence);
    } else if (active->is_complete()) {
      if (is_being_saved(*active) && !may_wait) {
        with_events_.insert(id);  // the others need not wait for the disk
      } else {
        finish(*active, {.reason = FinishReason::kLength});
      }
    }
  }
}

void Generator::accept_token(Active& active, const Pending::Drawn& drawn,
                             std::span<const dist::AttendedSpan> evidence) {
  const Request& request = active.request;
  const auto end = [&](FinishReason reason) {
    finish(active, {.reason = reason, .end_token = drawn.token, .end_logprobs = drawn.logprobs});
  };
  if (drawn.token == end_token_) return end(FinishReason::kEndToken);
  if (std::ranges::count(request.stop_tokens, drawn.token) > 0)
    return end(FinishReason::kStopToken);
  active.sampler.record(drawn.token);
  ++active.n_generated;
  const std::string_view bytes = tokenizer_.find(drawn.token).value_or(std::string_view{});
  NewToken token{drawn.token, active.text.push(bytes), drawn.logprobs};
  if (active.evidence) token.evidence = active.evidence->add(evidence);
  active.sink(token);
  if (active.text.stopped()) return finish(active, {.reason = FinishReason::kStopString});
  // What is saved has read the last token, too.
  if (active.n_generated == request.n_new && !request.saving) {
    return finish(active, {.reason = FinishReason::kLength});
  }
  active.next = drawn.token;
  scheduler_.set_ready(active.id);
}

void Generator::report_read(const Active& active) const {
  if (!may_be_saved(active) || !active.session) return;
  if (active.n_before > 0 || active.request.saving) return;
  const std::span<const TokenId> prompt = active.request.prompt;
  options_.saved->was_read(prompt.first(std::min(active.n_read(), active.n_prompt())));
}

void Generator::finish(Active& active, Finished finished) {
  finished.text = active.text.flush();
  if (active.evidence) finished.evidence = active.evidence->passages();
  if (active.request.hashes_logits) finished.logits_sha256 = active.hash.hex_digest();
  if (active.kept != 0) prefixes_.unpin(active.kept);
  scheduler_.remove(active.id);
  prefixes_.withdraw(active.id);
  fit_prefixes();
  report_read(active);
  if (active.id == saving_) {
    finish_saving(active);
    unpin_saved(active);
    if (std::exchange(saving_failed_, false)) {
      finished.reason = FinishReason::kFailed;
      if (finished.error.empty()) finished.error = active.pending.error;
    }
  }
  if (active.session) engine_.cancel(*std::move(active.session));
  may_begin_ = true;
  const auto ended = active_.extract(active.id);  // what the sink submits does not meet it
  ended.mapped()->sink(finished);
}

}  // namespace longreach::generation
