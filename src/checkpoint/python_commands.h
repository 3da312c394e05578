// Shell commands for messages: what to run in Python where this library cannot read a file.
#pragma once

#include <filesystem>
#include <string>

namespace instructblip::python {

/// Saves a folder with pytorch_model*.bin as safetensors.
std::string convert_checkpoint(const std::filesystem::path& folder);
/// Saves a folder's adapter_model.bin as safetensors.
std::string convert_adapter(const std::filesystem::path& folder);
/// Merges an adapter into its base model, and saves the result in a new folder.
std::string merge_adapter(const std::string& base, const std::filesystem::path& folder);

}  // namespace instructblip::python
