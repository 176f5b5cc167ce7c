#include "launch/commands/context.hpp"

#include "dist/context/context_part.hpp"
#include "kernels/base/error.hpp"
#include "kernels/base/json.hpp"
#include "launch/open_model.hpp"
#include "launch/saved_context.hpp"
#include "launch/standard_streams.hpp"

#include <fmt/format.h>

namespace longreach::launch {
namespace {

int inspect(const dist::ContextDirectory& context) {
  std::string text =
      fmt::format("{}: {} tokens\n", base::utf8_name(context.path().string()), context.n_tokens());
  for (const auto& [name, value] : context.settings()) {
    text += fmt::format("  {} {}\n", name, value);
  }
  text += "states after tokens:";
  for (const dist::SavedState& state : context.states()) text += fmt::format(" {}", state.n_tokens);
  write_output(text + "\n");
  return 0;
}

int verify(const ContextOptions& options, const dist::ContextDirectory& context) {
  const OpenedModel opened = open_model(options.model);
  context.require(context_settings(opened, nullptr));
  static_cast<void>(context.tokens());  // compares them with their checksum
  dist::ContextPart part(options.context, opened.config, opened.engine_options.attention,
                         {0, opened.config.execution_order().size()}, {});
  for (const dist::SavedState& state : context.states()) part.verify_state(state.n_tokens);
  part.verify_chunks(context.n_tokens());
  write_output(fmt::format("{}: whole\n", base::utf8_name(options.context.string())));
  return 0;
}

}  // namespace

int run(const ContextOptions& options) {
  const auto context = dist::ContextDirectory::open(options.context);
  return options.action == ContextAction::kVerify ? verify(options, context) : inspect(context);
}

}  // namespace longreach::launch
