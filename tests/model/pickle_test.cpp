#include "model/checkpoint/pickle.hpp"

#include "tests/support/bytes.hpp"
#include "tests/support/input_error.hpp"
#include "tests/support/pth_writer.hpp"

#include <gtest/gtest.h>

#include <cstdint>
#include <string>
#include <vector>

namespace longreach::model {
namespace {

using test::bytes_of;
using test::expect_refused;
using test::little_endian;
using test::PickleWriter;
using Kind = Pickle::Kind;

Pickle parse(const std::string& pickle) {
  return Pickle::parse(bytes_of(pickle), "/x/y.pth: data.pkl");
}

template <typename... Parts>
void expect_pickle_refused(const std::string& pickle, const Parts&... parts) {
  expect_refused([&] { parse(pickle); }, "/x/y.pth: data.pkl", parts...);
}

std::string repeated(std::string_view text, std::size_t count) {
  std::string result;
  result.reserve(text.size() * count);
  for (std::size_t i = 0; i < count; ++i) result += text;
  return result;
}

TEST(Pickle, ReadsEveryFormOfIntegers) {
  using namespace std::string_literals;
  const std::vector<std::pair<std::string, std::int64_t>> cases = {
      {"K\xff"s, 255},
      {"M\xff\xff"s, 65535},
      {"J\xff\xff\xff\xff"s, -1},
      {"J\0\0\0\x80"s, -2147483648},
      {"\x8a\0"s, 0},
      {"\x8a\1\xff"s, -1},
      {"\x8a\5\0\0\0\0\1"s, std::int64_t{1} << 32},
      {"\x8a\5\0\0\0\x80\0"s, std::int64_t{1} << 31},
      {"\x8a\x08\xff\xff\xff\xff\xff\xff\xff\x7f"s, INT64_MAX},
      {"\x8b\2\0\0\0\0\1"s, 256},
  };
  for (const auto& [opcode, expected] : cases) {
    const std::string bytes = PickleWriter().raw(opcode).stop();
    const Pickle pickle = parse(bytes);
    ASSERT_EQ(pickle.kind(pickle.root()), Kind::kInt) << expected;
    EXPECT_EQ(pickle.integer(pickle.root()), expected);
  }
}

TEST(Pickle, KeepsNoIntegersBeyond64Bits) {
  const std::string wide = PickleWriter().raw("\x8a\x09" + std::string(9, '\x7f')).stop();
  EXPECT_EQ(parse(wide).kind(parse(wide).root()), Kind::kHugeInt);
  const std::string huge =
      PickleWriter().raw("\x8b" + little_endian(1'000'000) + std::string(1'000'000, '\x7f')).stop();
  EXPECT_EQ(parse(huge).kind(parse(huge).root()), Kind::kHugeInt);
  expect_pickle_refused(PickleWriter().raw("\x8b\xff\xff\xff\x7f").stop(), "too early");
  expect_pickle_refused(PickleWriter().raw("\x8b\xff\xff\xff\xff").stop(), "too early");
}

TEST(Pickle, ReadsContainersInOrder) {
  const std::string bytes = PickleWriter()
                                .raw("}(")
                                .text("list")
                                .raw("](K\1K\2eK\3a")
                                .text("tuple")
                                .raw("NK\5\x86u")
                                .stop();
  const Pickle pickle = parse(bytes);
  ASSERT_EQ(pickle.kind(pickle.root()), Kind::kDict);
  const std::vector<Pickle::Ref> items = pickle.elements(pickle.root());
  ASSERT_EQ(items.size(), 4U);
  EXPECT_EQ(pickle.text(items[0]), "list");
  const std::vector<Pickle::Ref> list = pickle.elements(items[1]);
  ASSERT_EQ(list.size(), 3U);
  for (std::size_t i = 0; i < 3; ++i) {
    EXPECT_EQ(pickle.integer(list[i]), static_cast<std::int64_t>(i) + 1);
  }
  EXPECT_EQ(pickle.kind(items[3]), Kind::kTuple);
  EXPECT_EQ(pickle.kind(pickle.elements(items[3])[0]), Kind::kNone);
  EXPECT_EQ(pickle.integer(pickle.elements(items[3])[1]), 5);
}

TEST(Pickle, ReadsProtocolsFourAndFive) {
  using namespace std::string_literals;
  // pickle.dumps(OrderedDict([("a", ("a", 1.5, True))]), 4)
  const std::string bytes =
      "\x80\4\x95\x2f\0\0\0\0\0\0\0\x8c\x0b"s
      "collections\x94\x8c\x0bOrderedDict\x94\x93\x94)R\x94\x8c\1a\x94h\4G\x3f\xf8\0\0\0\0\0\0\x88\x87"s
      "\x94s."s;
  const Pickle pickle = parse(bytes);
  ASSERT_EQ(pickle.kind(pickle.root()), Kind::kDict);
  const auto items = pickle.elements(pickle.root());
  ASSERT_EQ(items.size(), 2U);
  const auto tuple = pickle.elements(items[1]);
  ASSERT_EQ(tuple.size(), 3U);
  EXPECT_EQ(pickle.text(tuple[0]), "a");
  EXPECT_EQ(pickle.kind(tuple[1]), Kind::kFloat);
  EXPECT_EQ(pickle.kind(tuple[2]), Kind::kBool);

  const std::string long_text = PickleWriter(5).raw("\x8d\3\0\0\0\0\0\0\0abc"s).stop();
  EXPECT_EQ(parse(long_text).text(0), "abc");
}

TEST(Pickle, CallsNothingAndNamesWhatItWasAskedFor) {
  const auto call = [](std::string_view module, std::string_view name) {
    return PickleWriter().global(module, name).raw("(").text("echo harm").raw("tR").stop();
  };
  expect_pickle_refused(call("os", "system"), "os.system");
  expect_pickle_refused(call("posix", "system"), "posix.system");
  expect_pickle_refused(call("builtins", "eval"), "builtins.eval");
  expect_pickle_refused(call("__builtin__", "exec"), "__builtin__.exec");
  expect_pickle_refused(call("torch", "load"), "torch.load");
  expect_pickle_refused(call("torch._utils", "_rebuild_tensor_v3"), "_rebuild_tensor_v3");
  expect_pickle_refused(call("torch", "os.system.Storage"), "os.system.Storage");
  expect_pickle_refused(call("torch.evil", "FloatStorage"), "torch.evil.FloatStorage");
  expect_pickle_refused(call("a\x1b[2J", "b"), "a\\x1b[2J.b");
  expect_pickle_refused(PickleWriter(4).text("os").text("system").raw("\x93)R").stop(),
                        "os.system");
  expect_pickle_refused(PickleWriter().raw("cos\nsystem").stop(), "too early");
}

TEST(Pickle, RefusesCallsOfAnythingButItsFunctions) {
  expect_pickle_refused(PickleWriter().text("f").raw(")R").stop(), "no function");
  expect_pickle_refused(PickleWriter().global("torch", "FloatStorage").raw(")R").stop(),
                        "a call of a storage type");
  expect_pickle_refused(PickleWriter().global("collections", "OrderedDict").raw("NR").stop(),
                        "without a tuple");
  expect_pickle_refused(PickleWriter().global("collections", "OrderedDict").raw("N\x85R").stop(),
                        "OrderedDict with arguments");
}

TEST(Pickle, RefusesOpcodesItDoesNotKnow) {
  for (const std::string_view opcode :
       {"0", "2", "I1\n", "ios\nsystem\n", "o", "\x81", "\x92", "\x82\1"}) {
    expect_pickle_refused(PickleWriter().raw("))").raw(opcode).stop(), "opcode 0x", "at byte 4");
  }
  expect_pickle_refused(PickleWriter(6).raw("N").stop(), "unknown protocol 6");
}

TEST(Pickle, RefusesMisuseOfItsStack) {
  for (const std::string_view opcodes :
       {"",   "t",     "R",    "Q",    "b",    "s",    "Ns",     "}Ns",   "}Nu", "a",
        "]a", "e",     "u",    "(",    "N(R",  "\x85", "N(\x85", "N\x86", "NN",  "q\1",
        "N(", "N(q\1", "\x93", "](NR", "}(Nu", "NNa",  "N(Ne",   "]NNs",  "NNb"}) {
    expect_pickle_refused(PickleWriter().raw(opcodes).stop(), "broken pickle");
  }
  expect_pickle_refused(PickleWriter().raw("N").stop() + "N", "a stop too early");
}

TEST(Pickle, KeepsOneValueForManyMentions) {
  const std::string bytes = PickleWriter().raw("(").text("shared").raw("q\7h\7h\7t").stop();
  const Pickle pickle = parse(bytes);
  const auto tuple = pickle.elements(pickle.root());
  ASSERT_EQ(tuple.size(), 3U);
  EXPECT_EQ(tuple[0], tuple[1]);
  EXPECT_EQ(tuple[0], tuple[2]);
}

TEST(Pickle, BoundsTheMemo) {
  expect_pickle_refused(PickleWriter().raw("Nr\xff\xff\xff\xff").stop(), "memo index 4294967295");
  expect_pickle_refused(PickleWriter().raw("h\1").stop(), "unknown memo index 1");
  expect_pickle_refused(PickleWriter().raw("Nq\3h\1").stop(), "unknown memo index 1");
  expect_pickle_refused(PickleWriter().raw("j\xff\xff\xff\xff").stop(), "unknown memo index");
}

TEST(Pickle, SurvivesDeepNesting) {
  constexpr std::size_t kDepth = 1'000'000;
  const std::string tuples = PickleWriter().raw("N" + repeated("\x85", kDepth)).stop();
  const Pickle pickle = parse(tuples);
  EXPECT_EQ(pickle.kind(pickle.root()), Kind::kTuple);
  const std::string lists =
      PickleWriter().raw(repeated("]", kDepth) + repeated("a", kDepth - 1)).stop();
  EXPECT_EQ(parse(lists).kind(0), Kind::kList);
  expect_pickle_refused(PickleWriter().raw(repeated("(", kDepth)).stop(), "missing operand");
  const std::string marks =
      PickleWriter().raw(repeated("(", kDepth) + repeated("t", kDepth)).stop();
  EXPECT_EQ(parse(marks).kind(0), Kind::kTuple);
}

TEST(Pickle, SurvivesCyclesAndMemoBombs) {
  const std::string cycle = PickleWriter().raw("]q\1h\1ah\1a").stop();
  const Pickle pickle = parse(cycle);
  EXPECT_EQ(pickle.elements(pickle.root()).at(0), pickle.root());
  // Each tuple holds the one before twice: 2^100000 leaves, were it ever unfolded.
  std::string bomb = "N";
  for (int i = 0; i < 100'000; ++i) bomb += "q\1h\1\x86";
  const std::string bytes = PickleWriter().raw(bomb).stop();
  EXPECT_EQ(parse(bytes).count(parse(bytes).root()), 2U);
}

TEST(Pickle, RefusesHugePickles) {
  expect_pickle_refused(std::string(Pickle::kLargestBytes + 1, 'N'), "8388609 bytes");
}

TEST(Pickle, ReadsTheMostCrowdedPickleItAccepts) {
  const std::string crowd =
      PickleWriter().raw("(" + std::string(Pickle::kLargestBytes - 5, ']') + "t").stop();
  ASSERT_EQ(crowd.size(), Pickle::kLargestBytes);
  const Pickle pickle = parse(crowd);
  EXPECT_EQ(pickle.count(pickle.root()), Pickle::kLargestBytes - 5);
}

TEST(Pickle, RefusesEveryTruncation) {
  const std::string bytes = test::pickle_of({{"a", {}}, {"b", {.offset = 1}}});
  for (std::size_t size = 0; size < bytes.size(); ++size) {
    expect_pickle_refused(std::string(bytes, 0, size));
  }
}

}  // namespace
}  // namespace longreach::model
