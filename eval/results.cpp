#include "eval/results.hpp"

#include "eval/json_lines.hpp"
#include "kernels/base/error.hpp"
#include "kernels/base/sha256.hpp"

#include <nlohmann/json.hpp>

#include <fcntl.h>
#include <sys/file.h>
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

}  // namespace

ResultFile::ResultFile(const std::filesystem::path& path, std::string task, Settings settings)
    : path_(path), task_(std::move(task)), settings_(std::move(settings)) {
  std::error_code ignored;
  if (std::filesystem::exists(path, ignored) && !std::filesystem::is_regular_file(path, ignored)) {
    fail("not a regular file");
  }
  descriptor_ = ::open(path.c_str(), O_RDWR | O_CREAT | O_APPEND | O_CLOEXEC, 0666);
  if (descriptor_ < 0) fail(std::strerror(errno));
  try {
    lock();
    read(read_whole_file(path));
  } catch (...) {
    ::close(descriptor_);
    throw;
  }
}

ResultFile::~ResultFile() { ::close(descriptor_); }

void ResultFile::fail(std::string_view what) const {
  base::input_error("{}: cannot be written: {}", path_.string(), what);
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
  if (n_whole < bytes.size() && ::ftruncate(descriptor_, static_cast<off_t>(n_whole)) != 0) {
    fail(std::strerror(errno));
  }
}

void ResultFile::read_line(std::string_view text) {
  const std::string where = line_name(path_, results_.size() + 1);
  try {
    const json line = json::parse(text);
    if (line.at("task") != task_) {
      base::input_error("{}: is of the task {}, this run is of {}", where,
                        line.at("task").get<std::string>(), task_);
    }
    const std::string settings = text_of(line.at("settings"));
    if (results_.empty()) {
      earlier_settings_ = settings;
      for (const auto& [name, value] : settings_) require_setting(name, value);
    } else if (settings != earlier_settings_) {
      base::input_error("{}: has other settings than the lines before it", where);
    }
    if (line.at("question") != results_.size()) {
      base::input_error("{}: expected question {}, found {}", where, results_.size(),
                        line.at("question").dump());
    }
    results_.push_back(to_result(line));
  } catch (const json::exception&) {
    base::input_error("{}: is no line of results", where);
  }
}

void ResultFile::require_setting(const std::string& name, const SettingValue& value) const {
  const json earlier = json::parse(earlier_settings_);
  const auto found = earlier.find(name);
  if (found != earlier.end() && *found == to_json(value)) return;
  base::input_error("{}: holds results with {} {}, this run has {}; give it another --out",
                    path_.string(), name, found == earlier.end() ? "unset" : text_of(*found),
                    text_of(to_json(value)));
}

void ResultFile::add_setting(std::string name, SettingValue value) {
  if (!earlier_settings_.empty()) require_setting(name, value);
  settings_.emplace_back(std::move(name), std::move(value));
}

void ResultFile::append(const Task& task, const Question& question, const Outcome& outcome,
                        const partition::Grid& grid, double seconds) {
  const std::size_t index = results_.size();
  const Place& place = task.places()[index];
  json line;
  line["question"] = index;
  line["task"] = task_;
  line["length"] = place.length;
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
  const json settings = to_json(settings_);
  for (const auto& [name, value] : settings_) {
    if (name == "seed") line["seed"] = to_json(value);
  }
  line["fingerprint"] = fingerprint(settings);
  line["settings"] = settings;
  results_.push_back(to_result(line));

  const std::string text = text_of(line) + "\n";
  for (std::size_t done = 0; done < text.size();) {
    const ssize_t n_written = ::write(descriptor_, text.data() + done, text.size() - done);
    if (n_written < 0 && errno != EINTR) fail(std::strerror(errno));
    if (n_written > 0) done += static_cast<std::size_t>(n_written);
  }
}

void ResultFile::sync() {
  if (::fsync(descriptor_) != 0) fail(std::strerror(errno));
}

}  // namespace longreach::eval
