// The arithmetic of the kernels, one idea a file. It compiles as CUDA and as plain C++, so that the very same code runs on the GPU and in
// the tests of a machine without one.
#pragma once

#include "charge.h"
#include "curve.h"
#include "move.h"
#include "number.h"
#include "radius.h"
