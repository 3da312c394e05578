#include "checkpoint/wrapper_names.h"

#include <algorithm>
#include <array>

#include "instructblip/core/error.h"

namespace instructblip {
namespace {

// Parts that no module of a model is called, wherever they stand in a name.
constexpr std::array<std::string_view, 6> kWrappers = {
    "_orig_mod",                   // torch.compile
    "_fsdp_wrapped_module",        // FSDP
    "_checkpoint_wrapped_module",  // activation checkpointing
    "_forward_module",             // Lightning Fabric, DeepSpeed in Lightning
    "_fpw_module",                 // FairScale's FSDP
    "module",                      // DataParallel, DistributedDataParallel, DeepSpeed, Horovod
};

}  // namespace

std::string without_wrappers(std::string_view name, std::set<std::string>& removed) {
  std::string bare;
  bool is_first = true;
  for (std::size_t begin = 0; begin <= name.size();) {
    const std::size_t end = std::min(name.find('.', begin), name.size());
    const std::string_view part = name.substr(begin, end - begin);
    // The last part names the tensor itself.
    if (end < name.size() &&
        std::find(kWrappers.begin(), kWrappers.end(), part) != kWrappers.end()) {
      removed.insert(std::string(part) + ".");
    } else {
      bare.append(is_first ? "" : ".").append(part);
      is_first = false;
    }
    begin = end + 1;
  }
  return bare;
}

std::string prefix_before(std::string_view probe,
                          const std::map<std::string, CheckpointTensor, std::less<>>& tensors,
                          const std::string& where) {
  if (tensors.contains(probe)) return "";
  std::set<std::string> prefixes;
  for (const auto& [name, tensor] : tensors) {
    if (name.size() > probe.size() + 1 && name.ends_with(probe) &&
        name[name.size() - probe.size() - 1] == '.') {
      prefixes.insert(name.substr(0, name.size() - probe.size()));
    }
  }
  if (prefixes.size() < 2) return prefixes.empty() ? "" : *prefixes.begin();
  std::string shown;
  for (const std::string& prefix : prefixes) shown += (shown.empty() ? "" : ", ") + prefix;
  throw CheckpointError(where + ": holds several models, whose tensors begin with " + shown +
                        "; save the one that is meant without the others");
}

}  // namespace instructblip
