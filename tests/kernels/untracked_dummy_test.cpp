#include <gtest/gtest.h>
TEST(Dummy, Dummy) {}
