#include "eval/results.hpp"

#include "eval/json_lines.hpp"
#include "kernels/base/error.hpp"
#include "kernels/base/output_file.hpp"
#include "kernels/base/sha256.hpp"
#include "kernels/base/write_all.hpp"

#include <nlohmann/json.hpp>

#include <fcntl.h>
#include <sys/file.h>
#include <sys/stat.h>
#include <unistd.h>

#include <cerrno>
#include <cmath>
#include <cstring>
#include <span>

namespace longreach::eval {
namespace {

using json = nlohmann::ordered_json;

json to_json(const SettingValue& value) {
  return std::visit([](const auto& v) { return json(v); }, value);
}

json to_json(const Settings& settings) {
  json object = json::object();
  for (const auto& [name, value] : settings) object[name] = to_json(value);
  return object;
}

/// Text of any kind becomes valid UTF-8.
std::string text_of(const json& object) {
  return object.dump(-1, ' ', false, json::error_handler_t::replace);
}

/// 16 digits that tell settings apart at a glance.
std::string fingerprint(const json& settings) {
  base::Sha256 hash;
  const std::string text = text_of(settings);
  hash.update(std::as_bytes(std::span(text)));
  return hash.hex_digest().substr(0, 16);
}

/// A text, or a list if there are several.
json expected_json(const std::vector<std::string>& expected) {
  return expected.size() == 1 ? json(expected[0]) : json(expected);
}

double mean_loss(const std::vector<std::size_t>& bounds, const std::vector<double>& losses) {
  double sum = 0;
  for (std::size_t i = 0; i < losses.size(); ++i) {
    sum += losses[i] * static_cast<double>(bounds[i + 1] - bounds[i]);
  }
  return sum / static_cast<double>(bounds.back());
}

Result to_result(const json& line) {
  Result result;
  result.length = line.at("length");
  if (!line.at("depth").is_null()) result.depth_percent = line.at("depth").get<double>();
  result.score = line.at("score");
  if (line.contains("losses")) {
    result.bounds = {0};
    for (const json& part : line.at("losses")) {
      result.bounds.push_back(part.at("to"));
      result.losses.push_back(part.at("loss"));
    }
  }
  return result;
}

/// How a question's line begins, whatever comes of it.
json line_begin(const Task& task, std::size_t index) {
  return {{"question", index}, {"task", task.name()}, {"length", task.places()[index].length}};
}

}  // namespace

std::string settings_text(const Settings& settings) { return text_of(to_json(settings)); }

ResultFile::ResultFile(const std::filesystem::path& path, const Task& task, Settings settings)
    : name_(path), task_(task), settings_(std::move(settings)) {
  const base::OutputFile output(name_);
  if (!output.is_plain()) fail("not a regular file");
  path_ = output.target();
  constexpr int kHow = O_RDWR | O_CREAT | O_APPEND | O_CLOEXEC;
  descriptor_ = ::open(path_.c_str(), kHow | O_EXCL, 0666);
  is_new_ = descriptor_ >= 0;
  if (!is_new_) descriptor_ = ::open(path_.c_str(), kHow, 0666);
  if (descriptor_ < 0) fail(std::strerror(errno));
  try {
    lock();
    read(read_whole_file(path_));
  } catch (...) {
    ::close(descriptor_);
    throw;
  }
}

ResultFile::~ResultFile() {
  if (is_new_ && n_bytes() == 0) ::unlink(path_.c_str());
  ::close(descriptor_);
}

off_t ResultFile::n_bytes() const {
  struct stat status {};
  return ::fstat(descriptor_, &status) == 0 ? status.st_size : -1;
}

void ResultFile::fail(std::string_view what) const {
  base::input_error("{}: cannot be written: {}", name_.string(), what);
}

void ResultFile::lock() const {
  // A file system that has no locks does without.
  if (::flock(descriptor_, LOCK_EX | LOCK_NB) != 0 && errno == EWOULDBLOCK) {
    fail("another run writes it");
  }
}

void ResultFile::read(std::string_view bytes) {
  const std::size_t end = bytes.rfind('\n');
  const std::size_t n_whole = end == std::string_view::npos ? 0 : end + 1;
  for_lines(bytes.substr(0, n_whole),
            [this](std::size_t, std::string_view text) { read_line(text); });
  if (n_whole == bytes.size()) return;
  if (!is_cut_short(bytes.substr(n_whole))) {
    base::input_error("{}: is no line of results", line_name(name_, results_.size() + 1));
  }
  if (::ftruncate(descriptor_, static_cast<off_t>(n_whole)) != 0) fail(std::strerror(errno));
}

bool ResultFile::is_cut_short(std::string_view text) const {
  for (std::size_t index = 0; index < task_.places().size(); ++index) {
    std::string begin = text_of(line_begin(task_, index));
    begin.back() = ',';  // in place of the brace
    const std::size_t n = std::min(text.size(), begin.size());
    if (text.substr(0, n) == std::string_view(begin).substr(0, n)) return true;
  }
  return false;
}

const Result& ResultFile::read_line(std::string_view text) {
  const std::string where = line_name(name_, results_.size() + 1);
  try {
    const json line = json::parse(text);
    if (line.at("task") != task_.name()) {
      base::input_error("{}: is of the task {}, this run is of {}", where,
                        line.at("task").get<std::string>(), task_.name());
    }
    const std::string settings = text_of(line.at("settings"));
    if (results_.empty()) {
      earlier_settings_ = settings;
      for (const auto& [name, value] : settings_) require_setting(name, value);
    } else if (settings != earlier_settings_) {
      base::input_error("{}: has other settings than the lines before it", where);
    }
    const std::size_t index = line.at("question"), n_questions = task_.places().size();
    if (index >= n_questions) {
      base::input_error("{}: expected a question below {}, found {}", where, n_questions, index);
    }
    is_sorted_ = is_sorted_ && (results_.empty() || results_.rbegin()->first < index);
    const auto [result, is_new] = results_.emplace(index, to_result(line));
    if (!is_new) base::input_error("{}: question {} has a result already", where, index);
    return result->second;
  } catch (const json::exception&) {
    base::input_error("{}: is no line of results", where);
  }
}

void ResultFile::require_setting(const std::string& name, const SettingValue& value) const {
  const json earlier = json::parse(earlier_settings_);
  const auto found = earlier.find(name);
  if (found != earlier.end() && *found == to_json(value)) return;
  base::input_error("{}: holds results with {} {}, this run has {}; give it another --out",
                    name_.string(), name, found == earlier.end() ? "unset" : text_of(*found),
                    text_of(to_json(value)));
}

void ResultFile::add_setting(std::string name, SettingValue value) {
  if (!earlier_settings_.empty()) require_setting(name, value);
  settings_.emplace_back(std::move(name), std::move(value));
}

std::string result_line(const Task& task, std::size_t index, const Question& question,
                        const Outcome& outcome, const partition::Grid& grid, double seconds,
                        const Settings& settings) {
  const Place& place = task.places()[index];
  json line = line_begin(task, index);
  line["depth"] = question.depth_percent ? json(*question.depth_percent) : json(nullptr);
  line["sample"] = place.sample;
  if (const auto* asked = std::get_if<ToAnswer>(&question.asked)) {
    line["answer"] = outcome.answer;
    line["expected"] = expected_json(asked->expected);
    line["score"] = score(asked->match, outcome.answer, asked->expected);
  } else {
    const auto& bounds = std::get<ToPredict>(question.asked).bounds;
    line["answer"] = line["expected"] = nullptr;
    line["score"] = mean_loss(bounds, outcome.losses);
    for (std::size_t i = 0; i < outcome.losses.size(); ++i) {
      line["losses"].push_back(
          {{"from", bounds[i]}, {"to", bounds[i + 1]}, {"loss", outcome.losses[i]}});
    }
  }
  line["prompt_tokens"] = question.prompt.size();
  line["logits_sha256"] = outcome.logits_sha256;
  line["seconds"] = std::round(seconds * 1e6) / 1e6;
  line["grid"] = {{"stages", grid.n_stages}, {"shards", grid.n_shards}, {"ranks", grid.n_ranks()}};
  const json all = to_json(settings);
  for (const auto& [name, value] : settings) {
    if (name == "seed") line["seed"] = to_json(value);
  }
  line["fingerprint"] = fingerprint(all);
  line["settings"] = all;
  return text_of(line);
}

const Result& ResultFile::add(const std::string& line) {
  const Result& result = read_line(line);
  const off_t n_before = n_bytes();
  const std::string text = line + "\n";
  const int error = base::write_all(descriptor_, std::as_bytes(std::span(text)));
  if (error != 0) {
    if (::ftruncate(descriptor_, n_before) != 0) fail(std::strerror(errno));
    fail(std::strerror(error));
  }
  return result;
}

void ResultFile::sync() {
  if (::fsync(descriptor_) != 0) fail(std::strerror(errno));
}

void ResultFile::sort() {
  if (is_sorted_) return;
  const std::string bytes = read_whole_file(path_);
  std::map<std::size_t, std::string_view> lines;
  for_lines(bytes, [&](std::size_t, std::string_view line) {
    lines.emplace(json::parse(line).at("question"), line);
  });
  std::string text;
  for (const auto& [index, line] : lines) text.append(line) += '\n';
  base::write_file(path_, text);
  is_sorted_ = true;
}

}  // namespace longreach::eval
