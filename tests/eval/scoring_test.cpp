#include "eval/scoring.hpp"

#include "kernels/base/utf8.hpp"

#include <gtest/gtest.h>

#include <cstdint>
#include <cstdio>
#include <map>
#include <set>
#include <sstream>
#include <string>
#include <utility>
#include <vector>

namespace longreach::eval {
namespace {

using Texts = std::vector<std::string>;

std::string utf8(const std::u32string& characters) {
  std::string text;
  for (const char32_t c : characters) base::append_utf8(text, c);
  return text;
}

TEST(Score, ShareOfReferencesIsRulers) {
  // Expected values: string_match_all of RULER's scripts/eval/synthetic/constants.py, over 100.
  EXPECT_EQ(score(Match::kAll, " 8231042.", Texts{"8231042"}), 1);
  EXPECT_EQ(score(Match::kAll, "The numbers are 1234567 and 89", Texts{"1234567", "8923456"}), 0.5);
  EXPECT_EQ(score(Match::kAll, "vadot XYZ abc", Texts{"ABC", "xyz", "VADOT", "QQ"}), 0.75);
  EXPECT_EQ(score(Match::kAll, "", Texts{"a"}), 0);
  EXPECT_EQ(score(Match::kAll, "1. apple 2. pear", Texts{"apple", "pear", "plum"}), 2.0 / 3);
  EXPECT_EQ(score(Match::kAll, "a twice named a", Texts{"a", "a"}), 1);
}

TEST(Score, AnyReferenceIsRulersScoreOfQuestions) {
  EXPECT_EQ(score(Match::kAny, "It was in france, I think", Texts{"Paris", "France"}), 1);
  EXPECT_EQ(score(Match::kAny, "Berlin", Texts{"Paris", "France"}), 0);
}

TEST(Score, ExactComparesWithoutOuterBlanks) {
  EXPECT_EQ(score(Match::kExact, " 12345\n", Texts{"12345"}), 1);
  EXPECT_EQ(score(Match::kExact, "12345.", Texts{"12345"}), 0);
  EXPECT_EQ(score(Match::kExact, "1234", Texts{"12345"}), 0);
  EXPECT_EQ(score(Match::kExact, "1 2345", Texts{"12345"}), 0);
  EXPECT_EQ(score(Match::kExact, "Paris", Texts{"paris"}), 0);
  EXPECT_EQ(score(Match::kExact, "b", Texts{"a", "b "}), 1);
}

TEST(Score, NothingExpectedIsNeverRight) {
  for (const Match match : {Match::kExact, Match::kAny, Match::kAll})
    EXPECT_EQ(score(match, "anything", Texts{}), 0);
}

TEST(Stripped, TakesWhatPythonTakes) {
  EXPECT_EQ(stripped(" \t\r\n\v\f\x1c\x1fx y \n"), "x y");
  EXPECT_EQ(stripped(" \n"), "");
  EXPECT_EQ(stripped(std::string_view("\0x", 2)), std::string_view("\0x", 2));
  EXPECT_EQ(stripped(utf8(U"\u3000\u00a0\u2028é\u2009è\u0085\u1680")), utf8(U"é\u2009è"));
  EXPECT_EQ(stripped("\xa0 x \xc2"), "\xa0 x \xc2");
}

TEST(Score, LettersOfAllAlphabetsHaveTwoCases) {
  for (const auto& [answer, reference] : std::vector<std::pair<std::u32string, std::u32string>>{
           {U"é", U"É"},
           {U"Москва", U"МОСКВА"},
           {U"ΟΔΟΣ ΣΑΣ", U"οδος σας"},  // a sigma at the end of a word is another letter
           {U"\u0130", U"i\u0307"},
           {U"\u1e9e", U"ß"},
           {U"\U00010400", U"\U00010428"}}) {
    for (const Match match : {Match::kAny, Match::kAll}) {
      EXPECT_EQ(score(match, utf8(answer), Texts{utf8(reference)}), 1) << utf8(reference);
      EXPECT_EQ(score(match, utf8(reference), Texts{utf8(answer)}), 1) << utf8(reference);
    }
    EXPECT_EQ(score(Match::kExact, utf8(answer), Texts{utf8(reference)}), 0) << utf8(reference);
  }
  EXPECT_EQ(score(Match::kAll, utf8(U"é"), Texts{utf8(U"è")}), 0);
  EXPECT_EQ(score(Match::kAll, utf8(U"strasse"), Texts{utf8(U"straße")}), 0);
  EXPECT_EQ(score(Match::kAll, "\xe9t\xe9", Texts{utf8(U"été")}), 0);
}

TEST(Score, ControlCharactersOfAnAnswerAreLineFeeds) {
  EXPECT_EQ(score(Match::kAll, "a\tb", Texts{"a\nb"}), 1);
  EXPECT_EQ(score(Match::kAll, "a\tb", Texts{"a\tb"}), 0);
  EXPECT_EQ(score(Match::kAny, "\x01 7 \x02", Texts{"\n"}), 0);
}

/// What Python says of characters, in lines of "name number number ...".
std::multimap<std::string, std::vector<char32_t>> asked_of_python() {
  // Characters that one version of Unicode has and another lacks are left out on both sides.
  constexpr const char* kScript = R"(python3 - <<'END'
import unicodedata
def show(name, *numbers):
    print(name, *numbers)
for c in range(0x110000):
    if 0xd800 <= c < 0xe000 or unicodedata.category(chr(c)) == "Cn": continue
    if chr(c).lower() != chr(c): show("lower", c, *map(ord, chr(c).lower()))
    if chr(c).isspace(): show("space", c)
    if 0x20000 <= c < 0xe0000: continue
    ends = [("A" + chr(c) + "\u03a3").lower()[-1], ("A\u03a3" + chr(c)).lower()[1],
            ("A\u03a3" + chr(c) + "B").lower()[1]]
    show("sigma", c, *map(ord, ends))
END)";
  std::multimap<std::string, std::vector<char32_t>> answers;
  FILE* const python = ::popen(kScript, "r");
  std::string text;
  for (int c = 0; (c = std::fgetc(python)) != EOF;) text += static_cast<char>(c);
  EXPECT_EQ(::pclose(python), 0);
  std::istringstream lines(text);
  for (std::string line; std::getline(lines, line);) {
    std::istringstream words(line);
    std::string name;
    words >> name;
    std::vector<char32_t> numbers;
    for (std::uint32_t number = 0; words >> number;) numbers.push_back(number);
    answers.emplace(name, numbers);
  }
  return answers;
}

TEST(Lowered, IsPythonsForAllCharacters) {
  const auto answers = asked_of_python();
  std::map<char32_t, std::u32string> lower;
  std::set<char32_t> spaces, known;
  for (const auto& [name, numbers] : answers) {
    const char32_t c = numbers[0];
    const auto letter_number = static_cast<std::uint32_t>(c);
    if (name == "lower") lower[c] = {numbers.begin() + 1, numbers.end()};
    if (name == "space") spaces.insert(c);
    if (name != "sigma") continue;
    known.insert(c);
    const std::u32string letter(1, c), sigma = U"\u03a3";
    EXPECT_TRUE(lowered(utf8(U"A" + letter + sigma)).ends_with(utf8({numbers[1]})))
        << letter_number;
    EXPECT_TRUE(lowered(utf8(U"A" + sigma + letter)).starts_with("a" + utf8({numbers[2]})))
        << letter_number;
    EXPECT_TRUE(lowered(utf8(U"A" + sigma + letter + U"B")).starts_with("a" + utf8({numbers[3]})))
        << letter_number;
  }
  EXPECT_GT(lower.size(), 1300);
  EXPECT_GT(known.size(), 80'000);
  for (char32_t c = 0; c <= base::kMaxCodePoint; ++c) {
    if (base::is_surrogate(c)) continue;
    const bool is_known = c >= 0x20000 || known.contains(c);
    if (!is_known) continue;
    const std::string letter = utf8({c});
    const auto found = lower.find(c);
    EXPECT_EQ(lowered(letter), found == lower.end() ? letter : utf8(found->second)) << letter;
    EXPECT_EQ(stripped(letter).empty(), spaces.contains(c)) << letter;
  }
}

}  // namespace
}  // namespace longreach::eval
