#include "eval/results.hpp"

#include "kernels/base/error.hpp"
#include "kernels/base/json.hpp"
#include "kernels/base/lines.hpp"
#include "kernels/base/sha256.hpp"

#include <nlohmann/json.hpp>

#include <cmath>
#include <limits>
#include <span>

namespace longreach::eval {
namespace {

using nlohmann::json;
using OrderedJson = nlohmann::ordered_json;

/// Texts may be names of files: names of different bytes must stay different.
json to_json(const SettingValue& value) {
  if (const auto* const text = std::get_if<std::string>(&value)) return base::utf8_name(*text);
  return std::get<std::uint64_t>(value);
}

OrderedJson to_json(const Settings& settings) {
  OrderedJson object = OrderedJson::object();
  for (const auto& [name, value] : settings) object[name] = to_json(value);
  return object;
}

/// Text of any kind becomes valid UTF-8.
template <typename Json>
std::string text_of(const Json& object) {
  return object.dump(-1, ' ', false, Json::error_handler_t::replace);
}

/// 16 digits that tell settings apart at a glance.
std::string fingerprint(const OrderedJson& settings) {
  base::Sha256 hash;
  const std::string text = text_of(settings);
  hash.update(std::as_bytes(std::span(text)));
  return hash.hex_digest().substr(0, 16);
}

/// A text, or a list if there are several.
OrderedJson expected_json(const std::vector<std::string>& expected) {
  return expected.size() == 1 ? OrderedJson(expected[0]) : OrderedJson(expected);
}

double mean_loss(const std::vector<std::size_t>& bounds, const std::vector<double>& losses) {
  double sum = 0;
  for (std::size_t i = 0; i < losses.size(); ++i) {
    sum += losses[i] * static_cast<double>(bounds[i + 1] - bounds[i]);
  }
  return sum / static_cast<double>(bounds.back());
}

/// A line of results while it is read. Errors of all functions: InputError naming file and line.
class ResultLine {
 public:
  ResultLine(std::string_view text, std::string where)
      : where_(std::move(where)), line_(base::parse_json(std::string(text), where_)) {}

  const std::string& where() const { return where_; }
  const json& part(const char* key) const { return part(line_, key); }
  std::size_t number(const char* key) const { return number(line_, key); }

  Result result() const {
    Result result;
    result.length = number("length");
    if (!part("depth").is_null()) result.depth_percent = share(line_, "depth", 100);
    if (!line_.contains("losses")) {
      result.score = share(line_, "score", 1);
      if (line_.contains("needle_passage")) result.needle_passage = number("needle_passage");
      return result;
    }
    result.score = share(line_, "score", kNoLimit);
    result.bounds = {0};
    for (const json& loss : part("losses")) {
      const std::size_t to = number(loss, "to");
      if (to <= result.bounds.back()) refuse("losses of parts in order", loss);
      result.bounds.push_back(to);
      result.losses.push_back(share(loss, "loss", kNoLimit));
    }
    return result;
  }

 private:
  static constexpr double kNoLimit = std::numeric_limits<double>::infinity();

  [[noreturn]] void refuse(std::string_view expected, const json& found) const {
    base::input_error("{}: is no line of results: expected {}, found {}", where_, expected,
                      base::json_text(found));
  }
  const json& part(const json& object, const char* key) const {
    const auto found = object.find(key);
    if (found == object.end()) refuse(fmt::format("an object with \"{}\"", key), object);
    return *found;
  }
  std::size_t number(const json& object, const char* key) const {
    const auto number = base::whole_number(part(object, key));
    if (!number) refuse(fmt::format("a whole number as \"{}\"", key), part(object, key));
    return *number;
  }
  double share(const json& object, const char* key, double most) const {
    const json& value = part(object, key);
    if (!value.is_number() || value.get<double>() < 0 || value.get<double>() > most) {
      refuse(fmt::format("a number from 0 to {} as \"{}\"", most, key), value);
    }
    return value.get<double>();
  }

  std::string where_;
  json line_;
};

/// How a question's line begins, whatever comes of it.
OrderedJson line_begin(const Task& task, std::size_t index) {
  return {{"question", index}, {"task", task.name()}, {"length", task.specs()[index].length}};
}

}  // namespace

std::string settings_text(const Settings& settings) { return text_of(to_json(settings)); }

ResultFile::ResultFile(const std::filesystem::path& path, const Task& task, Settings settings)
    : file_(path), task_(task), settings_(std::move(settings)) {
  const base::LineFile::Content content = file_.read();
  base::for_lines(content.lines, [this](std::size_t, std::string_view text) { read_line(text); });
  if (content.torn.empty()) return;
  if (!is_cut_short(content.torn)) {
    base::input_error("{}: is no line of results", next_line_name());
  }
  file_.truncate(content.lines.size());
}

std::string ResultFile::next_line_name() const {
  return base::line_name(file_.name(), results_.size() + 1);
}

bool ResultFile::is_cut_short(std::string_view text) const {
  for (std::size_t index = 0; index < task_.specs().size(); ++index) {
    std::string begin = text_of(line_begin(task_, index));
    begin.back() = ',';  // in place of the brace
    const std::size_t n = std::min(text.size(), begin.size());
    if (text.substr(0, n) == std::string_view(begin).substr(0, n)) return true;
  }
  return false;
}

const Result& ResultFile::read_line(std::string_view text) {
  const ResultLine line(text, next_line_name());
  if (line.part("task") != task_.name()) {
    base::input_error("{}: is of the task {}, this run is of {}", line.where(),
                      base::json_text(line.part("task")), task_.name());
  }
  const std::string settings = text_of(line.part("settings"));
  if (results_.empty()) {
    earlier_settings_ = settings;
    for (const auto& [name, value] : settings_) require_setting(name, value);
    refuse_other_settings();
  } else if (settings != earlier_settings_) {
    base::input_error("{}: has other settings than the lines before it", line.where());
  }
  const std::size_t index = line.number("question"), n_questions = task_.specs().size();
  if (index >= n_questions) {
    base::input_error("{}: expected a question below {}, found {}", line.where(), n_questions,
                      index);
  }
  is_sorted_ = is_sorted_ && (results_.empty() || results_.rbegin()->first < index);
  const auto [result, is_new] = results_.emplace(index, line.result());
  if (!is_new) {
    base::input_error("{}: question {} has a result already", line.where(), index);
  }
  return result->second;
}

void ResultFile::require_setting(const std::string& name, const SettingValue& value) const {
  const json earlier = base::parse_json(earlier_settings_, file_.name().string());
  const auto found = earlier.find(name);
  if (found != earlier.end() && *found == to_json(value)) return;
  base::input_error("{}: holds results with {} {}, this run has {}; give it another --out",
                    file_.name().string(), name,
                    found == earlier.end() ? "unset" : base::json_text(*found),
                    base::json_text(to_json(value)));
}

void ResultFile::refuse_other_settings() const {
  const json earlier = base::parse_json(earlier_settings_, file_.name().string());
  for (const auto& [name, value] : earlier.items()) {
    if (name == kModelFingerprint ||
        std::ranges::count(settings_, name, &Settings::value_type::first) > 0) {
      continue;
    }
    base::input_error("{}: holds results with {} {}, this run has none; give it another --out",
                      file_.name().string(), name, base::json_text(value));
  }
}

void ResultFile::add_setting(std::string name, SettingValue value) {
  if (!earlier_settings_.empty()) require_setting(name, value);
  settings_.emplace_back(std::move(name), std::move(value));
}

std::string result_line(const Task& task, std::size_t index, const Question& question,
                        const Outcome& outcome, const partition::Grid& grid, double seconds,
                        const Settings& settings) {
  const QuestionSpec& spec = task.specs()[index];
  OrderedJson line = line_begin(task, index);
  line["depth"] =
      question.depth_percent ? OrderedJson(*question.depth_percent) : OrderedJson(nullptr);
  line["sample"] = spec.sample;
  if (const auto* asked = std::get_if<ToAnswer>(&question.asked)) {
    line["answer"] = outcome.answer;
    line["expected"] = expected_json(asked->expected);
    line["score"] = score(asked->match, outcome.answer, asked->expected);
    if (question.needle) line["needle_passage"] = outcome.needle_passage;
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
  const OrderedJson all = to_json(settings);
  for (const auto& [name, value] : settings) {
    if (name == "seed") line["seed"] = to_json(value);
  }
  line["fingerprint"] = fingerprint(all);
  line["settings"] = all;
  return text_of(line);
}

const Result& ResultFile::add(const std::string& line) {
  const Result& result = read_line(line);
  file_.append(line);
  return result;
}

void ResultFile::sort() {
  if (is_sorted_) return;
  file_.sort([this](std::size_t number, std::string_view line) {
    return ResultLine(line, base::line_name(file_.name(), number)).number("question");
  });
  is_sorted_ = true;
}

}  // namespace longreach::eval
