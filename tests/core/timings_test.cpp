#include "instructblip/core/timings.h"

#include <thread>

#include "instructblip/core/progress.h"

namespace instructblip {
namespace {

TEST(TimingsTest, ZonesAreNotedOnlyWhileSomebodyCollects) {
  Timings timings;
  { const TimedZone zone("before"); }
  {
    const CollectTimings collect(timings);
    const TimedZone outer("outer");
    for (int i = 0; i < 3; ++i) const TimedZone inner("inner");
    std::thread([] { const TimedZone elsewhere("elsewhere"); }).join();
  }
  { const TimedZone zone("after"); }
  ASSERT_EQ(timings.zones().size(), 2u);
  EXPECT_EQ(timings.zones()[0].name, "inner");
  EXPECT_EQ(timings.find("inner")->count, 3);
  EXPECT_EQ(timings.find("outer")->count, 1);
  EXPECT_GE(timings.find("outer")->seconds, timings.find("inner")->seconds);
  EXPECT_EQ(timings.find("after"), nullptr);
  EXPECT_NE(timings.to_string().find("inner"), std::string::npos);
}

TEST(TimingsTest, TheInnermostCollectorGetsTheZones) {
  Timings outer, inner;
  const CollectTimings collect_outer(outer);
  {
    const CollectTimings collect_inner(inner);
    const TimedZone zone("zone");
  }
  { const TimedZone zone("zone"); }
  EXPECT_EQ(inner.find("zone")->count, 1);
  EXPECT_EQ(outer.find("zone")->count, 1);
}

TEST(TimingsTest, MeanAndDeviationOfVisits) {
  Timings timings, more;
  for (const double seconds : {1.0, 3.0}) timings.add("token", seconds);
  more.add("token", 5.0);
  more.add("prompt", 7.0);
  timings.add(more);
  const ZoneTimings* token = timings.find("token");
  EXPECT_EQ(token->count, 3);
  EXPECT_DOUBLE_EQ(token->mean(), 3.0);
  EXPECT_DOUBLE_EQ(token->standard_deviation(), 2.0);
  EXPECT_EQ(token->min_seconds, 1.0);
  EXPECT_EQ(token->max_seconds, 5.0);
  EXPECT_EQ(timings.find("prompt")->standard_deviation(), 0.0);
}

TEST(ProgressTest, TheCallbackHearsEveryStepAndMayEndTheCall) {
  std::vector<double> heard;
  ProgressReporter reporter(
      [&](const Progress& progress) {
        heard.push_back(progress.fraction());
        if (progress.done == 4) throw std::runtime_error(progress.stage);
      },
      4);
  reporter.advance("first");
  reporter.advance("second", 2);
  EXPECT_THROW(reporter.advance("last"), std::runtime_error);
  EXPECT_EQ(heard, (std::vector<double>{0.25, 0.75, 1.0}));
  ProgressReporter silent({}, 0);
  silent.advance("nothing");
  EXPECT_EQ(Progress{}.fraction(), 0.0);
}

}  // namespace
}  // namespace instructblip
