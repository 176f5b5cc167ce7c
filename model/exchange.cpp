#include "model/exchange.hpp"

namespace longreach::model {

std::string_view name_of(Traffic traffic) {
  switch (traffic) {
    case Traffic::kColumns:
      return "columns";
    case Traffic::kQueries:
      return "queries";
    case Traffic::kCandidates:
      return "candidates";
    case Traffic::kPartials:
      return "partials";
    case Traffic::kChunks:
      return "chunks";
    case Traffic::kMasses:
      return "masses";
  }
  return "?";
}

}  // namespace longreach::model
