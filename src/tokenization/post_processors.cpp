#include "tokenization/post_processors.h"

namespace instructblip::tokenization {

PostProcessor::PostProcessor(const JsonSection& section) {
  if (!section.is_null()) read(section);
}

void PostProcessor::read(const JsonSection& section) {
  const std::string type = section.string("type");
  if (type == "ByteLevel") return;  // changes only offsets
  if (type == "TemplateProcessing") return read_template(section);
  if (type == "BertProcessing" || type == "RobertaProcessing") {
    steps_.push_back({std::vector{section.at("cls").at(1).id()}, std::nullopt,
                      std::vector{section.at("sep").at(1).id()}});
    added_ += 2;
    return;
  }
  if (type == "Sequence") {
    const JsonSection parts = section.at("processors");
    for (std::size_t i = 0; i < parts.size(); ++i) read(parts.at(i));
    return;
  }
  section.fail("the post-processor \"" + type +
               "\" is not supported; BertProcessing, ByteLevel, RobertaProcessing, Sequence and "
               "TemplateProcessing are");
}

void PostProcessor::read_template(const JsonSection& section) {
  const JsonSection items = section.at("single");
  Template step;
  for (std::size_t i = 0; i < items.size(); ++i) {
    const JsonSection item = items.at(i);
    if (const auto sequence = item.find("Sequence")) {
      if (sequence->string("id") != "A") sequence->at("id").expected("\"A\", the only text");
      step.emplace_back(std::nullopt);
      continue;
    }
    const std::string name = item.at("SpecialToken").string("id");
    const JsonSection ids = section.at("special_tokens").at(name).at("ids");
    std::vector<std::int64_t> values;
    for (std::size_t j = 0; j < ids.size(); ++j) values.push_back(ids.at(j).id());
    added_ += static_cast<std::int64_t>(values.size());
    step.emplace_back(std::move(values));
  }
  steps_.push_back(std::move(step));
}

std::vector<std::int64_t> PostProcessor::process(std::vector<std::int64_t> ids) const {
  for (const Template& step : steps_) {
    std::vector<std::int64_t> processed;
    processed.reserve(ids.size() + to_size(added_));
    for (const auto& item : step) {
      const std::vector<std::int64_t>& values = item ? *item : ids;
      processed.insert(processed.end(), values.begin(), values.end());
    }
    ids = std::move(processed);
  }
  return ids;
}

Json PostProcessor::template_processing(const std::vector<Item>& single,
                                        const std::vector<Item>& pair) {
  Json tokens = Json::object();
  const auto template_of = [&](const std::vector<Item>& items) {
    Json list = Json::array();
    for (const Item& item : items) {
      const std::string id = item.id ? item.token : item.token.substr(1);
      Json value = Json::object();
      value[item.id ? "SpecialToken" : "Sequence"] = {{"id", id}, {"type_id", item.type}};
      list.push_back(std::move(value));
      if (item.id) {
        tokens[id] = {{"id", id}, {"ids", Json::array({*item.id})}, {"tokens", Json::array({id})}};
      }
    }
    return list;
  };
  Json json = {{"type", "TemplateProcessing"}};
  json["single"] = template_of(single);
  json["pair"] = template_of(pair);
  json["special_tokens"] = tokens;
  return json;
}

}  // namespace instructblip::tokenization
