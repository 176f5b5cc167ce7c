#include "generation/text_stream.hpp"

#include "kernels/base/error.hpp"

#include <gtest/gtest.h>

#include <algorithm>
#include <random>
#include <string>
#include <string_view>
#include <vector>

namespace longreach::generation {
namespace {

using Strings = std::vector<std::string>;

constexpr std::string_view kReplacement = "\xef\xbf\xbd";

std::string replaced(int n) {
  std::string text;
  for (int i = 0; i < n; ++i) text += kReplacement;
  return text;
}

std::string whole(std::string_view bytes, const Strings& stops = {}) {
  TextStream stream(stops);
  std::string text = stream.push(bytes);
  return text + stream.flush();
}

TEST(TextStream, PrintsPlainTextAtOnce) {
  TextStream stream;
  EXPECT_EQ(stream.push("Hello"), "Hello");
  EXPECT_EQ(stream.push(""), "");
  EXPECT_EQ(stream.push(std::string_view(" \0!", 3)), std::string_view(" \0!", 3));
  EXPECT_EQ(stream.flush(), "");
  EXPECT_FALSE(stream.stopped());
}

TEST(TextStream, HoldsBackAnIncompleteCharacter) {
  TextStream stream;
  EXPECT_EQ(stream.push("a\xf0\x9f"), "a");
  EXPECT_EQ(stream.push("\x98"), "");
  EXPECT_EQ(stream.push("\x80z"), "\xf0\x9f\x98\x80z");
  EXPECT_EQ(stream.push("\xe2\x82"), "");
  EXPECT_EQ(stream.flush(), kReplacement);
  EXPECT_EQ(stream.flush(), "");
}

TEST(TextStream, ReplacesMaximalSubparts) {
  // The example of the Unicode standard, table 3-8 to 3-11: each run and how many U+FFFD it gives.
  EXPECT_EQ(whole("\xc0\xaf\xe0\x80\xbf\xf0\x81\x82"
                  "A"),
            replaced(8) + "A");
  EXPECT_EQ(whole("\xed\xa0\x80\xed\xbf\xbf\xed\xaf"
                  "A"),
            replaced(8) + "A");
  EXPECT_EQ(whole("\xf4\x91\x92\x93\xff"
                  "A\x80\xbf"
                  "B"),
            replaced(5) + "A" + replaced(2) + "B");
  EXPECT_EQ(whole("\xe1\x80\xe2\xf0\x91\x92\xf1\xbf"
                  "A"),
            replaced(4) + "A");
}

TEST(TextStream, StopStringAndWhatFollowsAreNotGivenOut) {
  TextStream stream({"\n\nUser:"});
  EXPECT_EQ(stream.push("Yes.\n"), "Yes.");
  EXPECT_EQ(stream.push("\nUse"), "");
  EXPECT_FALSE(stream.stopped());
  EXPECT_EQ(stream.push("r: more"), "");
  EXPECT_TRUE(stream.stopped());
  EXPECT_EQ(stream.push("and more"), "");
  EXPECT_EQ(stream.flush(), "");
}

TEST(TextStream, GivesOutABeginningThatBecameNoStopString) {
  TextStream stream({"aab"});
  EXPECT_EQ(stream.push("xaa"), "x");
  EXPECT_EQ(stream.push("a"), "a");  // the last two may still become it
  EXPECT_EQ(stream.push("c"), "aac");
  EXPECT_EQ(stream.push("a"), "");
  EXPECT_EQ(stream.flush(), "a");
  EXPECT_FALSE(stream.stopped());
}

TEST(TextStream, FirstStopStringToEndCountsAndOfThoseTheLongest) {
  EXPECT_EQ(whole("xabcd", {"abcd", "bc"}), "xa");
  EXPECT_EQ(whole("xabcd", {"bc", "abc", "c"}), "x");
  EXPECT_EQ(whole("xabx", {"abc", "b"}), "xa");
  EXPECT_EQ(whole("stop", {"stop"}), "");
}

TEST(TextStream, StopStringMayEndInsideACharacter) {
  EXPECT_EQ(whole("a\xe2\x82\xac", {"\xac"}), "a" + replaced(1));
  EXPECT_EQ(whole("a\xe2\x82\xac", {"\xe2\x82"}), "a");
}

TEST(TextStream, RefusesAnEmptyStopString) {
  EXPECT_THROW(TextStream({"a", ""}), base::InputError);
}

/// What must come out, straight from the definition: up to where the first stop string to end
/// begins.
std::string expected_bytes(std::string_view bytes, const Strings& stops) {
  for (std::size_t end = 1; end <= bytes.size(); ++end) {
    std::size_t n_stop = 0;
    for (const std::string& stop : stops) {
      if (bytes.substr(0, end).ends_with(stop)) n_stop = std::max(n_stop, stop.size());
    }
    if (n_stop > 0) return std::string(bytes.substr(0, end - n_stop));
  }
  return std::string(bytes);
}

/// Pushes `bytes` cut wherever a bit of `cuts` is set.
std::string split(std::string_view bytes, const Strings& stops, std::uint32_t cuts) {
  TextStream stream(stops);
  std::string text;
  std::size_t begin = 0;
  for (std::size_t i = 1; i <= bytes.size(); ++i) {
    if (i < bytes.size() && (cuts >> (i - 1) & 1U) == 0) continue;
    text += stream.push(bytes.substr(begin, i - begin));
    begin = i;
  }
  return text + stream.flush();
}

TEST(TextStream, EverySplitGivesTheSame) {
  const std::vector<Strings> stop_sets = {
      {}, {"ab"}, {"aab", "ba"}, {"\x98", "b\xf0\x9f"}, {"aaaa"}};
  const std::vector<std::string_view> pieces = {
      "a", "b", "\xe2\x82\xac", "\xf0\x9f\x98\x80", "\xf0", "\x9f\x98", "\xe2", "\xff"};
  std::mt19937 random(20);
  for (int repeat = 0; repeat < 60; ++repeat) {
    std::string bytes;
    while (bytes.size() < 9) bytes += pieces[random() % pieces.size()];
    bytes.resize(9);
    for (const Strings& stops : stop_sets) {
      const std::string expected = whole(expected_bytes(bytes, stops));
      for (std::uint32_t cuts = 0; cuts < 1U << (bytes.size() - 1); ++cuts) {
        ASSERT_EQ(split(bytes, stops, cuts), expected)
            << "bytes " << testing::PrintToString(bytes) << ", cuts " << cuts << ", stops "
            << testing::PrintToString(stops);
      }
    }
  }
}

TEST(TextStream, HoldsBackNoMoreThanItMust) {
  // After each byte, what is held back is an incomplete character or may still become a stop
  // string.
  std::mt19937 random(21);
  const Strings stops = {"abab", "bb"};
  for (int repeat = 0; repeat < 200; ++repeat) {
    TextStream stream(stops);
    std::string seen;
    std::string given;
    while (seen.size() < 12 && !stream.stopped()) {
      seen += "abc"[random() % 3];
      given += stream.push(seen.substr(seen.size() - 1));
      if (stream.stopped()) break;
      const std::string held = seen.substr(given.size());
      ASSERT_TRUE(std::any_of(
          stops.begin(), stops.end(),
          [&](const auto& stop) { return stop.size() > held.size() && stop.starts_with(held); }))
          << seen << " holds back " << held;
    }
  }
}

}  // namespace
}  // namespace longreach::generation
