/// What an action says when it refuses its input.
#pragma once

#include "kernels/base/error.hpp"

#include <gtest/gtest.h>

#include <string>

namespace longreach::test {

/// The sentence of the InputError that `action` throws; fails the test if it throws none. The
/// sentence must be what base::InputError promises: one line without a full stop.
template <typename Action>
std::string refusal(Action&& action) {
  try {
    action();
  } catch (const base::InputError& error) {
    const std::string sentence = error.what();
    EXPECT_EQ(sentence.find('\n'), std::string::npos) << sentence;
    EXPECT_FALSE(sentence.ends_with('.')) << sentence;
    return sentence;
  }
  ADD_FAILURE() << "nothing was refused";
  return {};
}

/// Expects that `action` throws an InputError whose sentence contains each of `parts`.
template <typename Action, typename... Parts>
void expect_refused(Action&& action, const Parts&... parts) {
  const std::string sentence = refusal(action);
  const auto expect_part = [&sentence](const std::string& part) {
    EXPECT_NE(sentence.find(part), std::string::npos) << "'" << part << "' not in: " << sentence;
  };
  (expect_part(parts), ...);
}

}  // namespace longreach::test
