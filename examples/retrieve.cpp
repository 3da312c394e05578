// Finds the pictures that fit a sentence:
//   retrieve --model FOLDER pictures "a red bus in front of a church"
#include <algorithm>
#include <cmath>
#include <iomanip>
#include <iostream>
#include <map>
#include <numeric>
#include <sstream>

#include "answers.h"
#include "contact_sheet.h"
#include "picture_index.h"
#include "pictures.h"
#include "program.h"
#include "report.h"

namespace {

using namespace instructblip;
namespace fs = std::filesystem;

struct Flags {
  examples::ModelFlags model;
  std::string folder;
  std::vector<std::string> sentences;
  std::size_t top = 10, rerank = 16, batch_size = 4;
  std::optional<fs::path> index;
  fs::path montage;
  bool recursive = false, json = false;
};

/// A picture that was found: its number in the index, its similarity to the sentence, and how
/// probable it is that the sentence describes it, if that was computed.
struct Hit {
  Index picture = 0;
  double similarity = 0;
  std::optional<double> match = {};
};

std::string with_digits(double value) {
  std::ostringstream text;
  text << std::fixed << std::setprecision(3) << value;
  return text.str();
}

// All pictures, the most similar first.
std::vector<Hit> rank(const Tensor& similarities, Index sentence) {
  std::vector<Hit> hits;
  for (Index i = 0; i < similarities.dim(0); ++i) {
    hits.push_back({i, similarities.at<float>({i, sentence})});
  }
  std::stable_sort(hits.begin(), hits.end(),
                   [](const Hit& a, const Hit& b) { return a.similarity > b.similarity; });
  return hits;
}

// Orders the first `count` hits of each sentence anew, by matching. A picture is encoded once for
// all sentences.
void rerank(const ImageTextRetrieval& retrieval, const examples::PictureIndex& index,
            const Flags& flags, std::vector<std::vector<Hit>>& hits) {
  std::map<Index, std::vector<std::pair<std::size_t, Hit*>>> wanted;
  for (std::size_t s = 0; s < hits.size(); ++s) {
    for (std::size_t i = 0; i < std::min(flags.rerank, hits[s].size()); ++i) {
      wanted[hits[s][i].picture].emplace_back(s, &hits[s][i]);
    }
  }
  examples::StatusLine status(!flags.model.quiet);
  const examples::Stopwatch watch;
  std::size_t done = 0;
  for (const auto& [picture, places] : wanted) {
    const Image image = examples::open_picture(index.pictures()[static_cast<std::size_t>(picture)]);
    std::vector<std::string> sentences;
    for (const auto& [sentence, hit] : places) sentences.push_back(flags.sentences[sentence]);
    const std::vector<double> matches = retrieval.match(image, sentences);
    for (std::size_t i = 0; i < places.size(); ++i) places[i].second->match = matches[i];
    status.show("matching " +
                examples::progress_text(++done, wanted.size(), "picture", watch.seconds()));
  }
  for (std::vector<Hit>& found : hits) {
    const auto end = found.begin() + static_cast<Index>(std::min(flags.rerank, found.size()));
    // As LAVIS' retrieval evaluation, which adds the similarity, too.
    const auto score = [](const Hit& hit) { return std::log(*hit.match) + hit.similarity; };
    std::stable_sort(found.begin(), end,
                     [&](const Hit& a, const Hit& b) { return score(a) > score(b); });
  }
}

void print(const Flags& flags, const examples::PictureIndex& index, std::size_t sentence,
           const std::vector<Hit>& hits) {
  const std::string& text = flags.sentences[sentence];
  if (!flags.json) std::cout << text << "\n  rank  match  similarity  picture\n";
  for (std::size_t i = 0; i < hits.size(); ++i) {
    const fs::path& file = index.pictures()[static_cast<std::size_t>(hits[i].picture)];
    if (flags.json) {
      std::cout << examples::json_line(file, text, i + 1, hits[i].similarity, hits[i].match)
                << '\n';
      continue;
    }
    std::cout << std::setw(6) << i + 1 << "  "
              << (hits[i].match ? with_digits(*hits[i].match) : "    -") << "  " << std::setw(10)
              << with_digits(hits[i].similarity) << "  " << file.string() << '\n';
  }
}

examples::SheetSection section(const Flags& flags, const examples::PictureIndex& index,
                               std::size_t sentence, const std::vector<Hit>& hits) {
  examples::SheetSection section{flags.sentences[sentence], {}};
  for (const Hit& hit : hits) {
    const fs::path& file = index.pictures()[static_cast<std::size_t>(hit.picture)];
    section.cells.push_back(
        {examples::open_picture(file),
         with_digits(hit.match.value_or(hit.similarity)) + " " + file.filename().string()});
  }
  return section;
}

// Beside the folder; none for a pattern.
fs::path default_index(const std::string& folder) {
  std::error_code ignored;
  if (!fs::is_directory(folder, ignored)) return {};
  fs::path path = fs::absolute(folder).lexically_normal();
  if (!path.has_filename()) path = path.parent_path();
  return path.concat(".retrieve.safetensors");
}

void retrieve(const Flags& flags) {
  const std::vector<fs::path> pictures = examples::find_pictures({flags.folder}, flags.recursive);
  if (!flags.montage.empty()) examples::require_writable(flags.montage);
  const ImageTextRetrieval retrieval = examples::load_retrieval_model(flags.model);
  const Tensor texts = retrieval.embed_texts(flags.sentences);
  const examples::Stopwatch watch;
  const examples::PictureIndex index(pictures, retrieval,
                                     {.file = flags.index.value_or(default_index(flags.folder)),
                                      .model = flags.model.model,
                                      .dtype = flags.model.dtype + " " + flags.model.weights,
                                      .batch_size = flags.batch_size,
                                      .quiet = flags.model.quiet});
  if (flags.model.timings) {
    examples::print_timing("embedding", examples::in_seconds(watch.seconds()) + " for " +
                                            examples::counted(index.computed(), "new picture"));
  }
  if (index.pictures().empty()) throw InputError("no picture could be read");
  const Tensor similarities = retrieval.model.similarity(index.image_embeds(), texts);
  std::vector<std::vector<Hit>> hits;
  for (Index s = 0; s < similarities.dim(1); ++s) hits.push_back(rank(similarities, s));
  const examples::Stopwatch matching;
  rerank(retrieval, index, flags, hits);
  if (flags.model.timings)
    examples::print_timing("matching", examples::in_seconds(matching.seconds()));
  std::vector<examples::SheetSection> sheet;
  for (std::size_t s = 0; s < hits.size(); ++s) {
    hits[s].resize(std::min(flags.top, hits[s].size()));
    print(flags, index, s, hits[s]);
    if (!flags.montage.empty()) sheet.push_back(section(flags, index, s, hits[s]));
  }
  if (!flags.montage.empty()) examples::write_contact_sheet(flags.montage, sheet);
  if (index.unreadable() > 0) {
    throw InputError(std::to_string(index.unreadable()) + " of " +
                     examples::counted(pictures.size(), "picture") + " could not be read");
  }
}

}  // namespace

int main(int argc, char** argv) {
  CLI::App app{
      "Ranks the pictures of a folder by how well they fit a sentence. The pictures are embedded "
      "once\nand compared with each sentence (ITC); the best are then read together with it "
      "(ITM)."};
  Flags flags;
  examples::add_model_flags(app, flags.model);
  app.add_option(
         "pictures", flags.folder,
         "folder of pictures, or a pattern in quotes: " + std::string(examples::kPictureHelp))
      ->required()
      ->type_name("FOLDER");
  app.add_option("sentences", flags.sentences, "what to look for")
      ->required()
      ->check(examples::check_text)
      ->type_name("TEXT");
  app.add_option("-n,--top", flags.top, "pictures to print for each sentence")
      ->check(examples::check_at_least<1>)
      ->capture_default_str();
  app.add_option("--rerank", flags.rerank,
                 "how many of the most similar pictures are matched and ordered anew; 0: none")
      ->check(examples::check_at_least<0>)
      ->capture_default_str();
  app.add_option("--index", flags.index,
                 "file that keeps the embeddings; default: beside the folder, "
                 "FOLDER.retrieve.safetensors; \"\": none")
      ->type_name("FILE");
  app.add_option("--montage", flags.montage, "write a contact sheet of the pictures found (PNG)")
      ->type_name("FILE");
  app.add_option("--batch-size", flags.batch_size, "pictures that are embedded at a time")
      ->check(CLI::Range(1, 256))
      ->capture_default_str();
  app.add_flag("-r,--recursive", flags.recursive, "look into the folder's folders, too");
  app.add_flag("--json", flags.json, "print one JSON object per picture found");
  return examples::run_program(app, argc, argv, flags.model, [&] { retrieve(flags); });
}
