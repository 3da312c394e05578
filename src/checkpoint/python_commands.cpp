#include "checkpoint/python_commands.h"

namespace instructblip::python {
namespace {

// A text as a Python literal, escaped for the shell.
std::string literal(const std::string& text) {
  std::string escaped;
  for (const char c : text) {
    if (c == '\\')
      escaped += "\\\\\\\\";
    else if (c == '\'')
      escaped += "\\\\'";
    else if (c == '"' || c == '$' || c == '`')
      escaped += std::string("\\") + c;
    else
      escaped += c;
  }
  return "'" + escaped + "'";
}

constexpr const char* kModel =
    "from transformers import InstructBlipForConditionalGeneration as Model; ";

}  // namespace

std::string convert_checkpoint(const std::filesystem::path& folder) {
  const std::string name = literal(folder.string());
  return std::string("python -c \"") + kModel + "Model.from_pretrained(" + name +
         ", dtype='auto').save_pretrained(" + name + ")\"";
}

std::string convert_adapter(const std::filesystem::path& folder) {
  return "python -c \"import torch; from safetensors.torch import save_file; save_file({k: "
         "v.contiguous() for k, v in torch.load(" +
         literal((folder / "adapter_model.bin").string()) +
         ", map_location='cpu', weights_only=True).items()}, " +
         literal((folder / "adapter_model.safetensors").string()) + ")\"";
}

std::string merge_adapter(const std::string& base, const std::filesystem::path& folder) {
  return std::string("python -c \"from peft import PeftModel; ") + kModel +
         "PeftModel.from_pretrained(Model.from_pretrained(" + literal(base) + ", dtype='auto'), " +
         literal(folder.string()) + ").merge_and_unload().save_pretrained('merged')\"";
}

}  // namespace instructblip::python
