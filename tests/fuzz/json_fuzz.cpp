/// Feeds bytes to the reader of JSON. Nothing but InputError may come out; what is read is what the
/// library reads, and can be copied, compared, written and read again. The same bytes as a name are
/// read back from its text.
#include "kernels/base/error.hpp"
#include "kernels/base/json.hpp"

#include <nlohmann/json.hpp>

#include <cstddef>
#include <cstdint>
#include <string>

using namespace longreach;

extern "C" int LLVMFuzzerTestOneInput(const std::uint8_t* data, std::size_t size) {
  const std::string text(data, data + size);
  LR_CHECK(base::parse_json(nlohmann::json(base::utf8_name(text)).dump(), "name") ==
           base::utf8_name(text));
  try {
    const nlohmann::json value = base::parse_json(text, "fuzz.json");
    const nlohmann::json copy = value;
    LR_CHECK(copy == value);
    LR_CHECK(nlohmann::json::parse(text) == value);  // by the library's own parser
    LR_CHECK(base::parse_json(value.dump(), "again.json") == value);
    base::json_text(value);
  } catch (const base::InputError&) {
  }
  return 0;
}
