#include "dist/comm/machine_report.hpp"

#include "dist/comm/gather_texts.hpp"
#include "kernels/base/error.hpp"

#include <cereal/archives/portable_binary.hpp>
#include <cereal/types/string.hpp>
#include <cereal/types/vector.hpp>

#include <sstream>

namespace longreach::dist {

template <typename Archive>
void serialize(Archive& archive, Core& core) {
  archive(core.domain, core.id);
}

template <typename Archive>
void serialize(Archive& archive, MachineReport& report, std::uint32_t /*version*/) {
  archive(report.host, report.isas, report.isa, report.cores, report.bound, report.granted_cores,
          report.memory_bytes, report.yields, report.run);
}

std::vector<MachineReport> gather(Communicator& communicator, const MachineReport& own) {
  std::ostringstream written;
  cereal::PortableBinaryOutputArchive{written}(own);
  const std::vector<std::string> texts = gather_texts(communicator, written.str());
  std::vector<MachineReport> reports(texts.size());
  for (std::size_t rank = 0; rank < texts.size(); ++rank) {
    std::istringstream text(texts[rank]);
    try {
      cereal::PortableBinaryInputArchive{text}(reports[rank]);
    } catch (const cereal::Exception&) {
      base::input_error("rank {} describes itself in another form, do all nodes run one build?",
                        rank);
    }
  }
  return reports;
}

}  // namespace longreach::dist
