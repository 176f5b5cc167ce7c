/// The loop that turns prompts into text: many requests at once, on one engine.
///
/// Each step of the loop asks the scheduler for rows, submits them to the engine as one step, draws
/// tokens from the logits that have come, and reports to the requests' sinks. What a request gets
/// does not depend, bit for bit, on what runs beside it, nor on which prefixes are known.
#pragma once

#include "dist/engine/engine.hpp"
#include "generation/prefix_tree.hpp"
#include "generation/request.hpp"
#include "generation/saved_texts.hpp"
#include "generation/scheduler.hpp"
#include "generation/text_stream.hpp"
#include "kernels/base/sha256.hpp"
#include "model/schema/config.hpp"
#include "model/tokenizer/tokenizer.hpp"

#include <chrono>
#include <cstddef>
#include <deque>
#include <functional>
#include <limits>
#include <map>
#include <memory>
#include <optional>
#include <set>
#include <span>
#include <string>
#include <vector>

namespace longreach::generation {

/// Long prompts are kept after every so many tokens, too: others may part from them anywhere, and a
/// state is small beside what so many tokens leave in the cache.
inline constexpr std::size_t kKeptEvery = 8192;

struct GeneratorOptions {
  std::size_t max_running = 64;  ///< Requests at once; 1 in mode reference, where calls are units.
  std::size_t max_waiting = 1024;           ///< In the queue.
  std::optional<double> step_seconds = {};  ///< See SchedulerOptions.
  /// Of sequences and of known prefixes, on the rank that has least room. Prefixes give way,
  /// but for those that running requests share.
  std::size_t memory_bytes = std::numeric_limits<std::size_t>::max();
  SequenceBytes sequence_bytes = {};
  bool keeps_prefixes = false;  ///< Else every prompt is read from its beginning.
  /// What prompts may begin with, if prefixes are kept; must outlive the generator, if not null.
  SavedTexts* saved = nullptr;
};

/// Runs on the leader of an engine, which it has for itself. One thread.
class Generator {
 public:
  /// The arguments by reference must outlive it.
  Generator(dist::Engine& engine, const model::ModelConfig& config,
            const model::Tokenizer& tokenizer, const GeneratorOptions& options);
  Generator(const Generator&) = delete;
  Generator& operator=(const Generator&) = delete;
  /// Ends what has not finished, without events.
  ~Generator();

  bool queue_is_full() const { return scheduler_.queue_is_full(); }
  /// Requests that have not finished.
  std::size_t n_requests() const { return active_.size(); }

  /// Takes a request; its events come during later steps. Requires: the queue is not full. Errors:
  /// InputError for tokens outside the vocabulary, an empty stop string, sampler options out of
  /// range, an empty prompt, evidence that the engine does not have, and a request that memory
  /// could never hold. One request at a time saves its session.
  RequestId submit(Request request, EventSink sink);
  /// The same for a prompt that goes on after what a session of the engine has read.
  RequestId submit(Request request, EventSink sink, dist::Session after);
  /// Ends a request at the beginning of the next step. One that has finished is not noticed.
  void cancel(RequestId id) { cancelled_.push_back(id); }

  /// Runs one step, or waits for what is under way. Does nothing if there are no requests. Returns
  /// false when `progress` (of the step) stopped it, which only a grid of one rank asks; nothing
  /// can be run after that. Must not stop while a request saves: that would be no state. Errors:
  /// those of the engine and of the sinks.
  bool step(const dist::Progress& progress = {});

  /// Of a request that has not finished: its rows in the step that is being run, or was run last.
  std::size_t rows_in_step(RequestId id) const { return active_.at(id)->n_in_step; }

  /// Forgets all prefixes that no request shares: what lies in files that are deleted goes with
  /// them.
  void forget_prefixes();

  /// How many first tokens of a prompt are kept in memory, or restored from files, as they are read
  /// after initial state 0.
  std::size_t n_known(std::span<const base::TokenId> prompt) const {
    return prefixes_.find(0, prompt, prompt.size()).n_kept;
  }

  /// Lets the engine's other ranks leave their cores to others for a pause without requests.
  void rest() { engine_.rest(); }

  /// Memory on the rank that has least room: of requests that have begun, and of known prefixes.
  std::size_t running_bytes() const { return scheduler_.running_bytes(); }
  std::size_t prefix_bytes() const { return prefixes_.bytes(); }

  /// See dist::Engine.
  std::vector<double> busy_shares() const { return engine_.busy_shares(); }

  /// Tokens read by the engine so far: of prompts, known ones aside, and generated ones.
  std::size_t n_tokens_read() const { return n_tokens_read_; }

 private:
  using Clock = std::chrono::steady_clock;

  /// What has come for a request since its last events.
  struct Pending {
    struct Drawn {
      base::TokenId token = 0;
      std::optional<Logprobs> logprobs;
    };
    std::vector<PromptLogprobs> prompt;
    std::optional<Drawn> drawn;
    std::vector<dist::AttendedSpan> evidence;  ///< Of what was drawn, if it is asked for.
    std::string error;
  };

  /// A request that has not finished. Positions count from its first token, or from that of the
  /// session it goes on after.
  struct Active {
    Active(Request asked, EventSink events, const model::Tokenizer& tokenizer);

    /// Tokens of the prompt and generated ones that the engine has got.
    std::size_t n_read() const { return session->n_tokens() - n_before; }
    std::size_t n_prompt() const { return request.prompt.size(); }
    /// How many first tokens of the prompt may be known, as no logits of them are wanted.
    std::size_t n_sharable() const;
    /// The rows of the next n tokens whose logits are wanted, as positions.
    std::vector<std::size_t> wanted(std::size_t n) const;
    /// Tokens that are to be read in all, as far as they are known.
    std::size_t n_known() const { return n_prompt() + n_generated; }
    /// Nothing is left to read or to draw.
    bool is_complete() const {
      return n_generated == request.n_new && n_read() == n_known() && n_rows_to_come == 0;
    }
    /// Tokens of the prompt until the next state is saved, of one that saves.
    std::size_t n_until_state() const {
      return request.saving->every - session->n_tokens() % request.saving->every;
    }

    RequestId id = 0;
    Request request;
    EventSink sink;
    Sampler sampler;
    TextStream text;
    base::Sha256 hash;
    std::optional<Clock::time_point> deadline;
    std::optional<dist::Session> session;  ///< Once it has begun, or if it goes on after one.
    std::size_t n_before = 0;              ///< Tokens that session had read.
    std::shared_ptr<const dist::LogitsSink> logits;
    std::shared_ptr<const dist::EvidenceSink> evidence_sink;  ///< Null if nobody asks.
    std::optional<AnswerEvidence> evidence;                   ///< The same.
    std::size_t n_shared = 0;                                 ///< Tokens known from others.
    PrefixTree::KeptId kept = 0;              ///< A prefix whose memory it shares; 0: none.
    std::vector<PrefixTree::KeptId> to_save;  ///< Known prefixes, of one that saves; pinned.
    std::size_t n_save_begun = 0;             ///< Of these.
    std::vector<std::size_t> borders;         ///< Where prefixes are to be kept; the next one last.
    std::size_t n_rows_to_come = 0;           ///< Whose logits are wanted and have not come.
    std::size_t last_step = 0;                ///< The one that its last wanted rows are in.
    std::size_t n_in_step = 0;                ///< Rows of the last step that had any.
    std::size_t n_reported = 0;  ///< Tokens of the prompt that progress was reported of.
    std::size_t n_generated = 0;
    base::TokenId next = 0;  ///< The token to read next, when it decodes.
    Pending pending;
  };

  /// A step that sequences wait for.
  struct UnderWay {
    std::size_t number;
    std::vector<RequestId> requests;
  };

  RequestId add(Request request, EventSink sink, std::optional<dist::Session> after);
  Active* find(RequestId id);
  /// Whether its prompt may begin with a saved text, or become one.
  bool may_be_saved(const Active& active) const;
  /// How many first tokens of its prompt a saved text has, whose memory is that of files.
  std::size_t n_in_files(const Active& active) const;
  void end_requests();
  void begin_requests();
  bool waits_for_prefix(const Active& active) const;
  void begin(Active& active);
  /// What is known of its prompt's beginning, after restoring a saved text that reaches further.
  /// Errors: InputError naming a file of that.
  PrefixTree::Found recall(const Active& active);
  void plan_borders(Active& active, const PrefixTree::Found& found);
  void keep_prefix(Active& active);
  /// Begins to save a state of what it reads, unless it is saved or being saved already.
  void save(Active& active, const dist::Session& session);
  /// What is known of a prompt that saves is saved first, one after the other.
  void plan_saving(Active& active);
  /// Begins to save the next of it; unless it may wait, only if nothing is being written. Returns
  /// whether it did.
  bool save_known(bool may_wait);
  void unpin_saved(Active& active);
  /// Saves the last state, and waits until all are saved.
  void finish_saving(Active& active);
  /// Reports the states that are saved by now.
  void report_saved();
  /// The last state of a prompt that is saved is one as soon as it is written, not when the next
  /// one is begun: that may be after a long answer.
  void complete_saved_prompt();
  /// Does a part of saving; if that fails, the request ends as failed.
  void try_to_save(Active& active, const std::function<void()>& part);
  /// What a request takes if it shares the memory of so many first tokens.
  std::size_t own_bytes(const Active& active, std::size_t n_shared) const;
  /// The request shares the memory of this kept prefix from now on.
  void share(Active& active, PrefixTree::KeptId kept, std::size_t n_kept);
  /// Gives known prefixes what memory the running requests leave.
  void fit_prefixes();
  void drop(std::span<const PrefixTree::KeptId> gone);

  std::vector<RequestRows> next_rows();
  void wait_for_oldest();
  bool submit_step(std::span<const RequestRows> rows, const dist::Progress& progress);
  void after_rows(Active& active);
  /// Takes a row of logits from the engine, of which nothing may be called meanwhile.
  void on_logits(Active& active, std::size_t position, std::span<const float> logits);
  /// Reports to sinks what has come. Unless it may wait, what is being saved ends later.
  void dispatch_events(bool may_wait);
  /// Begins to save the last state of a request that saves; whether it is still being written.
  bool is_being_saved(Active& active);
  void accept_token(Active& active, const Pending::Drawn& drawn,
                    std::span<const dist::AttendedSpan> evidence);
  /// Whoever saves texts may want it.
  void report_read(const Active& active) const;
  void finish(Active& active, Finished finished);

  dist::Engine& engine_;
  const model::Tokenizer& tokenizer_;
  base::TokenId end_token_;
  bool calls_are_units_;  ///< Mode reference.
  GeneratorOptions options_;
  std::vector<base::TokenId> without_text_;  ///< Never generated.
  Scheduler scheduler_;
  PrefixTree prefixes_;
  std::map<PrefixTree::KeptId, dist::Session> kept_;
  PrefixTree::KeptId n_kept_ = 0;
  std::map<RequestId, std::unique_ptr<Active>> active_;
  RequestId n_submitted_ = 0;
  std::vector<RequestId> cancelled_;
  std::set<RequestId> with_events_;  ///< Requests that something has come for.
  std::deque<UnderWay> under_way_;   ///< The oldest first.
  std::size_t n_steps_ = 0;
  bool may_begin_ = false;  ///< Something has changed for requests that wait.
  std::size_t n_tokens_read_ = 0;
  RequestId saving_ = 0;  ///< The request that saves its session; 0: none does.
  bool saving_failed_ = false;
  std::deque<std::size_t> begun_;  ///< States that are being saved, as numbers of tokens.
};

}  // namespace longreach::generation
