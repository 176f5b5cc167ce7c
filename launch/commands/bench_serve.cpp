#include "launch/commands/bench_serve.hpp"

#include "kernels/base/error.hpp"
#include "kernels/base/json.hpp"
#include "kernels/base/seconds.hpp"
#include "kernels/base/write_all.hpp"
#include "launch/api_keys.hpp"
#include "launch/commands/bench_serve_result.hpp"
#include "launch/descriptors.hpp"
#include "launch/progress.hpp"
#include "launch/signals.hpp"
#include "launch/standard_streams.hpp"
#include "serve/http_client.hpp"
#include "serve/load_generator.hpp"

#include <fmt/format.h>
#include <nlohmann/json.hpp>

#include <algorithm>
#include <chrono>
#include <optional>
#include <string>

namespace longreach::launch {
namespace {

serve::HttpPeer server_of(const BenchServeOptions& options) {
  serve::HttpPeer peer{options.host, options.port};
  if (!options.api_key_file) return peer;
  peer.key = read_keys(*options.api_key_file).front();
  // A header's field is one line.
  if (std::ranges::any_of(peer.key, [](unsigned char c) { return c < ' ' || c > '~'; })) {
    base::input_error("--api-key-file: the first key of {} has characters that no header may have",
                      options.api_key_file->string());
  }
  return peer;
}

/// What a server answers to questions about itself. Nothing of a server that does not know the
/// path.
class ServerFacts {
 public:
  ServerFacts(serve::HttpClient& client, const serve::HttpPeer& peer, const StopSignals& signals)
      : client_(client), url_(peer.url()), signals_(signals) {}

  /// Errors: InputError, if there is no server, or none for this key.
  std::optional<nlohmann::json> ask(const std::string& path) const {
    const serve::HttpEnd answer = client_.get(path, [this] { return !signals_.received(); });
    if (signals_.received()) return std::nullopt;
    if (answer.status == 0) base::input_error("{}: {}", url_, answer.fault);
    if (answer.status == 401) {
      base::input_error("{}: {}", url_, serve::refusal_text(answer.status, answer.body));
    }
    if (answer.status != 200) return std::nullopt;
    try {
      return base::parse_json(answer.body, path);
    } catch (const base::InputError&) {
      return std::nullopt;
    }
  }

  /// The first model of its list; empty: it does not say.
  std::string model_name() const {
    const auto models = ask("/v1/models");
    if (!models) return {};
    const nlohmann::json::json_pointer name("/data/0/id");
    const bool is_text = models->contains(name) && models->at(name).is_string();
    return is_text ? models->at(name).get<std::string>() : std::string();
  }

  std::optional<std::size_t> vocab_size() const {
    const auto tokenizer = ask("/tokenizer_info");
    if (!tokenizer || !tokenizer->is_object() || !tokenizer->contains("vocab_size")) return {};
    const auto size = base::whole_number(tokenizer->at("vocab_size"));
    if (!size || *size < 2) return std::nullopt;
    return static_cast<std::size_t>(*size);
  }

 private:
  serve::HttpClient& client_;
  std::string url_;
  const StopSignals& signals_;
};

serve::Load load_of(const BenchServeOptions& options, std::size_t vocab_size) {
  return {.model = options.model_name,
          .n_requests = options.n_prompts,
          .n_prefix = options.n_prefix,
          .n_prompt = options.n_input,
          .n_generated = options.n_output,
          .vocab_size = vocab_size,
          .request_rate = options.request_rate,
          .max_running = options.max_concurrency.value_or(0),
          .share_abandoned = options.share_abandoned,
          .seed = options.seed};
}

serve::LoadResult load_server(serve::HttpClient& client, const serve::Load& load,
                              const StopSignals& signals) {
  StatusLine line(PlainLines::kNone);
  const auto start = std::chrono::steady_clock::now();
  return serve::run_load(client, load, [&](const serve::LoadProgress& progress) {
    line.update([&] {
      return progress_text(
          "requests", progress.n_ended, load.n_requests, progress.n_chunks,
          base::seconds_since(start),
          static_cast<double>(progress.n_ended) / static_cast<double>(load.n_requests));
    });
    return !signals.received();
  });
}

}  // namespace

int run(const BenchServeOptions& options) {
  const StopSignals signals;
  const serve::HttpPeer peer = server_of(options);
  serve::HttpClient client(peer);
  const ServerFacts facts(client, peer, signals);
  std::string model_name = facts.model_name();
  if (!options.model_name.empty()) model_name = options.model_name;
  const auto vocab_size = options.vocab_size ? options.vocab_size : facts.vocab_size();
  if (signals.received()) return signals.exit_code();
  if (!vocab_size) {
    base::input_error(
        "--vocab-size: expected the size of the model's vocabulary, as {}/tokenizer_info does not "
        "say it",
        peer.url());
  }
  max_connections(std::min(options.n_prompts, options.max_concurrency.value_or(options.n_prompts)));
  const ServeResult result{options, std::move(model_name),
                           load_server(client, load_of(options, *vocab_size), signals)};
  const serve::LoadResult& load = result.load;
  if (load.n_failed > 0 && load.answers.empty() && load.n_abandoned == 0) {
    base::input_error("{}: no request was answered, {} failed, the first one: {}", peer.url(),
                      load.n_failed, load.first_failure);
  }
  write_output(options.format == ListingFormat::kJson ? json_line(result) : table_text(result));
  if (load.n_failed > 0) {
    base::write_message(fmt::format("longreach: {}: {} of {} requests failed, the first one: {}\n",
                                    peer.url(), load.n_failed, options.n_prompts,
                                    load.first_failure));
  }
  return signals.exit_code();
}

}  // namespace longreach::launch
