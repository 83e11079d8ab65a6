// Everything needed from this CUDA header is in cuda_runtime.h.
#include "cuda_runtime.h"
