#include "picture_index.h"

#include <algorithm>
#include <iostream>
#include <map>
#include <nlohmann/json.hpp>
#include <optional>
#include <system_error>
#include <utility>

#include "pictures.h"
#include "report.h"

namespace examples {

using namespace instructblip;
namespace fs = std::filesystem;

namespace {

constexpr const char* kEmbeds = "image_embeds";
constexpr double kSecondsBetweenWrites = 60;

using Values = std::vector<float>;

// By which the file knows a picture, whatever the current folder is.
std::string name_of(const fs::path& picture) {
  return fs::absolute(picture).lexically_normal().string();
}

// "SIZE TIME" of a file; it changes when the file does.
std::string stamp_of(const fs::path& path) {
  std::error_code code;
  const auto size = fs::file_size(path, code);
  const auto time = fs::last_write_time(path, code).time_since_epoch().count();
  return code ? "" : std::to_string(size) + " " + std::to_string(time);
}

// Changes with the files of the model and with what else changes embeddings.
std::string model_stamp(const PictureIndex::Options& options) {
  std::string stamp = options.dtype;
  std::vector<fs::path> files;
  for (const auto& entry : fs::directory_iterator(options.model)) {
    const std::string ending = entry.path().extension().string();
    if (ending == ".safetensors" || ending == ".bin" || ending == ".json") {
      files.push_back(entry.path());
    }
  }
  std::sort(files.begin(), files.end());
  for (const fs::path& file : files) {
    stamp += "; " + file.filename().string() + " " + stamp_of(file);
  }
  return stamp;
}

// What is known of each picture: its stamp and its embedding.
struct Known {
  std::string stamp;
  Values values;
};

class IndexFile {
 public:
  explicit IndexFile(const PictureIndex::Options& options)
      : path_(options.file), model_(model_stamp(options)) {}

  std::map<std::string, Known> read() const {
    std::error_code ignored;
    if (path_.empty() || !fs::exists(path_, ignored)) return {};
    try {
      const SafetensorsFile file(path_, false);
      const auto& metadata = file.metadata();
      const auto embeds = file.find(kEmbeds);
      if (!embeds || embeds->rank() != 3 || !metadata.contains("pictures")) {
        throw CheckpointError(path_.string() + " holds no embeddings of pictures");
      }
      if (metadata.find("model")->second != model_) return {};
      const auto names = nlohmann::json::parse(metadata.find("pictures")->second);
      const Tensor all = Tensor::copy_of(*embeds);
      if (std::ssize(names) != all.dim(0)) {
        throw CheckpointError(path_.string() + ": its names and embeddings differ in number");
      }
      std::map<std::string, Known> known;
      const std::ptrdiff_t width = all.dim(1) * all.dim(2);
      for (std::size_t i = 0; i < names.size(); ++i) {
        const float* from = all.data<float>() + static_cast<Index>(i) * width;
        known[names[i].at(0).get<std::string>()] = {names[i].at(1).get<std::string>(),
                                                    Values(from, from + width)};
      }
      return known;
    } catch (const std::exception& error) {
      log_warning(std::string("the index of pictures is made anew: ") + error.what());
      return {};
    }
  }

  /// Logs a warning, once, if the file cannot be written.
  void write(const std::vector<fs::path>& pictures, const std::vector<std::string>& stamps,
             const Tensor& embeds) {
    if (path_.empty() || embeds.empty()) return;
    nlohmann::json names = nlohmann::json::array();
    for (std::size_t i = 0; i < pictures.size(); ++i) {
      names.push_back({name_of(pictures[i]), stamps[i]});
    }
    try {
      save_safetensors(
          path_, {{kEmbeds, embeds}},
          {{"model", model_},
           {"pictures", names.dump(-1, ' ', false, nlohmann::json::error_handler_t::replace)}});
    } catch (const Error& error) {
      log_warning(std::string("the embeddings are not kept: ") + error.what());
      path_.clear();
    }
  }

 private:
  fs::path path_;
  std::string model_;
};

Tensor as_tensor(const std::vector<Values>& rows, const Blip2Config& config) {
  const Index queries = config.num_query_tokens, width = config.image_text_hidden_size;
  Values all;
  for (const Values& row : rows) all.insert(all.end(), row.begin(), row.end());
  return Tensor(all, {std::ssize(rows), queries, width});
}

}  // namespace

PictureIndex::PictureIndex(const std::vector<fs::path>& pictures,
                           const ImageTextRetrieval& retrieval, const Options& options) {
  IndexFile file(options);
  const Blip2Config& config = retrieval.model.config();
  std::map<std::string, Known> known = file.read();
  std::vector<std::string> stamps;
  std::vector<Values> rows;
  std::vector<fs::path> unknown;
  for (const fs::path& picture : pictures) {
    const auto found = known.find(name_of(picture));
    std::string stamp = stamp_of(picture);
    if (found == known.end() || found->second.stamp != stamp) {
      unknown.push_back(picture);
      continue;
    }
    pictures_.push_back(picture);
    stamps.push_back(std::move(stamp));
    rows.push_back(std::move(found->second.values));
  }
  const bool has_changed = !unknown.empty() || known.size() != rows.size();

  StatusLine status(!options.quiet);
  const Stopwatch watch;
  Stopwatch since_written;
  for (std::size_t begin = 0; begin < unknown.size(); begin += options.batch_size) {
    const std::size_t end = std::min(begin + options.batch_size, unknown.size());
    std::vector<Image> images;
    for (std::size_t i = begin; i < end; ++i) {
      try {
        std::string stamp = stamp_of(unknown[i]);  // before it is read: it may change meanwhile
        images.push_back(open_picture(unknown[i]));
        pictures_.push_back(unknown[i]);
        stamps.push_back(std::move(stamp));
      } catch (const ImageError& error) {  // continue with the other pictures
        ++unreadable_;
        status.clear();
        std::cerr << "error: " << error.what() << '\n';
      }
    }
    if (!images.empty()) {
      const Tensor embeds = retrieval.embed_images(images);
      const Index width = embeds.dim(1) * embeds.dim(2);
      for (Index i = 0; i < embeds.dim(0); ++i) {
        const float* from = embeds.data<float>() + i * width;
        rows.emplace_back(from, from + width);
      }
      computed_ += images.size();
    }
    status.show("embedding " + progress_text(end, unknown.size(), "picture", watch.seconds()));
    if (since_written.seconds() > kSecondsBetweenWrites) {
      file.write(pictures_, stamps, as_tensor(rows, config));
      since_written = Stopwatch();
    }
  }
  embeds_ = as_tensor(rows, config);
  if (has_changed) file.write(pictures_, stamps, embeds_);
}

}  // namespace examples
