#include "eval/summary.hpp"

#include "tests/support/count.hpp"

#include <gtest/gtest.h>

#include <array>

namespace longreach::eval {
namespace {

Result scored(std::size_t length, std::optional<double> depth, double score) {
  Result result;
  result.length = length;
  result.depth_percent = depth;
  result.score = score;
  return result;
}

const std::vector<Result> kResults{scored(1024, 0, 1), scored(1024, 0, 0), scored(1024, 50, 1),
                                   scored(1 << 20, 0, 0.25)};

TEST(Summary, MeansOfCells) {
  const Summary summary = summarise("passkey", kResults, Depths::kGrid);
  EXPECT_EQ(table(summary),
            "passkey: mean score in percent, 4 questions\n"
            "depth     1K    1M    all\n"
            "   0%   50.0  25.0   41.7\n"
            "  50%  100.0     -  100.0\n"
            "  all   66.7  25.0   56.2\n");
  EXPECT_EQ(csv(summary),
            "task,length,depth,questions,score\n"
            "passkey,1024,0,2,0.5\n"
            "passkey,1024,50,1,1\n"
            "passkey,1048576,0,1,0.25\n");
}

TEST(Summary, NeedlesInPassagesAreCounted) {
  std::vector<Result> results(6, scored(1024, 0, 1));
  constexpr std::array<std::size_t, 5> kPassages{1, 0, 3, 4, 1};
  for (std::size_t i = 0; i < kPassages.size(); ++i) results[i].needle_passage = kPassages[i];
  EXPECT_EQ(table(summarise("passkey", results, Depths::kNone)),
            "passkey: mean score in percent, 6 questions\n"
            "depth     1K    all\n"
            "  all  100.0  100.0\n"
            "evidence: needle in the first passage of 2 of 5 answers, in the first 3 of 3\n");
}

TEST(Summary, DepthsThatAreNoGridMakeNoRows) {
  const Summary summary = summarise("niah", kResults, Depths::kNone);
  EXPECT_EQ(table(summary),
            "niah: mean score in percent, 4 questions\n"
            "depth    1K    1M   all\n"
            "  all  66.7  25.0  56.2\n");
  EXPECT_EQ(csv(summary),
            "task,length,depth,questions,score\nniah,1024,,3,0.6666666666666666\n"
            "niah,1048576,,1,0.25\n");
}

TEST(Summary, LossesAreMeansOverTextsThatHaveThePart) {
  Result a, b;
  a.bounds = {0, 2, 6};
  a.losses = {3, 1.5};
  b.bounds = {0, 2};
  b.losses = {1};
  const Summary summary = summarise("loss", std::vector{a, b}, Depths::kNone);
  EXPECT_EQ(table(summary),
            "loss: nats a token by position\n"
            "from  to  texts    loss  loss from 0\n"
            "   0   2      2  2.0000       2.0000\n"
            "   2   6      1  1.5000       2.0000\n");
  EXPECT_EQ(csv(summary),
            "task,from,to,texts,loss,loss_from_0\nloss,0,2,2,2,2\nloss,2,6,1,1.5,2\n");
}

TEST(LengthText, IsShortWhereItIsRound) {
  EXPECT_EQ(length_text(1023), "1023");
  EXPECT_EQ(length_text(1024), "1K");
  EXPECT_EQ(length_text(1536), "1536");
  EXPECT_EQ(length_text(3 << 20), "3M");
}

TEST(HeatMap, HasANumberInEveryCellAndHatchingWhereThereIsNone) {
  const std::string svg = heat_map(summarise("passkey", kResults, Depths::kGrid), "m <&> x");
  EXPECT_TRUE(svg.starts_with("<svg xmlns"));
  EXPECT_TRUE(svg.ends_with("</svg>\n"));
  for (const char* number : {">50<", ">100<", ">25<", ">0%<", ">50%<", ">1K<", ">1M<"})
    EXPECT_GE(test::count(svg, number), 1) << number;
  EXPECT_EQ(test::count(svg, "url(#none)"), 1);
  EXPECT_EQ(test::count(svg, "1 to 2 questions a cell"), 1);
  EXPECT_EQ(test::count(svg, "m &lt;&amp;&gt; x"), 1);
  EXPECT_EQ(test::count(svg, "<text"), test::count(svg, "</text>"));
}

TEST(HeatMap, IsAsWideAsItsWords) {
  const auto width = [](const std::string& caption) {
    const std::vector<Result> one{scored(8, 0, 1)};
    const std::string svg = heat_map(summarise("t", one, Depths::kGrid), caption);
    return std::stod(svg.substr(svg.find("width=\"") + 7));
  };
  EXPECT_GT(width(""), 76 + 38 * 8);  // one column is narrower than the title
  EXPECT_GT(width(std::string(200, 'm')), 76 + 200 * 6);
}

TEST(HeatMap, LightnessAloneTellsScores) {
  double last = -1;
  for (const double score : {0.0, 0.1, 0.25, 0.33, 0.5, 0.66, 0.8, 0.9, 1.0}) {
    const std::vector<Result> one{scored(8, 0, score)};
    const std::string svg = heat_map(summarise("t", one, Depths::kGrid), "");
    const std::size_t cell = svg.find("fill=\"#", svg.find("width=\"62\""));
    ASSERT_NE(cell, std::string::npos);
    const auto part = [&](std::size_t i) {
      return std::stoi(svg.substr(cell + 7 + 2 * i, 2), nullptr, 16);
    };
    const double lightness = 0.299 * part(0) + 0.587 * part(1) + 0.114 * part(2);
    EXPECT_GT(lightness, last) << score;
    last = lightness;
  }
}

}  // namespace
}  // namespace longreach::eval
