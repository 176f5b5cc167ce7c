#include "launch/commands/serve.hpp"

#include "generation/generator.hpp"
#include "kernels/base/error.hpp"
#include "kernels/base/json.hpp"
#include "kernels/base/read_file.hpp"
#include "kernels/base/write_all.hpp"
#include "launch/access_log.hpp"
#include "launch/api_keys.hpp"
#include "launch/context_library.hpp"
#include "launch/descriptors.hpp"
#include "launch/generator_options.hpp"
#include "launch/machine/machine.hpp"
#include "launch/open_model.hpp"
#include "launch/run_settings.hpp"
#include "launch/saved_context.hpp"
#include "launch/service_manager.hpp"
#include "launch/signals.hpp"
#include "launch/state_folder.hpp"
#include "launch/token_file.hpp"
#include "launch/usage.hpp"
#include "serve/api.hpp"
#include "serve/http_server.hpp"
#include "serve/metrics.hpp"
#include "serve/service.hpp"

#include <fmt/format.h>

#include <algorithm>
#include <chrono>
#include <map>
#include <memory>
#include <optional>
#include <string>
#include <utility>
#include <vector>

namespace longreach::launch {
namespace {

/// A token takes fewer bytes of JSON on average: in World's vocabulary three to five characters,
/// which may be written as escapes.
constexpr std::size_t kBodyBytesOfToken = 16;
/// A request may have several prompts: eight of the default length.
constexpr std::size_t kMostTokensOfBatch = std::size_t{8} * 32768;
constexpr std::size_t kMostConnections = 16384;
/// How long clients may take to read the last answers.
constexpr std::chrono::seconds kLastWrites(10);
/// Of a file of the server's options.
constexpr std::size_t kMostFileBytes = std::size_t{1} << 20;

/// What the leader needs before a model is loaded.
struct PreparedServer {
  std::unique_ptr<model::Tokenizer> tokenizer;
  std::vector<std::string> keys;
  serve::ChatTemplate chat = serve::world_chat();
  std::unique_ptr<serve::HttpServer> server;
};

/// A budget that no prompt fits into was meant to be another one.
void check_contexts_size(const ServeOptions& options, const OpenedModel& opened) {
  const std::size_t n_bytes = options.contexts_bytes.value_or(0);
  const std::size_t least = n_bytes == 0 ? 0 : least_kept_bytes(context_bytes(opened));
  if (n_bytes >= least) return;
  base::input_error(
      "--contexts-size: expected {} or more, which the shortest prompt takes that is kept, or 0, "
      "for "
      "none, found {}",
      bytes_text(least), bytes_text(n_bytes));
}

PreparedServer prepare(const ServeOptions& options, const OpenedModel& opened) {
  NamedFiles files = model_files(opened, options.model, options.tokenizer);
  if (options.chat_template) files.add_input("--chat-template", *options.chat_template);
  files.check_outputs();
  check_contexts_size(options, opened);
  PreparedServer prepared;
  prepared.tokenizer = open_tokenizer_of(opened.checkpoint, opened.config, options.tokenizer);
  if (options.bos) check_vocabulary({&*options.bos, 1}, opened.config.vocab_size, "--bos");
  if (options.api_key_file) prepared.keys = read_keys(*options.api_key_file);
  if (options.chat_template) {
    prepared.chat =
        serve::parse_chat_template(base::read_file(*options.chat_template, kMostFileBytes),
                                   base::utf8_name(options.chat_template->string()));
  }
  serve::HttpLimits limits;
  limits.max_connections = max_connections(kMostConnections);
  limits.max_body_bytes += kBodyBytesOfToken * std::max(options.context_tokens, kMostTokensOfBatch);
  limits.max_bodies_bytes = std::max(limits.max_bodies_bytes, 4 * limits.max_body_bytes);
  prepared.server = std::make_unique<serve::HttpServer>(options.host, options.port, limits);
  return prepared;
}

generation::GeneratorOptions generator_options_of(const ServeOptions& options,
                                                  const OpenedModel& opened,
                                                  generation::SavedTexts& saved) {
  auto generator = generator_options(opened.room, options.context_tokens, options.n_parallel);
  // All wait before they run, as does a context.
  generator.max_waiting = options.n_parallel + options.max_waiting + 1;
  generator.step_seconds = {};  // people wait for tokens
  generator.saved = &saved;
  return generator;
}

using StateNumbers = std::map<std::string, std::size_t>;

/// Opens what requests may begin from beside the run's own initial state; their numbers.
StateNumbers add_states(const ServeOptions& options, OpenedModel& opened) {
  StateNumbers numbers;
  if (!options.states) {
    if (options.model.state_axes && !options.model.state) {
      base::input_error("--state-axes: needs --state or --states");
    }
    return numbers;
  }
  for (const auto& [name, file] : states_in(*options.states)) {
    numbers.emplace(name, opened.initial_states.size());
    add_initial_state(opened, file, options.model.state_axes);
  }
  return numbers;
}

/// Answers requests on the leader, until a signal ends it.
void answer_requests(const ServeOptions& options, const OpenedModel& opened, StateNumbers states,
                     PreparedServer& prepared, dist::Engine& engine, const StopSignals& signals) {
  generation::SavedTexts saved = saved_texts(opened);
  generation::Generator generator(engine, opened.config, *prepared.tokenizer,
                                  generator_options_of(options, opened, saved));
  serve::Metrics metrics;
  const std::size_t max_open = options.n_parallel + options.max_waiting;
  serve::Service service(generator, max_open, metrics);
  std::optional<ContextLibrary> library;
  if (options.contexts) {
    library.emplace(ContextLibrary::Options{*options.contexts,
                                            context_settings(opened, prepared.tokenizer.get()),
                                            tokens_between_states(options.states_every, opened),
                                            options.contexts_bytes, context_bytes(opened)},
                    opened.engine_options.contexts, engine, generator, saved);
  }
  ContextLibrary* const contexts = library ? &*library : nullptr;
  const serve::ServedModel served{model_name(opened.checkpoint),
                                  *prepared.tokenizer,
                                  opened.config.vocab_size,
                                  opened.config.end_token,
                                  options.context_tokens,
                                  max_open,
                                  engine.has_evidence(),
                                  prepared.chat,
                                  contexts,
                                  std::move(states),
                                  options.bos};
  serve::HttpServer& server = *prepared.server;
  serve::Api api(served, service, contexts, metrics, server, {prepared.keys, LONGREACH_VERSION});
  // An error of the engine ends the server before what it calls.
  const auto stop_at_once = [](serve::HttpServer* running) { running->stop({}); };
  const std::unique_ptr<serve::HttpServer, decltype(stop_at_once)> guard(&server, stop_at_once);
  server.start(api.handlers(access_log()));
  base::write_message(fmt::format("listening on {}\n", server.url()));
  notify_service_manager("READY=1");
  bool is_stopping = false;
  service.run([&] {
    if (contexts != nullptr) contexts->work();
    if (!signals.received()) return false;
    if (!std::exchange(is_stopping, true)) notify_service_manager("STOPPING=1");
    if (contexts != nullptr) contexts->stop();
    server.drain();
    return true;
  });
  server.stop(kLastWrites);
}

}  // namespace

int run(const ServeOptions& options, dist::World& world) {
  const StopSignals signals;
  OpenedModel opened = world.agree([&] { return open_model(options.model); });
  StateNumbers states = world.agree([&] { return add_states(options, opened); });
  opened.engine_options.cache_memory = options.cache_memory;
  opened.engine_options.reports_busy = true;
  if (opened.engine_options.recording == dist::Recording::kNothing) {
    opened.engine_options.recording = dist::Recording::kTotals;  // metrics say how busy ranks are
  }
  opened.files.push_back({vocabulary_path(opened, options.tokenizer), InputFile::Readers::kSome});
  PreparedServer prepared =
      world.agree([&] { return world.leads_job() ? prepare(options, opened) : PreparedServer(); });
  if (options.contexts) {
    opened.engine_options.contexts = share_contexts(*options.contexts, EmptyFolder::kMade, opened,
                                                    prepared.tokenizer.get(), false, world);
  }
  // Most rows are those of prompts; what people wait for is decoding.
  const std::size_t n = options.context_tokens;
  const auto engine = load_engine(opened, {n, n, 0, "--context-length"}, world);
  if (!engine->leads()) {
    engine->serve();
    return 0;
  }
  answer_requests(options, opened, std::move(states), prepared, *engine, signals);
  write_trace(*engine, options.model);
  log_usage(*engine, options.model);
  return signals.exit_code();
}

}  // namespace longreach::launch
