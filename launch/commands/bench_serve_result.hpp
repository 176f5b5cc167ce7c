/// What `bench serve` prints.
#pragma once

#include "launch/options/options.hpp"
#include "serve/load_generator.hpp"

#include <string>

namespace longreach::launch {

/// What the server was asked, and what came of it.
struct ServeResult {
  const BenchServeOptions& options;
  std::string model_name;  ///< What the server has; empty: it does not say.
  serve::LoadResult load;
};

/// One line with its end: a JSON object with the names of `vllm bench serve`. Times of which there
/// are none are null.
std::string json_line(const ServeResult& result);

/// The same as a table for people.
std::string table_text(const ServeResult& result);

}  // namespace longreach::launch
