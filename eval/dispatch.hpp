/// How the leaders of replicas share the questions of a run. The leader of the job hands them out,
/// between slices of its own, and writes the results; the others ask it for questions.
#pragma once

#include "dist/comm/communicator.hpp"
#include "eval/results.hpp"
#include "eval/run_progress.hpp"
#include "eval/settings.hpp"
#include "eval/task.hpp"

#include <cstddef>
#include <memory>
#include <optional>
#include <string>

namespace longreach::eval {

/// The questions of a run as a replica's leader sees them. Ends with finish().
class QuestionSource {
 public:
  QuestionSource() = default;
  QuestionSource(const QuestionSource&) = delete;
  QuestionSource& operator=(const QuestionSource&) = delete;
  virtual ~QuestionSource() = default;

  /// The question to ask now; nothing when none is left, or the run is stopped.
  virtual std::optional<std::size_t> next() = 0;
  /// A share of the question has been read, and so many tokens since the run began. Called often;
  /// false stops the run.
  virtual bool carry_on(double share_of_question, std::size_t n_tokens_read) = 0;
  /// Takes the result's line.
  virtual void add_result(const std::string& line, std::size_t n_tokens_read) = 0;
  /// Called once there is no next question, or the run is stopped. Returns whether all questions of
  /// the job have been asked, which the leader of the job alone knows.
  virtual bool finish() = 0;
};

/// The leader's of the job: hands out the questions that have no result in the file, which gets all
/// results as they come. The references must outlive it. Collective: the leaders of all replicas,
/// whose first is this. Errors of all calls: InputError, and CommunicationError.
std::unique_ptr<QuestionSource> scheduling_source(const Task& task, const Settings& settings,
                                                  ResultFile& file, dist::Communicator& leaders,
                                                  Watch watch);

/// That of the leaders of other replicas. Collective, as above. Errors: CommunicationError.
std::unique_ptr<QuestionSource> remote_source(const Settings& settings,
                                              dist::Communicator& leaders);

}  // namespace longreach::eval
