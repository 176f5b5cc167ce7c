/// Words for generated texts, where the origin of a task downloads a list.
#pragma once

#include "eval/random.hpp"

#include <cstddef>
#include <span>
#include <string>
#include <string_view>
#include <vector>

namespace longreach::eval {

/// English adjectives and nouns, each once and in neither list twice.
std::span<const std::string_view> adjectives();
std::span<const std::string_view> nouns();

/// "amber-river".
std::string random_compound(Random& random);

/// At least `n` different words in random order: single ones while they suffice, else compounds.
/// Errors: InputError naming --lengths if not even those do.
std::vector<std::string> different_words(Random& random, std::size_t n);

}  // namespace longreach::eval
