#include "instructblip/core/error.h"
#include "kernels/kernel_testing.h"

namespace instructblip {
namespace {

TEST(GatherRowsTest, GatheredRowsComeBackToTheirPlaces) {
  const Matrix x = random_matrix(7, 33, 1);
  const std::vector<Index> rows{5, 0, 6, 5};
  Matrix gathered(4, 33);
  gather_rows(x, rows, gathered);
  Matrix y = Matrix::copy_of(random_matrix(7, 33, 2));
  const Matrix before = Matrix::copy_of(y);
  scatter_rows(gathered, rows, y);
  for (Index c = 0; c < 33; ++c) {
    EXPECT_EQ(gathered.row(1)[c], x.row(0)[c]);
    EXPECT_EQ(gathered.row(3)[c], x.row(5)[c]);
    for (const Index r : {0, 5, 6}) EXPECT_EQ(y.row(r)[c], x.row(r)[c]);
    for (const Index r : {1, 2, 3, 4}) EXPECT_EQ(y.row(r)[c], before.row(r)[c]);
  }
}

TEST(GatherRowsTest, AddRowsAddsEveryElementOfEveryThread) {
  const Matrix x = random_matrix(300, 257, 1);
  Matrix y = Matrix::copy_of(random_matrix(300, 257, 2));
  const Matrix before = Matrix::copy_of(y);
  add_rows(x, y);
  for (Index r = 0; r < 300; ++r) {
    for (Index c = 0; c < 257; ++c) ASSERT_EQ(y.row(r)[c], before.row(r)[c] + x.row(r)[c]);
  }
}

TEST(GatherRowsTest, WrongShapesAndRowsAreErrors) {
  const Matrix x(3, 4);
  Matrix y(2, 4), narrow(2, 3);
  const std::vector<Index> two{0, 2}, three{0, 1, 2}, beyond{0, 3}, negative{-1, 0};
  EXPECT_THROW(gather_rows(x, three, y), InputError);
  EXPECT_THROW(gather_rows(x, two, narrow), InputError);
  EXPECT_THROW(gather_rows(x, beyond, y), InputError);
  EXPECT_THROW(gather_rows(x, negative, y), InputError);
  EXPECT_THROW(scatter_rows(x, three, y), InputError);
  EXPECT_THROW(scatter_rows(x, two, y), InputError);
  EXPECT_THROW(scatter_rows(y, beyond, Matrix(3, 4)), InputError);
  EXPECT_THROW(add_rows(x, y), InputError);
  EXPECT_THROW(add_rows(y, narrow), InputError);
}

}  // namespace
}  // namespace instructblip
