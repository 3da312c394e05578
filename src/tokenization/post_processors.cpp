#include "tokenization/post_processors.h"

#include "core/json_reader.h"
#include "tokenization/models.h"

namespace instructblip::tokenization {

PostProcessor::PostProcessor(const JsonValue& section) {
  if (!section.is_null()) read(section);
}

void PostProcessor::read(const JsonValue& section) {
  const std::string type = section.require<std::string>("type");
  if (type == "ByteLevel") return;  // only changes offsets
  if (type == "TemplateProcessing") return read_template(section);
  if (type == "BertProcessing" || type == "RobertaProcessing") {
    steps_.push_back({std::vector{read_id(section.at("cls").at(1))}, std::nullopt,
                      std::vector{read_id(section.at("sep").at(1))}});
    added_ += 2;
    return;
  }
  if (type == "Sequence") {
    for (const JsonValue& part : section.at("processors").elements()) read(part);
    return;
  }
  section.fail("the post-processor \"" + type +
               "\" is not supported; BertProcessing, ByteLevel, RobertaProcessing, Sequence and "
               "TemplateProcessing are");
}

void PostProcessor::read_template(const JsonValue& section) {
  Template step;
  for (const JsonValue& item : section.at("single").elements()) {
    if (const auto sequence = item.get("Sequence")) {
      if (sequence->require<std::string>("id") != "A")
        sequence->at("id").expected("\"A\", because pairs of texts are not supported");
      step.emplace_back(std::nullopt);
      continue;
    }
    const std::string name = item.at("SpecialToken").require<std::string>("id");
    std::vector<std::int64_t> values;
    for (const JsonValue& id : section.at("special_tokens").at(name).at("ids").elements()) {
      values.push_back(read_id(id));
    }
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
