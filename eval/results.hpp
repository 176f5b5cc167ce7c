/// Results: one JSON object a line, a line a question.
#pragma once

#include "eval/examiner.hpp"
#include "eval/settings.hpp"
#include "eval/task.hpp"
#include "kernels/base/line_file.hpp"
#include "partition/plan.hpp"

#include <cstddef>
#include <filesystem>
#include <map>
#include <optional>
#include <string>
#include <string_view>
#include <vector>

namespace longreach::eval {

/// What a line says that later steps need.
struct Result {
  std::size_t length = 0;
  std::optional<double> depth_percent;
  double score = 0;                 ///< 0 to 1; of a loss, its mean over the whole text.
  std::vector<std::size_t> bounds;  ///< Of losses, as in ToPredict.
  std::vector<double> losses;
  /// Outcome::needle_passage, if that was asked for.
  std::optional<std::size_t> needle_passage;
};

/// The settings as one JSON object.
std::string settings_text(const Settings& settings);

/// The line of a question's result, which an engine on that grid gave.
std::string result_line(const Task& task, std::size_t index, const Question& question,
                        const Outcome& outcome, const partition::Grid& grid, double seconds,
                        const Settings& settings);

/// A file of results that belongs to one run at a time (base::LineFile). Lines are written as they
/// come; a finished file has them in the order of questions.
class ResultFile {
 public:
  /// Opens the file, or makes it, and reads what an earlier run left there. A last line of results
  /// that was cut short is taken away. Errors: InputError naming the file: it cannot be written,
  /// another run writes it, a line is no result, belongs to another task or to other settings, or
  /// repeats a question. The task must outlive it.
  ResultFile(const std::filesystem::path& path, const Task& task, Settings settings);

  /// One more setting, known only now. Errors: InputError if an earlier run had another value.
  void add_setting(std::string name, SettingValue value);

  /// All results by question, those of earlier runs included.
  const std::map<std::size_t, Result>& results() const { return results_; }

  /// Writes the line of a question that has none. Errors: InputError, for example for a full disk,
  /// or as when reading.
  const Result& add(const std::string& line);

  /// Returns when the file is on the disk. Errors: InputError.
  void sync() { file_.sync(); }

  /// Puts the lines in order, where several replicas wrote them as they came. Errors: InputError.
  void sort();

 private:
  std::string next_line_name() const;
  /// Whether the text can be the beginning of a line of this task.
  bool is_cut_short(std::string_view text) const;
  const Result& read_line(std::string_view text);
  void require_setting(const std::string& name, const SettingValue& value) const;
  /// Settings of earlier results that this run has not.
  void refuse_other_settings() const;

  base::LineFile file_;
  const Task& task_;
  Settings settings_;
  std::string earlier_settings_;  ///< JSON of an earlier run's; empty if there is none.
  std::map<std::size_t, Result> results_;
  bool is_sorted_ = true;
};

}  // namespace longreach::eval
