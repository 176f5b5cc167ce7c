#include "dist/comm/world.hpp"

#include "dist/comm/lone_communicator.hpp"
#include "dist/comm/mpi_communicator.hpp"
#include "kernels/base/error.hpp"
#include "kernels/base/write_all.hpp"

#include <fmt/format.h>

#include <unistd.h>

#include <algorithm>
#include <array>
#include <cstdlib>
#include <exception>

namespace longreach::dist {
namespace {

constexpr int kExitCode = 2;

bool world_exists = false;

/// Whether mpirun, srun or the like started the process. Without one MPI_Init would make a job of
/// one rank, for which Open MPI starts a daemon and takes a second.
bool launched() {
  return std::ranges::any_of(std::array{"OMPI_COMM_WORLD_SIZE", "PMIX_RANK", "PMI_RANK"},
                             [](const char* name) { return std::getenv(name) != nullptr; });
}

}  // namespace

std::string host_name() {
  std::array<char, 256> name{};
  return gethostname(name.data(), name.size() - 1) == 0 ? name.data() : "localhost";
}

World::World()
    : under_launcher_(launched()), n_exceptions_(std::uncaught_exceptions()), host_(host_name()) {
  LR_CHECK(!std::exchange(world_exists, true));
  if (under_launcher_) {
    start_mpi();
    communicator_ = mpi_communicator();
  } else {
    communicator_ = std::make_unique<LoneCommunicator>();
  }
}

World::~World() {
  world_exists = false;
  if (std::uncaught_exceptions() != n_exceptions_) return;
  communicator_.reset();
  if (under_launcher_) finish_mpi();
}

void World::abort_all(const std::string& message) noexcept {
  base::write_message(fmt::format("longreach: rank {} on {}: {}\n", rank(), host_, message));
  if (under_launcher_) abort_mpi(kExitCode);
  std::_Exit(kExitCode);
}

}  // namespace longreach::dist
