// All that is wanted of this header of CUDA's is in one.
#include "cuda_runtime.h"
