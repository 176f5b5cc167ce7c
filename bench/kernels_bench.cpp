/// How near the kernels come to what memory and multiply-adds allow. Every benchmark measures its
/// limit right behind itself and gives its share of it, for machines whose speed varies.
#include "bench/fma_peak.hpp"
#include "kernels/attention/attention.hpp"
#include "kernels/matmul/matrix.hpp"
#include "kernels/recurrence/recurrence.hpp"
#include "kernels/simd/isa.hpp"
#include "kernels/threads/read_bandwidth.hpp"
#include "model/checkpoint/random_numbers.hpp"

#include <benchmark/benchmark.h>
#include <fmt/format.h>

#include <algorithm>
#include <chrono>
#include <cstdint>
#include <exception>
#include <iostream>
#include <vector>

namespace longreach::bench {
namespace {

using base::MatView;
using Clock = std::chrono::steady_clock;

/// What is read once and not found in caches when its turn comes again.
constexpr std::size_t kBeyondCaches = std::size_t{1} << 29;

std::vector<float> numbers(std::size_t n) {
  const model::RandomNumbers random{model::key_of("bench"), 0, 0.1F};
  std::vector<float> values(n);
  for (std::size_t i = 0; i < n; ++i) values[i] = random.at(i);
  return values;
}

double median(std::vector<double> values) {
  const auto middle = values.begin() + static_cast<std::ptrdiff_t>(values.size() / 2);
  std::ranges::nth_element(values, middle);
  return *middle;
}

template <typename Body>
double seconds_of(Body&& body) {
  const Clock::time_point start = Clock::now();
  body();
  return std::chrono::duration<double>(Clock::now() - start).count();
}

/// Runs body(i) for i = 0, 1, .. as often as is wanted. Returns the seconds of one, as the median:
/// a time slice that another process got then does not count.
template <typename Body>
double median_seconds(benchmark::State& state, Body&& body) {
  std::vector<double> seconds;
  for ([[maybe_unused]] auto _ : state) {
    seconds.push_back(seconds_of([&] { body(seconds.size()); }));
  }
  return median(seconds);
}

/// Bytes a second that the threads read and do nothing else: the median over pieces of memory of
/// about the size of a matrix.
double read_bandwidth(kernels::ThreadPool& pool) {
  constexpr std::size_t kPieceBytes = std::size_t{8} << 20;
  base::Buffer<std::uint64_t> memory(kBeyondCaches / sizeof(std::uint64_t), base::Pages::kLarge);
  std::ranges::fill(memory.span(), 1);
  std::vector<double> seconds;
  for (std::size_t first = 0; first < memory.size(); first += kPieceBytes / sizeof(std::uint64_t)) {
    seconds.push_back(seconds_of([&] {
      benchmark::DoNotOptimize(kernels::read_sum(
          pool, memory.span().subspan(first, kPieceBytes / sizeof(std::uint64_t))));
    }));
  }
  return static_cast<double>(kPieceBytes) / median(seconds);
}

/// Tells bytes a second, and their share of what reading alone reaches now.
void tell_bandwidth(benchmark::State& state, kernels::ThreadPool& pool, double bytes_per_second) {
  state.counters["GB/s"] = bytes_per_second / 1e9;
  state.counters["of_read"] = bytes_per_second / read_bandwidth(pool);
}

/// Tells flops a second of one thread, and their share of what multiply-adds alone reach now.
void tell_flops(benchmark::State& state, double flops_per_second) {
  state.counters["GFLOP/s"] = flops_per_second / 1e9;
  state.counters["of_fma"] = flops_per_second / fma_peak();
}

std::vector<kernels::PackedMatrix> matrices(std::size_t n_out, std::size_t n_in,
                                            base::ProductFormat product, std::size_t least_bytes,
                                            kernels::ThreadPool& pool) {
  const std::vector<float> source = numbers(n_out * n_in);
  std::vector<kernels::PackedMatrix> result;
  for (std::size_t bytes = 0; bytes < least_bytes; bytes += result.back().panels().size()) {
    result.emplace_back(kernels::StridedMatrix{reinterpret_cast<const std::byte*>(source.data()),
                                               base::DType::kF32, n_out, n_in, n_in, 1},
                        product, pool);
  }
  return result;
}

std::size_t argument(const benchmark::State& state, std::size_t index) {
  return static_cast<std::size_t>(state.range(index));
}

/// A row times matrices that come from memory, as in decoding.
void matrix_one_row(benchmark::State& state, base::ProductFormat product) {
  const std::size_t n_out = argument(state, 0), n_in = argument(state, 1);
  kernels::ThreadPool pool(argument(state, 2));
  const auto weights = matrices(n_out, n_in, product, kBeyondCaches, pool);
  std::vector<float> x = numbers(n_in), y(n_out);
  const double seconds = median_seconds(state, [&](std::size_t i) {
    kernels::multiply(pool, {x.data(), 1, n_in}, weights[i % weights.size()], {y.data(), 1, n_out});
  });
  tell_bandwidth(state, pool, static_cast<double>(weights[0].panels().size()) / seconds);
}

/// Many rows times one matrix, as in reading a prompt; one thread.
void matrix_many_rows(benchmark::State& state, base::ProductFormat product) {
  const std::size_t rows = argument(state, 0), n_out = argument(state, 1);
  const std::size_t n_in = argument(state, 2);
  kernels::ThreadPool pool(1);
  const auto weights = matrices(n_out, n_in, product, 1, pool);
  std::vector<float> x = numbers(rows * n_in), y(rows * n_out);
  const double seconds = median_seconds(state, [&](std::size_t) {
    kernels::multiply(pool, {x.data(), rows, n_in}, weights[0], {y.data(), rows, n_out});
  });
  tell_flops(state, 2.0 * static_cast<double>(rows * n_out * n_in) / seconds);
}

/// The recurrence of one head over a slice. Flops are those of the state's update and of its
/// product with the receptance (model-spec section 7); what makes its inputs counts as time, not as
/// flops.
void recurrence(benchmark::State& state) {
  constexpr std::size_t kSize = kernels::kHeadSize;
  const std::size_t n_tokens = argument(state, 0);
  const std::vector<float> in = numbers(n_tokens * kSize), parameters = numbers(kSize);
  const std::vector<float> decays(n_tokens * kSize, 0.97F);
  std::vector<float> matrix(kernels::kHeadStateSize), out(n_tokens * kSize);
  const MatView<const float> rows(in.data(), n_tokens, kSize);
  const MatView<const float> decay_rows(decays.data(), n_tokens, kSize);
  const double seconds = median_seconds(state, [&](std::size_t) {
    kernels::time_mix_head({parameters, parameters, parameters, parameters, parameters},
                           {rows, decay_rows, rows, rows, rows, rows}, matrix,
                           {out.data(), n_tokens, kSize});
  });
  tell_flops(state, static_cast<double>(9 * kSize * kSize * n_tokens) / seconds);
}

/// Queries of one head with all rows of a chunk. One query reads chunks that come from memory.
void attention(benchmark::State& state, base::KvFormat format, base::Activations activations) {
  constexpr std::size_t kSize = kernels::kHeadSize;
  const std::size_t n_queries = argument(state, 0), n_rows = argument(state, 1);
  const kernels::HeadLayout layout(format, n_rows);
  const std::size_t n_chunks =
      n_queries == 1 ? kBeyondCaches / layout.size_bytes() : std::size_t{1};
  base::Buffer<std::byte> cache(n_chunks * layout.size_bytes(), base::Pages::kLarge);
  const std::vector<float> row = numbers(kSize);
  for (std::size_t i = 0; i < n_chunks * n_rows; ++i) {
    layout.put(cache.data() + i / n_rows * layout.size_bytes(), i % n_rows, row, row);
  }
  const std::vector<float> q = numbers(n_queries * kSize);
  const std::vector<std::uint32_t> last(n_queries, static_cast<std::uint32_t>(n_rows));
  std::vector<kernels::Partial> partials(n_queries);
  const double seconds = median_seconds(state, [&](std::size_t i) {
    kernels::attend({q.data(), n_queries, kSize},
                    layout.rows(cache.data() + i % n_chunks * layout.size_bytes()), 0, last,
                    partials, {}, activations);
  });
  if (n_queries == 1) {
    kernels::ThreadPool pool(1);
    tell_bandwidth(state, pool, static_cast<double>(layout.size_bytes()) / seconds);
  } else {
    tell_flops(state, 4.0 * static_cast<double>(n_queries * n_rows * kSize) / seconds);
  }
}

void list_benchmarks() {
  for (const base::ProductFormat product : base::kProductFormats) {
    const std::string name = text_of(product);
    benchmark::RegisterBenchmark(("matrix_one_row/" + name).c_str(), matrix_one_row, product)
        ->ArgNames({"out", "in", "threads"})
        ->ArgsProduct({{768, 3072}, {768}, {1, 2}})
        ->ArgsProduct({{2560}, {2560}, {1, 2}})
        ->ArgsProduct({{65536}, {768}, {1, 2}})
        ->UseRealTime();
    benchmark::RegisterBenchmark(("matrix_many_rows/" + name).c_str(), matrix_many_rows, product)
        ->ArgNames({"rows", "out", "in"})
        ->Args({512, 768, 768})
        ->Args({512, 2560, 2560})
        ->Args({512, 10240, 2560})
        ->UseRealTime();
  }
  benchmark::RegisterBenchmark("recurrence", recurrence)->ArgName("tokens")->Arg(256);
  for (const auto format : {base::KvFormat::kF32, base::KvFormat::kBf16, base::KvFormat::kInt8}) {
    for (const auto activations : {base::Activations::kF32, base::Activations::kBf16}) {
      if (format == base::KvFormat::kF32 && activations != base::Activations::kF32) continue;
      const std::string name =
          fmt::format("attention/{}/{}", name_of(format), name_of(activations));
      benchmark::RegisterBenchmark(name.c_str(), attention, format, activations)
          ->ArgNames({"queries", "rows"})
          ->ArgsProduct({{1, 6, 12, 16, 64}, {2048}});
    }
  }
}

}  // namespace
}  // namespace longreach::bench

int main(int argc, char** argv) {
  try {
    benchmark::AddCustomContext("isa", longreach::kernels::active_isa());
    longreach::bench::list_benchmarks();
    benchmark::Initialize(&argc, argv);
    if (benchmark::ReportUnrecognizedArguments(argc, argv)) return 2;
    benchmark::RunSpecifiedBenchmarks();
    benchmark::Shutdown();
  } catch (const std::exception& error) {
    std::cerr << "kernels_bench: " << error.what() << '\n';
    return 2;
  }
}
