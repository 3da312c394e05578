#include "instructblip/checkpoint/safetensors.h"

#include <algorithm>
#include <array>
#include <bit>
#include <cstdint>
#include <cstring>
#include <limits>
#include <mutex>

#include "checkpoint/mapped_file.h"
#include "core/json_reader.h"
#include "instructblip/core/error.h"

namespace instructblip {
namespace {

static_assert(std::endian::native == std::endian::little, "the format is little-endian");

using Entries = std::map<std::string, SafetensorsEntry, std::less<>>;

// The length of the header precedes it; the format limits it.
constexpr std::size_t kLengthBytes = 8;
constexpr std::uint64_t kLongestHeader = 100'000'000;

struct StoredType {
  std::string_view name;
  std::size_t bytes;
  std::optional<DType> dtype;  // none: listed, but cannot be read
};

constexpr std::array kStoredTypes = {
    StoredType{"F32", 4, DType::Float32},
    StoredType{"F16", 2, DType::Float16},
    StoredType{"BF16", 2, DType::BFloat16},
    StoredType{"I64", 8, DType::Int64},
    StoredType{"I32", 4, DType::Int32},
    StoredType{"I8", 1, DType::Int8},
    StoredType{"U8", 1, DType::UInt8},
    StoredType{"BOOL", 1, DType::Bool},
    StoredType{"F64", 8, {}},
    StoredType{"I16", 2, {}},
    StoredType{"U16", 2, {}},
    StoredType{"U32", 4, {}},
    StoredType{"U64", 8, {}},
    StoredType{"F8_E5M2", 1, {}},
    StoredType{"F8_E4M3", 1, {}},
};

const StoredType* stored_type(std::string_view name) {
  const auto found = std::find_if(kStoredTypes.begin(), kStoredTypes.end(),
                                  [&](const StoredType& type) { return type.name == name; });
  return found == kStoredTypes.end() ? nullptr : &*found;
}

// A count from the header, checked to fit in memory; `what` names it.
std::size_t read_count(const Json& value, const std::string& what) {
  if (!value.is_number_unsigned() ||
      value.get<std::uint64_t>() > std::uint64_t{std::numeric_limits<Index>::max()}) {
    throw CheckpointError(what + ": expected a whole number from 0 to 2^63 - 1, found " +
                          value.dump().substr(0, 60));
  }
  return value.get<std::size_t>();
}

const Json& member(const Json& object, const char* key, const std::string& where) {
  const auto found = object.find(key);
  if (found == object.end()) throw CheckpointError(where + ": the header lacks \"" + key + "\"");
  return *found;
}

std::size_t elements_of(const SafetensorsEntry& entry, const std::string& where) {
  try {
    return to_size(element_count(entry.shape));
  } catch (const InputError& error) {
    throw CheckpointError(where + ": " + error.what());
  }
}

SafetensorsEntry read_entry(const Json& value, const std::string& where, std::size_t data_begin,
                            std::size_t data_bytes) {
  if (!value.is_object()) throw CheckpointError(where + ": expected an object in the header");
  SafetensorsEntry entry;
  const Json& dtype = member(value, "dtype", where);
  if (!dtype.is_string())
    throw CheckpointError(where + ": expected a string for \"dtype\" in the header, found " +
                          dtype.dump().substr(0, 80));
  entry.dtype = dtype.get<std::string>();
  const Json& shape = member(value, "shape", where);
  if (!shape.is_array())
    throw CheckpointError(where + ": expected a list for \"shape\" in the header, found " +
                          shape.dump().substr(0, 80));
  for (const Json& dim : shape) {
    entry.shape.push_back(static_cast<Index>(read_count(dim, where + ", \"shape\"")));
  }
  const Json& offsets = member(value, "data_offsets", where);
  if (!offsets.is_array() || offsets.size() != 2) {
    throw CheckpointError(where + ": \"data_offsets\" is not a pair");
  }
  const std::size_t begin = read_count(offsets[0], where + ", \"data_offsets\"");
  const std::size_t end = read_count(offsets[1], where + ", \"data_offsets\"");
  if (begin > end || end > data_bytes) {
    throw CheckpointError(where + ": data_offsets [" + std::to_string(begin) + ", " +
                          std::to_string(end) + "] lie outside the file's " +
                          std::to_string(data_bytes) +
                          " bytes of data; the file is truncated or damaged, fetch it again");
  }
  entry.offset = data_begin + begin;
  entry.bytes = end - begin;
  // The products cannot overflow: element_count leaves room for 8-byte elements.
  const std::size_t count = elements_of(entry, where);
  const StoredType* type = stored_type(entry.dtype);
  if (type ? entry.bytes != count * type->bytes : entry.bytes < count / 8) {
    throw CheckpointError(
        where + ": " + entry.dtype + " " + to_string(entry.shape) + " takes " +
        (type ? std::to_string(count * type->bytes) : "at least " + std::to_string(count / 8)) +
        " bytes, its data_offsets span " + std::to_string(entry.bytes));
  }
  return entry;
}

// As the format requires: the tensors fill the file without overlaps or gaps.
void check_layout(const Entries& entries, std::size_t data_begin, std::size_t data_bytes,
                  const std::string& file) {
  std::vector<Entries::const_iterator> order;
  for (auto it = entries.begin(); it != entries.end(); ++it) order.push_back(it);
  std::sort(order.begin(), order.end(), [](auto a, auto b) {
    return std::pair(a->second.offset, a->second.bytes) <
           std::pair(b->second.offset, b->second.bytes);
  });
  std::size_t reached = data_begin;
  for (const auto& it : order) {
    if (it->second.offset != reached) {
      throw CheckpointError(
          file + ": tensor " + it->first + " begins at byte " + std::to_string(it->second.offset) +
          ", but the previous one ends at byte " + std::to_string(reached) +
          (it->second.offset < reached ? ": they overlap" : ": there is a gap between them"));
    }
    reached += it->second.bytes;
  }
  if (reached != data_begin + data_bytes) {
    throw CheckpointError(file + ": its tensors end at byte " + std::to_string(reached) +
                          ", the file at byte " + std::to_string(data_begin + data_bytes) +
                          "; it is truncated or damaged, fetch it again");
  }
}

// The header at the beginning of a file of `size` bytes. read(offset, bytes) returns bytes of the
// file that are valid until its next call.
template <class Read>
std::string_view header_of(std::size_t size, const Read& read, const std::string& name) {
  if (size == 0) throw CheckpointError(name + ": it is empty; fetch it again");
  const std::string_view beginning = read(0, std::min<std::size_t>(size, 200));
  const std::string foreign = foreign_contents(beginning);
  if (!foreign.empty()) throw CheckpointError(name + ": " + foreign);
  if (size < kLengthBytes) {
    throw CheckpointError(
        name + ": " + std::to_string(size) +
        " bytes are too few for a safetensors file; it is truncated, fetch it again");
  }
  std::uint64_t length = 0;
  std::memcpy(&length, beginning.data(), kLengthBytes);
  if (length > kLongestHeader) {
    throw CheckpointError(name + ": not a safetensors file (its first 8 bytes would mean a " +
                          "header of " + std::to_string(length) + " bytes); fetch it again");
  }
  if (length > size - kLengthBytes) {
    throw CheckpointError(name + ": the header is " + std::to_string(length) +
                          " bytes long, but the file only has " + std::to_string(size) +
                          "; it is truncated, fetch it again");
  }
  return read(kLengthBytes, static_cast<std::size_t>(length));
}

}  // namespace

struct SafetensorsFile::Contents {
  Contents(const std::filesystem::path& path, bool memory_map) : path(path) {
    if (memory_map) {
      mapped.emplace(path);
      const auto* text = reinterpret_cast<const char*>(mapped->data());
      read_header(mapped->size(), [&](std::size_t offset, std::size_t bytes) {
        return std::string_view(text + offset, bytes);
      });
    } else {
      file.emplace(path);
      std::string text;
      read_header(file->size(), [&](std::size_t offset, std::size_t bytes) {
        text.resize(bytes);
        file->read(offset, bytes, text.data());
        return std::string_view(text);
      });
    }
  }

  template <class Read>
  void read_header(std::size_t size, const Read& read) {
    const std::string name = path.string();
    const std::string_view header = header_of(size, read, name);
    const std::size_t data_begin = kLengthBytes + header.size();
    const std::size_t data_bytes = size - data_begin;
    const Json json = parse_json<CheckpointError>(header, name + " (header)");
    if (!json.is_object()) throw CheckpointError(name + ": the header is not a JSON object");
    for (const auto& [key, value] : json.items()) {
      if (key == "__metadata__") {
        read_metadata(value, name);
      } else {
        entries.emplace(key, read_entry(value, name + ": tensor " + key, data_begin, data_bytes));
      }
    }
    check_layout(entries, data_begin, data_bytes, name);
  }

  void read_metadata(const Json& value, const std::string& name) {
    if (!value.is_object()) throw CheckpointError(name + ": \"__metadata__\" is not an object");
    for (const auto& [key, text] : value.items()) {
      if (!text.is_string()) {
        throw CheckpointError(name + ": \"__metadata__\", key \"" + key + "\": not a string");
      }
      metadata.emplace(key, text.get<std::string>());
    }
  }

  // A tensor of the file that is not mapped. One that several parts of a model share is read once.
  std::shared_ptr<const Tensor> read_tensor(const std::string& name, const SafetensorsEntry& entry,
                                            DType dtype) const {
    const std::lock_guard lock(mutex);
    std::weak_ptr<const Tensor>& known = in_use[name];
    if (auto tensor = known.lock()) return tensor;
    auto tensor = std::make_shared<Tensor>(Tensor::uninitialized(dtype, entry.shape));
    file->read(entry.offset, entry.bytes, tensor->raw());
    known = tensor;
    return tensor;
  }

  std::filesystem::path path;
  std::optional<MappedFile> mapped;  // or
  std::optional<OpenFile> file;
  mutable std::mutex mutex;
  mutable std::map<std::string, std::weak_ptr<const Tensor>> in_use;
  Entries entries;
  std::map<std::string, std::string, std::less<>> metadata;
};

namespace {

// The owner of a tensor that lies in a mapped file. Its pages leave the process's memory with it:
// of a weight that was copied into another form, only the copy stays.
class MappedTensor {
 public:
  MappedTensor(std::shared_ptr<const void> file, const std::byte* data, std::size_t bytes)
      : file_(std::move(file)), data_(data), bytes_(bytes) {}
  MappedTensor(const MappedTensor&) = delete;
  MappedTensor& operator=(const MappedTensor&) = delete;
  ~MappedTensor() { release(data_, bytes_); }

 private:
  std::shared_ptr<const void> file_;
  const std::byte* data_;
  std::size_t bytes_;
};

}  // namespace

SafetensorsFile::SafetensorsFile(const std::filesystem::path& path, bool memory_map)
    : contents_(std::make_shared<const Contents>(path, memory_map)) {}

const std::filesystem::path& SafetensorsFile::path() const { return contents_->path; }

std::vector<std::string> SafetensorsFile::names() const {
  std::vector<std::string> names;
  for (const auto& [name, entry] : contents_->entries) names.push_back(name);
  return names;
}

const Entries& SafetensorsFile::entries() const { return contents_->entries; }

const std::map<std::string, std::string, std::less<>>& SafetensorsFile::metadata() const {
  return contents_->metadata;
}

std::optional<SharedTensor> SafetensorsFile::find(std::string_view name) const {
  const auto found = contents_->entries.find(name);
  if (found == contents_->entries.end()) return std::nullopt;
  const SafetensorsEntry& entry = found->second;
  const std::optional<DType> dtype = dtype_from_safetensors(entry.dtype);
  if (!dtype) {
    throw CheckpointError(path().string() + ": tensor " + found->first + " is stored as " +
                          entry.dtype + "; F32, F16, BF16, I64, I32, U8 and BOOL can be read. " +
                          "Save the checkpoint in one of these types");
  }
  if (!contents_->mapped) {
    auto tensor = contents_->read_tensor(found->first, entry, *dtype);
    const TensorView view = tensor->view();
    return SharedTensor(view, std::move(tensor));
  }
  const std::byte* data = contents_->mapped->data() + entry.offset;
  if (reinterpret_cast<std::uintptr_t>(data) % size_of(*dtype) == 0) {
    return SharedTensor(TensorView(data, *dtype, entry.shape),
                        std::make_shared<MappedTensor>(contents_, data, entry.bytes));
  }
  auto copy = std::make_shared<Tensor>(Tensor::uninitialized(*dtype, entry.shape));
  std::copy_n(data, entry.bytes, static_cast<std::byte*>(copy->raw()));
  const TensorView view = copy->view();
  return SharedTensor(view, std::move(copy));
}

std::optional<DType> dtype_from_safetensors(std::string_view name) {
  const StoredType* type = stored_type(name);
  return type == nullptr ? std::nullopt : type->dtype;
}

std::string_view safetensors_name_of(DType dtype) {
  return std::find_if(kStoredTypes.begin(), kStoredTypes.end(),
                      [&](const StoredType& type) { return type.dtype == dtype; })
      ->name;
}

}  // namespace instructblip
