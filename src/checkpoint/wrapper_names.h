// The parts that training tools put into the names of a model's tensors.
#pragma once

#include <functional>
#include <map>
#include <set>
#include <string>
#include <string_view>

#include "instructblip/checkpoint/checkpoint.h"

namespace instructblip {

/// A tensor's name without the parts that wrappers put into it. `removed` receives these parts,
/// each with its dot.
std::string without_wrappers(std::string_view name, std::set<std::string>& removed);

/// The text before `probe` in the only name that ends with it: "model." for "model.query_tokens".
/// Empty if a tensor is called `probe`, or if no name ends with it. Throws CheckpointError, which
/// begins with `where`, if there are several.
std::string prefix_before(std::string_view probe,
                          const std::map<std::string, CheckpointTensor, std::less<>>& tensors,
                          const std::string& where);

}  // namespace instructblip
