#include "caffe/randrop/engine/cpu_engine.hpp"

#include <cstdlib>
#include <string>

#include "caffe/layer.hpp"
#include "caffe/proto/caffe.pb.h"

#ifdef USE_ONEDNN

#ifdef _OPENMP
#include <omp.h>
#endif
#include <pthread.h>
#include <unistd.h>

#include <map>
#include <system_error>
#include <thread>

#include "caffe/layers/onednn_batch_norm_layer.hpp"
#include "caffe/layers/onednn_concat_layer.hpp"
#include "caffe/layers/onednn_conv_layer.hpp"
#include "caffe/layers/onednn_eltwise_layer.hpp"
#include "caffe/layers/onednn_pooling_layer.hpp"
#include "caffe/layers/onednn_relu_layer.hpp"
#include "caffe/layers/onednn_scale_layer.hpp"
#include "caffe/layers/onednn_softmax_layer.hpp"
#include "caffe/layers/onednn_split_layer.hpp"

namespace caffe {
namespace randrop {

namespace {

const char* const kCaffe = "CAFFE";
const char* const kBfloat16 = "ONEDNN_BF16";

string EngineOfEnvironment() {
  const char* set = std::getenv("RANDROP_ENGINE");
  const string engine = set && *set ? set : "ONEDNN";
  CHECK(engine == "ONEDNN" || engine == kCaffe || engine == kBfloat16)
      << "RANDROP_ENGINE must be CAFFE, ONEDNN (the default) or ONEDNN_BF16.";
  return engine;
}

/**
 * Lets the threads of oneDNN's loops sleep while they wait for each other.
 *
 * libgomp's threads first busy-wait for some milliseconds. If another program
 * is running, they take the processor from the very thread they wait for. With
 * more threads than processors, libgomp busy-waits only briefly (its manual,
 * GOMP_SPINCOUNT), so a helper thread asks for that many, once. Setting an
 * environment variable would come too late: libgomp reads it before our code
 * runs. Whatever the user has set there stays in force.
 */
bool LetThreadsSleep() {
#if defined(_OPENMP) && defined(__GNUC__) && !defined(__clang__)
  if (!std::getenv("GOMP_SPINCOUNT") && !std::getenv("OMP_WAIT_POLICY")) {
    try {
      std::thread([]() {
        int made = 0;
#pragma omp parallel num_threads(omp_get_num_procs() + 1) reduction(+ : made)
        ++made;
        while (true) {
          pause();
        }
      }).detach();
    } catch (const std::system_error&) {
      return false;  // no more threads, so none that busy-wait
    }
    return true;
  }
#endif
  return false;
}

/**
 * Lets a process that has run nets fork, as Python's multiprocessing does.
 *
 * The child of a fork lacks libgomp's threads, and libgomp would wait for them
 * forever. So they end before the fork; parent and child start new ones with
 * their next loops.
 */
bool EndThreadsBeforeForks() {
#if defined(_OPENMP) && defined(__GNUC__) && !defined(__clang__) && \
    __GNUC__ >= 9
  return pthread_atfork([]() { omp_pause_resource_all(omp_pause_soft); }, NULL,
      NULL) == 0;
#else
  return false;
#endif
}

/// Whether the layer's parameters name no other engine.
bool IsForUs(const LayerParameter& param) {
  return param.randrop_engine_param().engine() !=
          RandropEngineParameter_Engine_CAFFE &&
      param.convolution_param().engine() ==
          ConvolutionParameter_Engine_DEFAULT &&
      param.pooling_param().engine() == PoolingParameter_Engine_DEFAULT &&
      param.relu_param().engine() == ReLUParameter_Engine_DEFAULT &&
      param.softmax_param().engine() == SoftmaxParameter_Engine_DEFAULT;
}

template <typename Made>
Layer<float>* Make(const LayerParameter& param) {
  return new Made(param);
}

}  // namespace

bool Bfloat16Wanted() { return EngineOfEnvironment() == kBfloat16; }

template <>
Layer<float>* NewCpuEngineLayer<float>(const LayerParameter& param) {
  static const bool never = EngineOfEnvironment() == kCaffe;
  if (never || Caffe::mode() != Caffe::CPU || !IsForUs(param)) {
    return NULL;
  }
  static const std::map<string, Layer<float>* (*)(const LayerParameter&)>
      makers = {
    {"BatchNorm", Make<OnednnBatchNormLayer<float> >},
    {"Concat", Make<OnednnConcatLayer<float> >},
    {"Convolution", Make<OnednnConvolutionLayer<float> >},
    {"Deconvolution", Make<OnednnDeconvolutionLayer<float> >},
    {"Eltwise", Make<OnednnEltwiseLayer<float> >},
    {"Pooling", Make<OnednnPoolingLayer<float> >},
    {"ReLU", Make<OnednnReLULayer<float> >},
    {"Scale", Make<OnednnScaleLayer<float> >},
    {"Softmax", Make<OnednnSoftmaxLayer<float> >},
    {"Split", Make<OnednnSplitLayer<float> >},
  };
  const auto maker = makers.find(param.type());
  if (maker == makers.end()) {
    return NULL;
  }
  static const bool asleep = LetThreadsSleep();
  static const bool forks = EndThreadsBeforeForks();
  static_cast<void>(asleep);
  static_cast<void>(forks);
  return maker->second(param);
}

template <>
Layer<double>* NewCpuEngineLayer<double>(const LayerParameter& param) {
  return NULL;
}

}  // namespace randrop
}  // namespace caffe

#else

namespace caffe {
namespace randrop {

template <>
Layer<float>* NewCpuEngineLayer<float>(const LayerParameter& param) {
  const char* engine = std::getenv("RANDROP_ENGINE");
  if (engine && string(engine) == "ONEDNN_BF16") {
    LOG_FIRST_N(WARNING, 1) << "RANDROP_ENGINE=ONEDNN_BF16 has no effect: this "
        << "Caffe was built without oneDNN.";
  }
  return NULL;
}

template <>
Layer<double>* NewCpuEngineLayer<double>(const LayerParameter& param) {
  return NULL;
}

}  // namespace randrop
}  // namespace caffe

#endif  // USE_ONEDNN
