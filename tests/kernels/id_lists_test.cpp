#include "kernels/base/id_lists.hpp"

#include "kernels/base/json.hpp"
#include "tests/support/input_error.hpp"

#include <gtest/gtest.h>
#include <nlohmann/json.hpp>

#include <array>
#include <string>
#include <string_view>
#include <vector>

namespace longreach::base {
namespace {

using nlohmann::json;

json parse(std::string_view text) {
  constexpr std::array<std::string_view, 2> kFields = {"a", "b"};
  return parse_json_with_ids(std::string(text), "it", kFields);
}

TEST(IdLists, AreBinaryInTheirFieldsAlone) {
  const json value =
      parse(R"({"a": [1, 2147483647], "b": [[3], [], [4, 5]], "c": [6], "d": {"a": [7]}})");
  ASSERT_TRUE(value["a"].is_binary());
  EXPECT_EQ(ids_of(value["a"]), (std::vector<TokenId>{1, 2147483647}));
  ASSERT_EQ(value["b"].size(), 3U);
  EXPECT_EQ(ids_of(value["b"][0]), std::vector<TokenId>{3});
  EXPECT_EQ(value["b"][1], json::array());
  EXPECT_EQ(ids_of(value["b"][2]), (std::vector<TokenId>{4, 5}));
  EXPECT_EQ(value["c"], json({6}));
  EXPECT_EQ(value["d"], json({{"a", {7}}}));
}

TEST(IdLists, OtherListsAreWhatTheyAre) {
  for (const char* const list :
       {"[]", "[1, 2147483648]", "[1, -1]", "[1, 1.5]", "[1, null]", "[1, true]", "[1, \"x\"]",
        "[1, []]", "[1, {}]", "[1, {\"a\": [2]}, 3]", "[\"x\", 1]", "[[], {}]", "\"x\"", "7",
        "{\"a\": [1]}"}) {
    const std::string text = std::string("{\"a\": ") + list + ", \"c\": [1]}";
    EXPECT_EQ(parse(text), parse_json(text, "it")) << text;
  }
  EXPECT_EQ(parse("[[1]]"), json::parse("[[1]]"));
  EXPECT_EQ(parse("[1]"), json::parse("[1]"));
}

TEST(IdLists, AreJudgedLikeAllJson) {
  for (const char* const text : {"{\"a\": [1,]}", "{\"a\": [1", "{\"a\": [1], \"a\": [2]}",
                                 "{\"a\": [01]}", "{\"a\": [1e999]}"}) {
    EXPECT_EQ(test::refusal([&] { parse(text); }), test::refusal([&] { parse_json(text, "it"); }))
        << text;
  }
}

}  // namespace
}  // namespace longreach::base
