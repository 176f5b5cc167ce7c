#include "model/schema/naming.hpp"

#include <algorithm>
#include <optional>
#include <utility>

namespace longreach::model {
namespace {

/// What the `*` of a pattern stands for in a name; nothing if the name does not fit.
std::optional<std::string_view> match(std::string_view pattern, std::string_view name) {
  const std::size_t star = pattern.find('*');
  if (star == pattern.npos) return pattern == name ? std::optional("") : std::nullopt;
  const std::string_view before = pattern.substr(0, star), after = pattern.substr(star + 1);
  if (name.size() < before.size() + after.size() || !name.starts_with(before) ||
      !name.ends_with(after)) {
    return std::nullopt;
  }
  return name.substr(before.size(), name.size() - before.size() - after.size());
}

struct Found {
  std::string name;
  bool is_transposed = false;
};

Found find(std::string_view name, std::span<const Naming> namings) {
  for (const Naming& naming : namings) {
    const auto text = match(naming.in_file, name);
    if (!text) continue;
    std::string native(naming.native);
    if (const std::size_t star = native.find('*'); star != native.npos) {
      native.replace(star, 1, *text);
    }
    return {std::move(native), naming.is_transposed};
  }
  return {std::string(name)};
}

}  // namespace

std::string native_name(std::string_view name, std::span<const Naming> namings) {
  return find(name, namings).name;
}

NativeTensor native_tensor(std::string_view name, Tensor tensor, std::span<const Naming> namings) {
  Found found = find(name, namings);
  if (found.is_transposed) {  // it stays where it is, read in another order
    std::ranges::reverse(tensor.shape);
    std::ranges::reverse(tensor.strides);
  }
  return {std::move(found.name), std::move(tensor)};
}

}  // namespace longreach::model
