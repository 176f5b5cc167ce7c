/// Results: one JSON object a line, a line a question, in the order of questions.
#pragma once

#include "eval/examiner.hpp"
#include "eval/settings.hpp"
#include "eval/task.hpp"
#include "partition/plan.hpp"

#include <cstddef>
#include <filesystem>
#include <optional>
#include <string>
#include <string_view>
#include <vector>

namespace longreach::eval {

/// What a line tells that later steps need.
struct Result {
  std::size_t length = 0;
  std::optional<double> depth_percent;
  double score = 0;                 ///< 0 to 1; of a loss, its mean over the whole text.
  std::vector<std::size_t> bounds;  ///< Of losses, as in ToPredict.
  std::vector<double> losses;
};

/// A file of results that belongs to one run at a time. The next line is always that of the
/// question after the last one, so that how many lines there are says where a run stopped.
class ResultFile {
 public:
  /// Opens the file, or makes it, and reads what an earlier run left there. A last line that was
  /// cut short is taken away. Errors: InputError naming the file: it cannot be written, another run
  /// writes it, a line is no result or belongs to another task, to other settings, or to another
  /// question than its place says.
  ResultFile(const std::filesystem::path& path, std::string task, Settings settings);
  ~ResultFile();
  ResultFile(const ResultFile&) = delete;
  ResultFile& operator=(const ResultFile&) = delete;

  /// One more setting, known only now. Errors: InputError if an earlier run had another value.
  void add_setting(std::string name, SettingValue value);

  /// All results, those of earlier runs included.
  const std::vector<Result>& results() const { return results_; }

  /// Writes the result of the next question, which an engine on that grid gave. Errors: InputError,
  /// for example for a full disk.
  void append(const Task& task, const Question& question, const Outcome& outcome,
              const partition::Grid& grid, double seconds);

  /// Returns when the file is on the disk. Errors: InputError.
  void sync();

 private:
  [[noreturn]] void fail(std::string_view what) const;
  void lock() const;
  void read(std::string_view bytes);
  void read_line(std::string_view text);
  void require_setting(const std::string& name, const SettingValue& value) const;

  std::filesystem::path path_;
  std::string task_;
  Settings settings_;
  std::string earlier_settings_;  ///< JSON of an earlier run's; empty if there is none.
  std::vector<Result> results_;
  int descriptor_ = -1;
};

}  // namespace longreach::eval
