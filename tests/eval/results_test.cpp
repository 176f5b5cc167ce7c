#include "eval/results.hpp"

#include "kernels/base/lines.hpp"
#include "kernels/base/read_file.hpp"
#include "tests/support/input_error.hpp"
#include "tests/support/temp_folder.hpp"

#include <gtest/gtest.h>
#include <nlohmann/json.hpp>

#include <filesystem>

namespace longreach::eval {
namespace {

/// Three questions whose answers are their numbers.
class Numbers final : public Task {
 public:
  explicit Numbers(const std::string& name = "numbers")
      : Task(name, {{10, Depth{0, 3}, 0}, {10, Depth{1, 3}, 1}, {20, {}, 2}}) {}
  Question question(std::size_t index) const override {
    Question question;
    question.prompt = {1, 2, 3};
    const auto& depth = specs()[index].depth;
    if (depth) question.depth_percent = depth->percent();
    question.asked = ToAnswer{5, {}, {std::to_string(index)}, Match::kExact};
    return question;
  }
};

class ResultFileTest : public ::testing::Test {
 protected:
  Settings settings_{{"model", std::string("m.pth")}, {"seed", std::uint64_t{7}}};
  test::TempFolder folder_;
  std::filesystem::path path_ = folder_.path() / "r.jsonl";
  Numbers task_;

  std::string line(std::size_t index, const std::string& answer) const {
    Settings settings = settings_;
    settings.emplace_back("model_fingerprint", std::string("0123"));
    return result_line(task_, index, task_.question(index), {answer, {}, "abc"}, {2, 3}, 0.25,
                       settings);
  }
  /// A file with results of the first n questions.
  std::string written(std::size_t n) {
    ResultFile file(path_, task_, settings_);
    file.add_setting("model_fingerprint", std::string("0123"));
    while (file.results().size() < n) file.add(line(file.results().size(), "1"));
    file.sync();
    return base::read_file(path_);
  }
  std::string refused(const Task& task, const Settings& settings) {
    return test::refusal([&] { const ResultFile file(path_, task, settings); });
  }
};

TEST_F(ResultFileTest, ALineTellsAll) {
  const std::string text = written(2);
  std::vector<nlohmann::json> lines;
  base::for_lines(text, [&](std::size_t, std::string_view line) {
    lines.push_back(nlohmann::json::parse(line));
  });
  ASSERT_EQ(lines.size(), 2);
  const nlohmann::json& line = lines[1];
  EXPECT_EQ(line["question"], 1);
  EXPECT_EQ(line["task"], "numbers");
  EXPECT_EQ(line["length"], 10);
  EXPECT_EQ(line["depth"], 100.0 / 3);
  EXPECT_EQ(line["sample"], 1);
  EXPECT_EQ(line["seed"], 7);
  EXPECT_EQ(line["answer"], "1");
  EXPECT_EQ(line["expected"], "1");
  EXPECT_EQ(line["score"], 1);
  EXPECT_EQ(lines[0]["score"], 0);
  EXPECT_EQ(line["prompt_tokens"], 3);
  EXPECT_EQ(line["logits_sha256"], "abc");
  EXPECT_EQ(line["seconds"], 0.25);
  EXPECT_EQ(line["grid"], nlohmann::json::parse(R"({"stages": 2, "shards": 3, "ranks": 6})"));
  EXPECT_EQ(line["settings"],
            nlohmann::json::parse(R"({"model": "m.pth", "seed": 7, "model_fingerprint": "0123"})"));
  EXPECT_EQ(line["fingerprint"].get<std::string>().size(), 16);
}

TEST_F(ResultFileTest, GoesOnWhereItEnded) {
  const std::string before = written(1);
  EXPECT_TRUE(written(3).starts_with(before));
  const ResultFile file(path_, task_, settings_);
  ASSERT_EQ(file.results().size(), 3);
  EXPECT_EQ(file.results().at(1).score, 1);
  EXPECT_EQ(file.results().at(1).depth_percent, 100.0 / 3);
  EXPECT_EQ(file.results().at(2).depth_percent, std::nullopt);
}

TEST_F(ResultFileTest, LinesComeInAnyOrderAndStayInThatOfQuestions) {
  const std::string whole = written(3);
  std::filesystem::remove(path_);
  {
    ResultFile file(path_, task_, settings_);
    file.add(line(2, "1"));
    file.add(line(0, "1"));
  }
  EXPECT_EQ(base::read_file(path_), line(2, "1") + "\n" + line(0, "1") + "\n");
  ResultFile file(path_, task_, settings_);
  EXPECT_TRUE(file.results().contains(0) && file.results().contains(2));
  file.add(line(1, "1"));
  EXPECT_EQ(file.results().size(), 3);
  file.sort();
  EXPECT_EQ(base::read_file(path_), whole);
  file.sort();
  EXPECT_EQ(base::read_file(path_), whole);
}

TEST_F(ResultFileTest, ATornLineIsRedone) {
  const std::string whole = written(3);
  const std::size_t last = whole.rfind('\n', whole.size() - 2) + 1;
  for (const std::size_t n_left : {last, last + 1, last + 50, whole.size() - 1}) {
    std::filesystem::resize_file(path_, n_left);
    EXPECT_EQ(written(2), whole.substr(0, last)) << n_left;
    EXPECT_EQ(written(3), whole);
  }
}

TEST_F(ResultFileTest, WhatIsNoLineCutShortIsLeft) {
  const std::string whole = written(1);
  for (const std::string& text :
       {std::string("text"), std::string(R"({"notes": 1})"), std::string(R"({"question":3,)"),
        std::string(R"({"question":0,"task":"letters")"), whole + "\n\nx"}) {
    folder_.write("r.jsonl", text);
    EXPECT_NE(refused(task_, settings_).find("is no line of results"), std::string::npos) << text;
    EXPECT_EQ(base::read_file(path_), text);
  }
}

TEST_F(ResultFileTest, OtherSettingsAreRefused) {
  const std::string before = written(1);
  Settings other = settings_;
  other[1].second = std::uint64_t{8};
  const std::string sentence = refused(task_, other);
  EXPECT_NE(sentence.find("r.jsonl: holds results with seed 7, this run has 8"), std::string::npos)
      << sentence;
  other[1] = {"samples", std::uint64_t{7}};
  EXPECT_NE(refused(task_, other).find("samples unset"), std::string::npos);
  EXPECT_NE(refused(Numbers("letters"), settings_).find("is of the task \"numbers\""),
            std::string::npos);
  ResultFile file(path_, task_, settings_);
  test::expect_refused([&] { file.add_setting("model_fingerprint", std::string("4567")); },
                       std::string("model_fingerprint \"0123\", this run has \"4567\""));
  EXPECT_EQ(base::read_file(path_), before);
}

TEST_F(ResultFileTest, NamesOfAnyBytesAreSettings) {
  const auto settings = [](std::string name) { return Settings{{"model", std::move(name)}}; };
  const auto write = [&](const Settings& of) {
    ResultFile file(path_, task_, of);
    const Question question = task_.question(0);
    file.add(result_line(task_, 0, question, {}, {1, 1}, 0, of));
  };
  write(settings("caf\xe9"));
  EXPECT_NO_THROW(ResultFile(path_, task_, settings("caf\xe9")));
  for (const char* const other : {"caf\xe8", "caf\\xe9", "caf\xef\xbf\xbd", "caf\xc3\xa9"}) {
    EXPECT_NE(refused(task_, settings(other)).find("holds results with model"), std::string::npos);
  }
}

TEST_F(ResultFileTest, WhatIsNoResultIsNamed) {
  const std::string line = written(1);
  const auto refused_text = [&](const std::string& text) {
    folder_.write("r.jsonl", text);
    return refused(task_, settings_);
  };
  EXPECT_NE(refused_text("not JSON\n" + line).find("r.jsonl line 1"), std::string::npos);
  EXPECT_NE(refused_text("{}\n").find("r.jsonl line 1"), std::string::npos);
  EXPECT_NE(refused_text(line + "[1]\n").find("r.jsonl line 2"), std::string::npos);
  EXPECT_NE(refused_text(line + line).find("line 2: question 0 has a result already"),
            std::string::npos);
  const auto refused_with = [&](const std::string& part, const std::string& other) {
    std::string text = line;
    return refused_text(text.replace(text.find(part), part.size(), other));
  };
  EXPECT_NE(refused_with("\"question\":0", "\"question\":3").find("expected a question below 3"),
            std::string::npos);
  for (const char* const number : {"-1", "0.5", "1e30", "18446744073709551616", "null", "\"0\""}) {
    const std::string sentence =
        refused_with("\"question\":0", std::string("\"question\":") + number);
    EXPECT_NE(sentence.find("line 1: is no line of results: expected a whole number"),
              std::string::npos)
        << sentence;
    EXPECT_NE(refused_with("\"length\":", std::string("\"length\":") + number + ",\"x\":"), "");
  }
  for (const char* const number : {"1e999", "1e30", "-1", "true", "null"}) {
    EXPECT_NE(refused_with("\"score\":", std::string("\"score\":") + number + ",\"x\":"), "")
        << number;
  }
  EXPECT_NE(refused_with("\"settings\":{", "\"settings\":{\"x\":" + std::string(200'000, '['))
                .find("inside one another"),
            std::string::npos);
  EXPECT_NE(refused_with("\"score\":", "\"length\":1,\"score\":").find("key \"length\""),
            std::string::npos);
}

TEST_F(ResultFileTest, AnyBytesOfAnAnswerMakeALine) {
  ResultFile file(path_, task_, settings_);
  file.add(line(0, "\xff\x80 \n\"\\\x01"));
  file.add(line(1, "1"));
  const std::string text = base::read_file(path_);
  const auto first = nlohmann::json::parse(text.substr(0, text.find('\n')));
  EXPECT_TRUE(first.at("answer").get<std::string>().starts_with("\xef\xbf\xbd"));
}

}  // namespace
}  // namespace longreach::eval
